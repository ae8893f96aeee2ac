"""How fast do calls end, and how long will it take until there is room?"""

from glowplug.clock import MILLISECOND, SECOND

RETRY_MIN_NS = 100 * MILLISECOND  # sooner is a busy loop
RETRY_MAX_NS = 60 * SECOND  # later says "go away"; load has changed by then
RETRY_UNKNOWN_NS = SECOND  # nothing was measured: the first replica is still starting
_SLOTS = 10  # of a second each: how far the measurement looks back


class DrainRate:
    """Ends of calls in the last ten seconds."""

    __slots__ = ("_counts", "_first_ns", "_slot_end_ns", "ends")

    def __init__(self) -> None:
        self.ends = 0  # in all
        self._counts = [0] * _SLOTS  # newest last
        self._slot_end_ns = 0  # 0 = nothing ended yet
        self._first_ns = 0

    def note(self, now_ns: int) -> None:
        """Count one end."""
        if now_ns >= self._slot_end_ns:
            self._turn(now_ns)
        self._counts[-1] += 1
        self.ends += 1

    def _turn(self, now_ns: int) -> None:
        """Begin the slot of this moment."""
        if not self._slot_end_ns:
            self._first_ns = self._slot_end_ns = now_ns
        slots = (now_ns - self._slot_end_ns) // SECOND + 1
        self._counts = [*self._counts, *[0] * min(slots, _SLOTS)][-_SLOTS:]
        self._slot_end_ns += slots * SECOND

    def wait_ns(self, ahead: int, now_ns: int) -> int:
        """Return how long `ahead` calls take to end, within what a caller can make use of."""
        if not self._slot_end_ns:
            return RETRY_UNKNOWN_NS
        quiet_ns = max(0, now_ns - self._slot_end_ns)
        slots = -(-quiet_ns // SECOND)  # that passed without an end
        ends = sum(self._counts[slots:])
        # A young measurement has seen less than its window: 5 ends in the first second are 5/s, not 0.5/s.
        begin_ns = max(self._slot_end_ns - (_SLOTS - slots) * SECOND, self._first_ns)
        seen_ns = max(now_ns - begin_ns, RETRY_MIN_NS) if ends else quiet_ns
        needed_ns = ahead * seen_ns // max(ends, 1)
        return max(RETRY_MIN_NS, min(needed_ns, RETRY_MAX_NS))
