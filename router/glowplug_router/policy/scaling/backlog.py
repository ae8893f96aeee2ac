"""Is the queue worth more replicas than the load is?

Only if they pay. While replicas start, calls wait that these will run; a queue is no steady demand (knative#4344,
#13284). So the queue is carried forward over what is ready, and what starts from when it should be ready on, less
what keeps coming. Where a start is short beside the slack, as many are added as end the queue within the slack. Where
it is not, the calls that wait will be late whatever we do; then a replica pays if it works for as long as it is paid
without working: while it starts, and while it is held afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Drain:
    """How a queue will end: `slots` are calls that a replica carries at once, in thousandths."""

    queued: int
    service_ns: int
    load_milli: int  # calls at once that keep coming
    slots_milli: int  # of one replica
    ready: int
    expected_ns: Sequence[int]  # of those that start: in how many nanoseconds from now
    start_ns: int  # of one that would be wanted now
    slack_ns: int
    hold_ns: int  # how long a replica stays that is needed no more

    @property
    def due_ns(self) -> int:
        """Return within which time the queue should have ended."""
        if 2 * self.start_ns <= self.slack_ns:
            return self.slack_ns
        return max(self.slack_ns, 2 * self.start_ns + self.hold_ns)

    def left_with(self, replicas: int) -> int:
        """Return how much of the queue so many ready replicas leave after the slack, in call-nanoseconds × 1000."""
        return replace(self, ready=replicas, expected_ns=()).left_at(self.slack_ns)

    def left_at(self, after_ns: int) -> int:
        """Return how much of the queue is left then, in call-nanoseconds × 1000."""
        work = self.queued * self.service_ns * 1000
        done = self.ready * self.slots_milli * after_ns
        done += sum(self.slots_milli * max(0, after_ns - at) for at in self.expected_ns)
        return work - done + self.load_milli * after_ns


def backlog_replicas(drain: Drain) -> int:
    """Return how many replicas more end the queue in time; 0 where it ends by itself, or none of them would pay."""
    left = drain.left_at(drain.due_ns)
    if left <= 0:
        return 0
    return -(-left // (drain.slots_milli * max(drain.due_ns - drain.start_ns, 1)))
