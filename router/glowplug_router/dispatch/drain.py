"""How long will it take until there is room?"""

from math import exp

from glowplug.clock import MILLISECOND, SECOND

RETRY_MIN_NS = 100 * MILLISECOND  # sooner is a busy loop
RETRY_MAX_NS = 60 * SECOND  # later says "go away"; load has changed by then
RETRY_UNKNOWN_NS = SECOND  # nothing was measured: the first replica is still starting
_WINDOW_NS = 10 * SECOND  # how far the measurement looks back


class DrainRate:
    """Ends of calls per second, as a sum that decays exponentially."""

    __slots__ = ("_ends", "_first_ns", "_last_ns")

    def __init__(self) -> None:
        self._ends = 0.0
        self._first_ns = 0
        self._last_ns = 0

    def note(self, now_ns: int) -> None:
        """Count one end."""
        if not self._last_ns:
            self._first_ns = now_ns
        self._ends = self._ends * exp((self._last_ns - now_ns) / _WINDOW_NS) + 1.0
        self._last_ns = now_ns

    def wait_ns(self, ahead: int, now_ns: int) -> int:
        """Return how long `ahead` calls take to end, within what a caller can make use of."""
        if not self._last_ns:
            return RETRY_UNKNOWN_NS
        ends = self._ends * exp((self._last_ns - now_ns) / _WINDOW_NS)
        # A young measurement has seen less than its window: 5 ends in the first second are 5/s, not 0.5/s.
        seen_ns = max(
            _WINDOW_NS * (1.0 - exp((self._first_ns - now_ns) / _WINDOW_NS)), RETRY_MIN_NS
        )
        needed_ns = min(ahead * seen_ns / max(ends, 1e-9), RETRY_MAX_NS)
        return max(RETRY_MIN_NS, int(needed_ns))
