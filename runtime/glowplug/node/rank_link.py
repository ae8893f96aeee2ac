"""How does the agent talk to a rank? Over its control socket; the rank says by itself when its state changes."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from glowplug.clock import Clock
from glowplug.errors import CallError, UnavailableError
from glowplug.node.messages import RankLaunch, RankStats
from glowplug.spec import BatchTuning
from glowplug.wire.channel import Channel, Exchange, Spawn
from glowplug.wire.frames import Kind
from glowplug.wire.messages import MALFORMED, Command, Hello, to_json
from glowplug.wire.transport import dial

DIAL_FIRST_S = 0.002  # a forked rank listens after some milliseconds …
DIAL_LAST_S = 0.02  # … an exec'd one after some hundred

Changed = Callable[[], None]


class ControlChannel(Channel):
    """A channel that tells of every further HELLO: a rank announces its states so."""

    def __init__(self, hello: Hello, spawn: Spawn, changed: Changed) -> None:
        super().__init__(hello, self._answer_rank, spawn, dialling=True)
        self._changed = changed

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        super().frame(kind, flags, rid, meta, body)
        if kind == Kind.HELLO:
            self._changed()

    async def _answer_rank(self, exchange: Exchange) -> None:
        if exchange.infer.path == "/-/state":
            self._changed()
        exchange.respond()


class RankLink:
    """Commands to one rank, each fenced by this agent's epoch."""

    def __init__(self, channel: ControlChannel, epoch: int) -> None:
        self._channel = channel
        self._epoch = epoch

    async def stats(self) -> RankStats:
        """Ask how it is."""
        return await self._ask(Kind.STATS)

    async def ping(self, lease_ns: int, batch: BatchTuning) -> RankStats:
        """Renew its lease, say how its batches are bounded by now, and hear how it is."""
        return await self._ask(Kind.PING, lease_ns=lease_ns, body=to_json(batch))

    async def drain(self, drain_ns: int, reason: str) -> RankStats:
        """Tell it to take no more calls, finish and end."""
        return await self._ask(Kind.DRAIN, deadline_ns=drain_ns, reason=reason)

    async def load(self, launch: RankLaunch, start_ns: int) -> RankStats:
        """Tell it to become another version; answered when that is done."""
        return await self._ask(Kind.LOAD, deadline_ns=start_ns, body=to_json(launch))

    async def gone(self) -> None:
        """Wait until the connection is lost."""
        await self._channel.gone()

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    async def _ask(
        self,
        kind: Kind,
        *,
        deadline_ns: int = 0,
        reason: str = "",
        lease_ns: int = 0,
        body: bytes = b"",
    ) -> RankStats:
        """Send a command.

        Raises:
            CallError: The rank refused, or has gone.
        """
        command = Command(self._epoch, deadline_ns, reason, lease_ns)
        answer = await self._channel.command(kind, command, body)
        try:
            return msgspec.json.decode(answer, type=RankStats)
        except MALFORMED as error:
            raise UnavailableError(f"the rank answered what is no RankStats: {error}") from error


async def connect(path: Path, epoch: int, clock: Clock, spawn: Spawn, changed: Changed) -> RankLink:
    """Dial a rank until it listens; the caller bounds the wait, and gives up when the process ends."""
    hello = Hello(role="agent", epoch=epoch)
    wait_s = DIAL_FIRST_S
    while True:
        try:
            channel = await dial(f"unix:{path}", lambda: ControlChannel(hello, spawn, changed))
            await channel.ready()
        except (OSError, CallError):
            # Not there yet; the process's end is watched elsewhere.
            await clock.sleep(wait_s)
            wait_s = min(2 * wait_s, DIAL_LAST_S)
        else:
            return RankLink(channel, epoch)
