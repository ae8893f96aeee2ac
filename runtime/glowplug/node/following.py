"""How is a rank doing, and is somebody still there for it?

Follows one rank over its control socket: renews its lease, hears its states, and notices when it hangs. While it starts
it may be busy for minutes (an import can hold the interpreter), so only the start's own limit counts then.
"""

import anyio

from glowplug.clock import MILLISECOND, SECOND
from glowplug.errors import CallError
from glowplug.node.endings import Cause
from glowplug.node.messages import RankStats
from glowplug.node.rank_link import RankLink, connect
from glowplug.node.site import Site
from glowplug.spec import BatchTuning

_STARTING = frozenset({"starting", "loading", "warming"})
BREATH_S = 0.01  # between two commands to a rank that announces faster than it can be asked


class Following:
    """Everything the agent knows of one running rank from its own mouth."""

    def __init__(
        self, site: Site, replica: str, start_until_ns: int, batch: BatchTuning | None = None
    ) -> None:
        self.told: RankStats | None = None
        self.link: RankLink | None = None
        self.start_until_ns = start_until_ns
        self._batch = batch or BatchTuning()
        self._site = site
        self._path = site.folders.control_socket(replica)
        self._news = anyio.Event()

    async def connected(self, within_ns: int) -> Cause | None:
        """Reach it for the first time; a cause if that took too long."""
        with anyio.move_on_after(within_ns / SECOND):
            await self._connect()
            return None
        return Cause(
            "start_timeout",
            f"the rank's process runs, and did not listen within {within_ns / SECOND:g} s",
        )

    async def next(self) -> RankStats | Cause:
        """Return how it is, after it has changed or when its lease is due; a cause when it must be ended."""
        if self.told is not None:
            with anyio.move_on_after(self._site.patience.ping_every_ns / SECOND):
                await self._news.wait()
        self._news = anyio.Event()
        left_ns = self._patience_ns()
        with anyio.move_on_after(left_ns / SECOND):
            self.told = await self._ping()
            return self._in_time(self.told)
        return self._overdue(left_ns)

    async def modules(self) -> tuple[str, ...]:
        """Ask what it had to import; nothing when it has just gone, or hangs."""
        with anyio.move_on_after(self._site.patience.hang_ns / SECOND):
            try:
                return (await self.link.stats()).modules if self.link is not None else ()
            except CallError:
                pass  # the next PING tells
        return ()

    def look(self) -> None:
        """Ask it soon."""
        self._news.set()

    def tune(self, batch: BatchTuning) -> None:
        """Bound its batches so from now on."""
        if batch != self._batch:
            self._batch = batch
            self.look()

    def close(self) -> None:
        """Hang up."""
        if self.link is not None:
            self.link.close()

    async def _ping(self) -> RankStats:
        """Ask until it answers, over a new connection if need be; the caller bounds it."""
        while True:
            if self.link is None:
                await self._connect()
            assert self.link is not None
            try:
                return await self.link.ping(self._site.patience.lease_ns, self._batch)
            except CallError:
                # The connection broke: most often the process has just ended, which is seen elsewhere.
                self.link.close()
                self.link = None
                await self._site.clock.sleep(BREATH_S)

    async def _connect(self) -> None:
        self.link = await connect(
            self._path, self._site.epoch, self._site.clock, self._site.spawn, self.look
        )

    def _patience_ns(self) -> int:
        if self.told is not None and self.told.state not in _STARTING:
            return self._site.patience.hang_ns
        return max(MILLISECOND, self.start_until_ns - self._site.clock.now_ns())

    def _in_time(self, stats: RankStats) -> RankStats | Cause:
        late = self._site.clock.now_ns() >= self.start_until_ns
        return self._overdue(0) if late and stats.state in _STARTING else stats

    def _overdue(self, waited_ns: int) -> Cause:
        told = self.told
        if told is None or told.state in _STARTING:
            return Cause(
                "start_timeout",
                f"it was still {told.state if told else 'starting'} when its time to start was over",
            )
        return Cause(
            "replica_lost",
            f"it answered no PING for {waited_ns / SECOND:g} s: it blocks its event loop or holds the"
            " interpreter's lock; make it a plain `def`, or release the GIL",
        )
