"""What may the agent command, and how is it answered? LOAD DRAIN STATS PING on the control socket.

Every command is an event of the lifecycle, which also decides whether it is answered or refused.
"""

import msgspec

from glowplug.node.messages import RankLaunch
from glowplug.spec import BatchTuning
from glowplug.wire.channel import Channel, Exchange, Spawn
from glowplug.wire.frames import Kind
from glowplug.wire.messages import Command, Hello, pack, to_json
from glowplug.worker.events import (
    Answer,
    DrainAsked,
    Event,
    Pinged,
    Reason,
    Refuse,
    StatsAsked,
    Swap,
    SwapAsked,
)
from glowplug.worker.rank import Rank

_REASONS: dict[str, Reason] = {"scale": "scale", "deploy": "deploy", "lease": "lease"}


class Control:
    """The agents' connections; usually one."""

    def __init__(self, rank: Rank, spawn: Spawn) -> None:
        self._rank = rank
        self._spawn = spawn
        self._channels: set[ControlChannel] = set()
        rank.on_change = self.announce

    def accept(self) -> "ControlChannel":
        """Return the protocol of a new connection."""
        return ControlChannel(self.hello(), self.handle, self._spawn, self._channels)

    def hello(self) -> Hello:
        """Return the greeting."""
        rank = self._rank
        return Hello(
            "rank-control",
            rank.launch.replica,
            epoch=rank.state.epoch,
            version=rank.launch.version,
            state=rank.state.phase,
        )

    def announce(self) -> None:
        """Greet again: the state has changed."""
        greeting = pack(self.hello())
        for channel in self._channels:
            channel.send(Kind.HELLO, 0, greeting)

    async def close(self) -> None:
        """Send what is queued, close and wait until that is done; the caller bounds the wait."""
        channels = list(self._channels)
        for channel in channels:
            channel.close()
        for channel in channels:
            await channel.gone()

    async def handle(self, exchange: Exchange) -> None:
        """Answer one command."""
        if exchange.kind == Kind.PING:
            await self._tune(exchange)
        event = self._event(exchange)
        if event is None:
            exchange.fail(
                "bad_request", "a rank's control socket takes LOAD, DRAIN, STATS and PING"
            )
            return
        for effect in self._rank.happen(event):
            match effect:
                case Answer():
                    # The list of modules is long and does not change: not with every heartbeat.
                    exchange.respond(to_json(self._rank.stats(modules=exchange.kind == Kind.STATS)))
                case Refuse(detail, code):
                    exchange.fail(code, detail)
                case Swap():
                    await self._swap(exchange)
                case _:
                    pass  # the rank itself has carried it out

    async def _tune(self, exchange: Exchange) -> None:
        """Take what the agent says of batches; one of another release says nothing."""
        body = await exchange.body.read()
        try:
            tuning = msgspec.json.decode(body, type=BatchTuning)
        except msgspec.MsgspecError:
            return
        if self._rank.server.batching is not None:
            self._rank.server.batching.tune(tuning)

    def _event(self, exchange: Exchange) -> Event | None:
        command = exchange.command or Command(0)
        match exchange.kind:
            case Kind.STATS:
                return StatsAsked(command.epoch)
            case Kind.PING:
                self._rank.server.log.trim_raw()
                return Pinged(command.epoch, command.lease_ns or self._rank.launch.lease_ns)
            case Kind.DRAIN:
                reason = _REASONS.get(command.reason, "stop")
                return DrainAsked(command.epoch, self._rank.is_busy, command.deadline_ns, reason)
            case Kind.LOAD:
                return SwapAsked(command.epoch)
            case _:
                return None

    async def _swap(self, exchange: Exchange) -> None:
        body = await exchange.body.read()
        try:
            launch = msgspec.json.decode(body, type=RankLaunch)
        except msgspec.MsgspecError as error:
            exchange.fail("bad_request", f"LOAD without a launch record: {error}")
            return
        failure = await self._rank.swap(launch)
        if failure:
            exchange.fail("start_failed", failure)
        else:
            exchange.respond(to_json(self._rank.stats(modules=True)))


class ControlChannel(Channel):
    """A channel that is known while it stands."""

    def __init__(
        self, hello: Hello, handler: object, spawn: Spawn, channels: "set[ControlChannel]"
    ) -> None:
        super().__init__(hello, handler, spawn, dialling=False)  # type: ignore[arg-type]  # Control.handle
        self._channels = channels

    def connected(self) -> None:
        self._channels.add(self)
        super().connected()

    def lost(self, error: Exception | None) -> None:
        self._channels.discard(self)
        super().lost(error)
