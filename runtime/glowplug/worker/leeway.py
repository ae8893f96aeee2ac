"""How long before a deadline must a batch end, so that its answers are there in time?

The caller's clock stops when the answer has arrived, and the batcher's when the device is free. In between answers are
encoded, the loop gets its turn, the gateway gets its own. What of that happens here is seen and learned: a high
quantile, for a call that comes a little late has come for nothing. The gateway's part cannot be seen; on a machine
where turns are long here they are long there, so it is taken to be as much again.
"""

from glowplug.clock import MICROSECOND, MILLISECOND

FLOOR_NS = (
    500 * MICROSECOND
)  # a whole call of an idle machine takes 0.4 ms beyond the code: docs/benchmarks.md
MOST_NS = (
    10 * MILLISECOND
)  # what takes longer is a pause of the machine: nobody would be served if it were planned for
SHARE = 4  # never more than one part in so many of what a call has left: a short deadline is not hopeless by itself
QUANTILE = 0.95
STEP_NS = (
    50 * MICROSECOND
)  # that one batch moves it at most; a pause of 100 ms teaches no more than one of 1 ms


class Leeway:
    """What the batches so far say about the way back."""

    __slots__ = ("_way_ns",)

    def __init__(self) -> None:
        self._way_ns = 0.0

    @property
    def ns(self) -> int:
        """Return the leeway of a call that has time."""
        return min(FLOOR_NS + 2 * int(self._way_ns), MOST_NS)

    def of(self, left_ns: int) -> int:
        """Return the leeway of a call with so much time left."""
        return min(self.ns, max(left_ns, 0) // SHARE)

    def saw(self, way_ns: int) -> None:
        """Learn how long after its run the answers of a batch had left."""
        step_ns = QUANTILE if way_ns > self._way_ns else QUANTILE - 1.0
        self._way_ns = max(0.0, self._way_ns + step_ns * STEP_NS)
