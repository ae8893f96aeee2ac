"""What do controller and gateways tell each other? Snapshots down; demand and calls of the control API up."""

from typing import TYPE_CHECKING

import msgspec

from glowplug.wire.channel import Channel, Exchange
from glowplug.wire.messages import to_json
from glowplug_router.control.asgi_bridge import serve_asgi
from glowplug_router.control.payloads import CHANNEL_PATH, Payloads
from glowplug_router.control.world import World
from glowplug_router.records.published import DemandReport, Snapshot

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_demand = msgspec.json.Decoder(DemandReport).decode


class Gateways:
    """The connected gateways, and the last table published to them."""

    def __init__(self, world: World) -> None:
        self.app: ASGIApp | None = None  # the control API; given once it stands
        self.payloads: Payloads | None = None  # given with it
        self._world = world
        self._channels: list[Channel] = []
        self._published = b""

    def publish(self, snapshot: Snapshot) -> None:
        """Send a table to every gateway, and to those that come later."""
        self._published = to_json(snapshot)
        for channel in self._channels:
            channel.notify("/-/snapshot", self._published)

    async def serve(self, channel: Channel) -> None:
        """Keep a gateway's connection until it is gone."""
        hello = await channel.ready()
        if self._published:
            channel.notify("/-/snapshot", self._published)
        self._channels.append(channel)
        await channel.gone()
        self._channels.remove(channel)
        self._world.demand.away(hello.name)
        self._world.changed.fire()

    async def answer(self, channel: Channel, exchange: Exchange) -> None:
        """Take a report of demand, or answer a call of the control API."""
        if exchange.infer.path == "/-/demand":
            report = _demand(await exchange.body.read())
            self._world.cold.extend(report.cold)
            if self._world.demand.take(report):
                self._world.changed.fire()
        elif exchange.infer.path == CHANNEL_PATH and self.payloads is not None:
            await self.payloads.serve(exchange)
        elif exchange.infer.protocol == "asgi" and self.app is not None:
            await serve_asgi(self.app, exchange)
        else:
            exchange.fail("control_unavailable", "the controller is starting")
