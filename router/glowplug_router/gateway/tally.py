"""What was asked of each version? Counters that only grow, read by the planner and by /metrics."""

from glowplug_router.records import Demand


class Tally:
    """Counts of one version. Plain attributes: they are touched several times in every call."""

    __slots__ = (
        "arrivals",
        "completed",
        "failed",
        "inflight",
        "key",
        "last_arrival_ns",
        "queued",
        "service_ns",
    )

    def __init__(self, key: str) -> None:
        self.key = key
        self.arrivals = 0
        self.completed = 0
        self.service_ns = 0
        self.queued = 0
        self.inflight = 0
        self.last_arrival_ns = 0
        self.failed = ""  # why none of its replicas can start, as the last snapshot has it

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
