"""Is the queue worth more replicas than the load is?

Only if they pay. While replicas start, calls wait that these will run; a queue is no steady demand (knative#4344,
#13284). So the queue is carried forward over what is ready, and what starts from when it should be ready on, less
what keeps coming. Where a start is short beside the slack, as many are added as end the queue within the slack. Where
it is not, the calls that wait will be late whatever we do; then a replica pays if it works for as long as it is paid
without working: while it starts, and while it is held afterwards.

But what waits also makes late who comes behind it, until we have caught up. So where the queue will be longer than the
slack, as many are wanted as end it in the slack after their start, up to half as many again as the load is worth.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

# Of what the load is worth, to catch up with a queue: the overscale that is allowed (router.md §7, no-overscale).
CATCH_UP_PERMILLE = 1500


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
    more = -(-left // (drain.slots_milli * max(drain.due_ns - drain.start_ns, 1)))
    if drain.due_ns > drain.slack_ns:
        more = max(more, _catching_up(drain))
    # One more than the calls that wait would have nothing to do.
    busy = -(-drain.queued * 1000 // drain.slots_milli) - len(drain.expected_ns)
    return max(0, min(more, busy))


def rush_slots_milli(drain: Drain) -> int:
    """Return how many calls at once to have room for so that who comes until a start is over begins in time.

    At most as many as come: more would be for those that are late already.
    """
    ahead = drain.left_at(drain.start_ns)  # of the last one to come
    return max(0, min(ahead // drain.slack_ns, drain.load_milli))


def _catching_up(drain: Drain) -> int:
    ends = -(
        -drain.left_at(drain.start_ns + drain.slack_ns) // (drain.slots_milli * drain.slack_ns)
    )
    most = -(-drain.load_milli * CATCH_UP_PERMILLE // (1000 * drain.slots_milli))
    return min(ends, most - drain.ready - len(drain.expected_ns))
