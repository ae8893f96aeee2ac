"""What does the dispatcher know of calls, versions and replicas?

The driver keeps one `DispatchState` and hands it to `step`, which alone changes it. Others may read maps and counts.
"""

from dataclasses import dataclass, field

from glowplug_router.dispatch.bias import Bias
from glowplug_router.dispatch.budget import Budget
from glowplug_router.dispatch.classes import COST_UNKNOWN_NS, Classes
from glowplug_router.dispatch.drain import DrainRate
from glowplug_router.dispatch.events import CallArrived
from glowplug_router.dispatch.pool import Pool
from glowplug_router.dispatch.service import Service
from glowplug_router.dispatch.tenants import Tenant
from glowplug_router.dispatch.timers import Timers
from glowplug_router.dispatch.waiting import Waiting


@dataclass(slots=True, eq=False)
class Replica:
    """A data link to a replica and the calls on it."""

    id: str
    version: "Version"
    permits: int
    ahead: int = 0  # calls that it takes beyond its permits
    calls: "dict[int, Call]" = field(default_factory=dict)
    early: "dict[Call, None]" = field(default_factory=dict)  # of those: taken ahead, in order
    usable: int = 0  # permits that may be used now: not all while it is new, shut or on trial
    is_leaving: bool = False
    refusals: int = 0  # in a row, unexecuted: each doubles the penalty
    shut_until_ns: int = 0  # end of a penalty or an ejection; 0 = none
    new_since_ns: int = 0  # it came beside others a moment ago; 0 = it is not new
    faults: int = 0  # in a row
    ejections: int = 0  # in a row: each doubles the time of the next
    ejected_until_ns: int = 0  # end of the last one
    is_ejected: bool = False
    is_on_trial: bool = False  # one call shows whether it is well again
    mean_ns: float = 0.0  # what its calls take; 0 = not known
    log_mean: float = 0.0  # mean logarithm of what its calls take, in ns
    samples: int = 0  # calls that this was learned from
    compare_after_ns: int = 0  # it was compared with the others lately: not again before this
    level: int = -1  # the pool's own, like the next two
    early_level: int = -1
    seed: int = 0
    timer_ns: int = 0
    timer_serial: int = 0

    @property
    def running(self) -> int:
        """Return how many calls hold its permits."""
        return len(self.calls) - len(self.early)


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
    retry_safe: bool = False
    replicas: int = 0  # linked and not leaving
    permits: int = 0  # of those, in all
    ejected: int = 0  # of those, how many
    running: int = 0  # calls in flight
    # Of those: neither cancelled, nor taken ahead, nor on a leaving replica.
    holders: "set[Call]" = field(default_factory=set)
    blocked: int = 0  # holders with a waiting descendant
    waiting: Waiting = field(default_factory=Waiting)
    classes: Classes = field(default_factory=Classes)
    pool: Pool = field(default_factory=Pool)
    service: Service = field(default_factory=Service)
    log_variance: float = 0.0  # of what calls of one replica take, of its logarithm
    drain: DrainRate = field(default_factory=DrainRate)
    bias: Bias = field(default_factory=Bias)
    budget: Budget = field(default_factory=Budget)
    starting_mean_ns: float = (
        0.0  # from the first call that waits for it until it is ready; 0 = not known
    )
    wanted_ns: int = 0  # since when calls wait for the first replica; 0 = none does
    permits_each: int = 1  # of a replica, when last seen
    ready_ns: int = 0  # time spent ready, up to `flipped_ns`
    cold_ns: int = 0  # time spent without a ready replica, up to `flipped_ns`
    wake_after_ns: int = 0  # the controller was told lately: not again before this
    wake_is_owed: bool = False  # a call began to wait since it was told
    timer_ns: int = 0
    timer_serial: int = 0

    @property
    def is_ready(self) -> bool:
        """Say whether a replica is linked that is not leaving."""
        return self.replicas > 0

    @property
    def mean_ns(self) -> float:
        """Return what a call takes, or what it is taken to take."""
        return self.service.mean_ns or COST_UNKNOWN_NS

    def count_replicas(self, by: int, permits: int, now_ns: int) -> None:
        """Note that a replica came or left; the two waiting clocks take turns at zero."""
        was_ready = self.is_ready
        self.replicas += by
        self.permits += permits
        self.wake_after_ns = 0  # what the controller was told is no longer so
        if self.is_ready != was_ready:
            if was_ready:
                self.ready_ns += now_ns - self.flipped_ns
                self.wanted_ns = now_ns if self.waiting.count else 0
            else:
                self.cold_ns += now_ns - self.flipped_ns
                self._learn_start(now_ns)
            self.flipped_ns = now_ns

    def _learn_start(self, now_ns: int) -> None:
        if self.wanted_ns:
            start_ns = now_ns - self.wanted_ns
            mean_ns = self.starting_mean_ns
            # The newest start counts for a third: images and machines change from one to the next.
            self.starting_mean_ns = mean_ns + (start_ns - mean_ns) / 3 if mean_ns else start_ns
            self.wanted_ns = 0

    def marks(self, now_ns: int) -> tuple[int, int]:
        """Return how long it has been ready and how long cold, in all."""
        current_ns = now_ns - self.flipped_ns
        if self.replicas > 0:
            return self.ready_ns + current_ns, self.cold_ns
        return self.ready_ns, self.cold_ns + current_ns

    def limit_due_ns(self, call: "Call") -> int:
        """Return when a waiting call reaches the limit that counts now, if nothing flips before."""
        ready_mark_ns, cold_mark_ns = call.marks
        if self.is_ready:
            return self.flipped_ns + ready_mark_ns + self.queue_ns - self.ready_ns
        return self.flipped_ns + cold_mark_ns + self.start_ns - self.cold_ns


class Call:
    """A call that waits or is in flight. A plain class: one is made for every call."""

    __slots__ = (
        "asked", "attempt", "began", "below", "charged_ns", "children", "deadline_ns", "due_ns", "expected_ns",
        "has_deadline", "id", "is_cancelled", "is_nested", "is_queued", "marks", "paid_ns", "parent", "payer", "place",
        "rank", "replica", "since_ns", "timer_ns", "timer_serial", "version", "was_handed_back",
    )  # fmt: skip  # a line each would hide the class

    def __init__(
        self,
        asked: CallArrived,
        version: Version,
        rank: int,
        parent: "Call | None",
        place: int,
        since_ns: int,
    ) -> None:
        self.asked = asked  # the event, for what is seldom needed
        self.id = asked.call
        self.version = version
        self.rank = rank
        self.deadline_ns = asked.deadline_ns
        self.parent = parent
        self.attempt = asked.attempt
        self.place = place  # number of its arrival: its place in the queue, also when it comes back
        self.since_ns = since_ns
        self.marks = version.marks(since_ns)  # the version's two waiting clocks at that time
        self.has_deadline = asked.has_deadline and asked.deadline_ns > 0
        self.due_ns = 0  # by when it should go: its line is ordered by that; 0 = it never waited
        self.is_queued = False
        self.is_nested = parent is not None  # its parent is in flight
        self.replica: Replica | None = None  # in flight there
        self.is_cancelled = False
        self.began = False  # the caller has seen some of its answer
        self.was_handed_back = False  # taken ahead in vain: not again
        self.children: dict[Call, None] | None = None  # calls made from this one, while in flight
        self.below = 0  # waiting descendants
        self.payer: Tenant | None = None  # who was charged for it
        self.paid_ns = 0.0  # and how much; 0 = what calls cost was not known
        self.charged_ns = (
            0.0  # how much its class was charged; 0 = nobody waited, nothing was charged
        )
        self.expected_ns = 0.0  # the wait that was foretold; 0 = none was
        self.timer_ns = 0  # its deadline, while it waits
        self.timer_serial = 0


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
