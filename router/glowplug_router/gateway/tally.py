"""What was asked of each version? Counters that only grow, read by the planner and by /metrics."""

from bisect import bisect_left
from collections import deque

from glowplug.clock import MILLISECOND
from glowplug_router.records.calls import ColdCall
from glowplug_router.records.observed import Demand

# Milliseconds: from a warm echo to the longest wait the edge allows.
BOUNDS_NS = tuple(
    ms * MILLISECOND
    for ms in (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 110_000)
)
COLD_MAX = 32  # cold calls of a version between two reports; a hundred that waited together waited for the same start
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # bounds of batches, in calls
REASONS = frozenset(
    {"full", "idle", "wait", "key", "deadline"}
)  # the batcher's; a replica may say anything


class Tally:
    """Counts of one version. Plain attributes: they are touched several times in every call."""

    __slots__ = (
        "arrivals", "batched", "batches", "by_status", "cold", "cold_starts", "completed", "failed", "inflight",
        "is_dirty", "key", "last_arrival_ns", "queued", "service_ns", "sizes", "spans", "took_ns",
    )  # fmt: skip  # a line each would hide the class

    def __init__(self, key: str) -> None:
        self.key = key
        self.arrivals = 0
        self.completed = 0
        self.service_ns = 0
        self.queued = 0
        self.inflight = 0
        self.last_arrival_ns = 0
        self.failed = ""  # why none of its replicas can start, as the last snapshot has it
        self.is_dirty = False  # the controller has not been told of the latest
        self.by_status: dict[int, int] = {}
        self.spans = [0] * (len(BOUNDS_NS) + 1)  # calls by how long they took, between the bounds
        self.took_ns = 0
        self.cold_starts = 0
        self.cold: deque[ColdCall] = deque(maxlen=COLD_MAX)  # the controller was not told of
        self.batches: dict[str, int] = {}  # by why they were cut
        self.batched = 0  # calls in them
        self.sizes = [0] * (len(SIZES) + 1)

    def over(self, status: int, took_ns: int) -> None:
        """Count a call that is over."""
        by_status = self.by_status
        by_status[status] = by_status.get(status, 0) + 1
        self.spans[bisect_left(BOUNDS_NS, took_ns)] += 1
        self.took_ns += took_ns

    def met_none(self, call: ColdCall) -> None:
        """Count a call that met no replica, and keep it for the next report."""
        self.cold_starts += 1
        self.cold.append(call)

    def batch(self, size: int, reason: str) -> None:
        """Count a batch that one of its calls told us of."""
        if reason not in REASONS:
            reason = "other"
        self.batches[reason] = self.batches.get(reason, 0) + 1
        self.batched += size
        self.sizes[bisect_left(SIZES, size)] += 1

    def demand(self) -> Demand:
        """Return the counts as the controller takes them."""
        return Demand(
            key=self.key,
            arrivals=self.arrivals,
            completed=self.completed,
            service_ns=self.service_ns,
            queued=self.queued,
            inflight=self.inflight,
            last_arrival_ns=self.last_arrival_ns,
        )


class Tallies:
    """The tallies of all versions; they outlive snapshots."""

    def __init__(self) -> None:
        self.by_key: dict[str, Tally] = {}

    def of(self, key: str) -> Tally:
        """Return the tally of a version, a new one if there is none."""
        tally = self.by_key.get(key)
        if tally is None:
            tally = self.by_key[key] = Tally(key)
        return tally

    def forget(self, key: str) -> None:
        """Drop a version that is served no more; calls still in flight keep their own reference."""
        self.by_key.pop(key, None)
