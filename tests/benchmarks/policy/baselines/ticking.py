"""How does an autoscaler that looks every so often fit behind our `Scaler`?

It is asked at every plan, measures what passes, and decides at its own ticks; in between it keeps its answer. Unlike
ours, it remembers in itself: make a new one for each replay.
"""

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field

from glowplug.clock import SECOND
from glowplug_router.policy.scaling.following import Target
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Served

SAMPLES_MAX = (
    4096  # of a version; the longest look-back here is 60 s, and plans are at least 100 ms apart
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A stretch of time: how many calls waited or ran on average over it, and how many came."""

    begin_ns: int
    end_ns: int
    concurrency: float
    arrivals: int


@dataclass(slots=True)
class Seen:
    """What was measured of one version."""

    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))
    arrivals: int = 0
    concurrency: int = 0
    at_ns: int = 0
    tick_ns: int = 0  # when it decides next
    replicas: int = 0  # what it decided last

    def note(self, demand: Demand, now_ns: int) -> None:
        """Take in what was asked for since the last time."""
        came = max(0, demand.arrivals - self.arrivals)
        if self.at_ns and now_ns > self.at_ns:
            self.samples.append(Sample(self.at_ns, now_ns, self.concurrency, came))
            self.arrivals = demand.arrivals
        self.concurrency = demand.queued + demand.inflight
        self.at_ns = now_ns

    def mean_concurrency(self, window_ns: int) -> float:
        """Return the mean over the last stretch; over less, when less was seen."""
        begin_ns = self.at_ns - window_ns
        weighed = covered_ns = 0.0
        for sample in reversed(self.samples):
            if sample.end_ns <= begin_ns:
                break
            length_ns = sample.end_ns - max(begin_ns, sample.begin_ns)
            weighed += sample.concurrency * length_ns
            covered_ns += length_ns
        return weighed / covered_ns if covered_ns else float(self.concurrency)

    def rate(self, window_ns: int) -> float:
        """Return the arrivals a second over the last stretch."""
        begin_ns = self.at_ns - window_ns
        came = sum(sample.arrivals for sample in self.samples if sample.end_ns > begin_ns)
        return came * SECOND / window_ns

    def forget(self) -> None:
        """Drop what was measured: nobody reports while nothing runs."""
        self.samples.clear()
        self.at_ns = 0


class Ticking(ABC):
    """A `Scaler` that decides every `every_ns`; at zero every `every_at_zero_ns`, and 0 is at once."""

    every_ns: int
    every_at_zero_ns: int = 0

    def __init__(self, *, least: int = 0) -> None:
        self.least = least
        self._seen: dict[str, Seen] = {}

    def __call__(
        self,
        served: Served,
        demand: Demand,
        memory: EndpointMemory,
        ready: int,
        starting: int,
        now_ns: int,
    ) -> Target:
        """Return its decision of now, or the last one until the next tick."""
        seen = self._seen.setdefault(served.key, Seen(replicas=self.least))
        seen.note(demand, now_ns)
        is_woken = not seen.replicas and demand.queued > 0 and not self.every_at_zero_ns
        if now_ns >= seen.tick_ns or is_woken:
            decided = self.decided(served, seen, ready, starting, now_ns)
            seen.replicas = max(self.least, min(decided, served.policy.max))
            every_ns = self.every_ns if seen.replicas else self.every_at_zero_ns or self.every_ns
            seen.tick_ns = now_ns + every_ns
        is_quiet = not (seen.replicas or ready or starting or demand.queued or demand.inflight)
        due_ns = None if is_quiet and not self._is_remembering(seen) else seen.tick_ns
        return Target(seen.replicas, "baseline", type(self).__name__, memory, due_ns)

    @abstractmethod
    def decided(self, served: Served, seen: Seen, ready: int, starting: int, now_ns: int) -> int:
        """Return how many replicas to have."""

    def _is_remembering(self, seen: Seen) -> bool:
        return seen.replicas != self.least
