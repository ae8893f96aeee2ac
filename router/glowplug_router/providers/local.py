"""Which nodes are there, when nobody launches any? The agents that dialled this controller."""

from collections.abc import AsyncIterator

import msgspec

from glowplug.errors import CallError, UnavailableError, call_error
from glowplug.node.messages import Desired, LogQuery, Report
from glowplug.wire.channel import Channel, Exchange
from glowplug.wire.messages import to_json
from glowplug_router.control.signal import Signal
from glowplug_router.ports import NodeLink, ObjectStore, SecretStore
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Machines

_report = msgspec.json.Decoder(Report).decode
_names = msgspec.json.Decoder(list[str]).decode


class AgentLink:
    """The NodeLink port over an agent's channel."""

    def __init__(self, channel: Channel, node: str) -> None:
        self._channel = channel
        self._node = node

    @property
    def node(self) -> str:
        return self._node

    def tell(self, desired: Desired) -> None:
        self._channel.notify("/-/desired", to_json(desired))

    async def logs(self, query: LogQuery) -> AsyncIterator[bytes]:
        _, lines = await self._channel.open("/-/logs", to_json(query))
        try:
            async for piece in lines:
                yield piece
        finally:
            lines.close()  # who followed has gone: the agent need not go on


class LocalProvider:
    """The Provider port over the channels of agents; also answers what agents ask (objects, secrets)."""

    def __init__(self, objects: ObjectStore, secrets: SecretStore) -> None:
        self._objects = objects
        self._secrets = secrets
        self._links: dict[str, AgentLink] = {}
        self._reports: dict[str, Report] = {}
        self._signal = Signal()
        self._seen = 0

    async def links(self) -> tuple[NodeLink, ...]:
        return tuple(self._links.values())

    async def report(self, node: str) -> Report | None:
        return self._reports.get(node)

    async def changed(self) -> None:
        self._seen = await self._signal.after(self._seen)

    async def machines(self) -> Machines:
        return Machines()  # all there are were there before

    async def launch(self, order: Launch) -> None:
        raise call_error("not_found", f"{order.offer}: nothing can be launched on this machine")

    async def terminate(self, order: Terminate) -> None:
        return  # nothing was launched

    # -- for the listener ------------------------------------------------------------------------

    async def serve(self, channel: Channel) -> None:
        """Keep a connected agent's link until its connection is gone; a newer connection of the same node wins."""
        hello = await channel.ready()
        link = self._links[hello.name] = AgentLink(channel, hello.name)
        # What it said on an earlier connection is old: nothing is told to it before it has reported again.
        self._reports.pop(hello.name, None)
        self._signal.fire()
        await channel.gone()
        if self._links.get(hello.name) is link:
            del self._links[hello.name]
            self._signal.fire()

    async def answer(self, channel: Channel, exchange: Exchange) -> None:
        """Answer one request of an agent."""
        match exchange.infer.path:
            case "/-/report":
                self._take(channel, await exchange.body.read())
            case "/-/blob":
                await self._send_object(exchange)
            case "/-/secrets":
                names = _names(await exchange.body.read())
                exchange.respond(to_json(await self._secrets.values(names)))
            case path:
                exchange.fail("not_found", f"the controller has no {path}")

    def _take(self, channel: Channel, body: bytes) -> None:
        report = _report(body)
        link = self._links.get(report.node)
        known = self._reports.get(report.node)
        if link is not None and (known is None or known.number < report.number):
            self._reports[report.node] = report
            self._signal.fire()

    async def _send_object(self, exchange: Exchange) -> None:
        digest = exchange.infer.query.removeprefix("digest=")
        pieces = self._objects.get(digest)
        try:
            first = await anext(pieces, b"")
        except CallError as error:
            exchange.fail(error.code, error.message)
            return
        out = exchange.begin(headers=(("content-type", "application/octet-stream"),))
        try:
            await out.write(first)
            async for piece in pieces:
                await out.write(piece)
            out.end()
        except UnavailableError:
            return  # the agent has gone; it asks again when it is back
