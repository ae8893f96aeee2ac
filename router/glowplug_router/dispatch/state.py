"""What does the dispatcher know of calls, versions and replicas?

The driver keeps one `DispatchState` and hands it to `step`, which alone changes it. Others may read maps and counts.
"""

from dataclasses import dataclass, field

from glowplug_router.dispatch.drain import DrainRate
from glowplug_router.dispatch.pool import Pool
from glowplug_router.dispatch.timers import Timers
from glowplug_router.dispatch.waiting import Waiting


@dataclass(slots=True, eq=False)
class Replica:
    """A data link to a replica and the calls on it."""

    id: str
    version: "Version"
    permits: int
    calls: "dict[int, Call]" = field(default_factory=dict)
    is_leaving: bool = False
    refusals: int = 0  # in a row, unexecuted: each doubles the penalty
    timer_ns: int = 0  # end of the penalty; 0 = none
    slot: int = 0  # bucket it lies in; the pool's own

    @property
    def free(self) -> int:
        """Return how many calls it may be sent now; never negative, though permits may shrink under its calls."""
        return max(0, self.permits - len(self.calls))

    @property
    def is_open(self) -> bool:
        """Say whether it may be sent calls at all."""
        return not self.is_leaving and not self.timer_ns


@dataclass(slots=True, eq=False)
class Version:
    """A version's limits, replicas and queue."""

    key: str
    flipped_ns: int  # when it last became ready, or last lost its last replica
    is_served: bool = False  # there was a VersionSet and no VersionGone since
    hold: int = 0
    queue_ns: int = 0
    start_ns: int = 0
    max_permits: int = 0
    failed: str = ""
    replicas: int = 0  # linked and not leaving
    running: int = 0  # calls in flight
    holders: "set[Call]" = field(
        default_factory=set
    )  # of those: neither cancelled nor on a leaving replica
    blocked: int = 0  # holders with a waiting descendant
    waiting: Waiting = field(default_factory=Waiting)
    pool: Pool = field(default_factory=Pool)
    drain: DrainRate = field(default_factory=DrainRate)
    ready_ns: int = 0  # time spent ready, up to `flipped_ns`
    cold_ns: int = 0  # time spent without a ready replica, up to `flipped_ns`
    wake_after_ns: int = 0  # the controller was told lately: not again before this
    wake_is_owed: bool = False  # a call began to wait since it was told
    timer_ns: int = 0

    @property
    def is_ready(self) -> bool:
        """Say whether a replica is linked that is not leaving."""
        return self.replicas > 0

    def count_replicas(self, by: int, now_ns: int) -> None:
        """Note that a replica came or left; the two waiting clocks take turns at zero."""
        was_ready = self.is_ready
        self.replicas += by
        self.wake_after_ns = 0  # what the controller was told is no longer so
        if self.is_ready != was_ready:
            if was_ready:
                self.ready_ns += now_ns - self.flipped_ns
            else:
                self.cold_ns += now_ns - self.flipped_ns
            self.flipped_ns = now_ns

    def marks(self, now_ns: int) -> tuple[int, int]:
        """Return how long it has been ready and how long cold, in all."""
        current_ns = now_ns - self.flipped_ns
        if self.is_ready:
            return self.ready_ns + current_ns, self.cold_ns
        return self.ready_ns, self.cold_ns + current_ns

    def limit_due_ns(self, call: "Call") -> int:
        """Return when a waiting call reaches the limit that counts now, if nothing flips before."""
        ready_mark_ns, cold_mark_ns = call.marks
        if self.is_ready:
            return self.flipped_ns + ready_mark_ns + self.queue_ns - self.ready_ns
        return self.flipped_ns + cold_mark_ns + self.start_ns - self.cold_ns


@dataclass(slots=True, eq=False)
class Call:
    """A call that waits or is in flight."""

    id: int
    version: Version
    rank: int
    tenant: str
    deadline_ns: int
    parent: "Call | None"
    attempt: int
    place: int  # number of its arrival: its place in the queue, also when it comes back
    since_ns: int
    marks: tuple[int, int]  # the version's two waiting clocks at that time
    is_queued: bool = False
    replica: Replica | None = None  # in flight there
    is_cancelled: bool = False
    children: "dict[Call, None] | None" = None  # calls made from this one, while it is in flight
    below: int = 0  # waiting descendants
    timer_ns: int = 0  # its deadline, while it waits


class DispatchState:
    """Everything the dispatcher knows; empty at first."""

    __slots__ = ("calls", "places", "replicas", "timers", "versions")

    def __init__(self) -> None:
        self.calls: dict[int, Call] = {}
        self.versions: dict[str, Version] = {}
        self.replicas: dict[str, Replica] = {}
        self.timers: Timers[Call | Version | Replica] = Timers()
        self.places = 0

    @property
    def next_due_ns(self) -> int | None:
        """Return when a `Tick` must be sent; in the past when a bounded step left work over; None = never."""
        return self.timers.first_ns

    def queued(self, version: str) -> int:
        """Return how many calls of the version wait."""
        known = self.versions.get(version)
        return known.waiting.count if known else 0

    def inflight(self, version: str) -> int:
        """Return how many calls of the version are in flight."""
        known = self.versions.get(version)
        return known.running if known else 0
