"""How many calls may a rank take beyond its permits, and when are those that wait given back?

A synchronous function runs one call at a time, so a gateway that waits for each answer before it sends the next call
pays two wake-ups of processes for every call. A rank whose calls are short therefore takes some *ahead* and starts them
as permits free up. What is ahead is out of reach of priorities and deadlines: that is why it is worth a bounded time.
Levels are few and left late, because each change is told to every gateway.
"""

from glowplug.clock import MILLISECOND

WORK_NS = 2 * MILLISECOND  # of work that may wait here: less than a person or a deadline notices
PATIENCE_NS = 5 * MILLISECOND  # nothing began for so long: what waits goes back, to run elsewhere
LEVELS = (0, 4, 16, 64)
_NEVER_NS = 1 << 62
_SHIFT = (
    4  # the newest call counts for 1/16 of the mean: a handful of slow ones is enough to notice
)


class Pace:
    """What a rank has learned about how long its calls take, and the level that follows."""

    __slots__ = ("_drop_ns", "_rise_ns", "level", "mean_ns")

    def __init__(self) -> None:
        self.mean_ns = PATIENCE_NS  # nothing is known: as if they were slow
        self.level = 0
        self._rise_ns = WORK_NS // LEVELS[1]  # a mean of at most this is worth a higher level
        self._drop_ns = _NEVER_NS  # a mean over this is too long for the present one

    def ended(self, took_ns: int) -> bool:
        """Note how long a call took; say whether the level has changed."""
        mean_ns = self.mean_ns
        self.mean_ns = mean_ns = mean_ns + ((min(took_ns, PATIENCE_NS) - mean_ns) >> _SHIFT)
        return not self._rise_ns < mean_ns <= self._drop_ns and self._settle(mean_ns)

    def held_up(self) -> bool:
        """Forget what was learned, since a call takes longer than that; say whether the level has changed."""
        self.mean_ns = PATIENCE_NS
        return self._settle(PATIENCE_NS)

    def _settle(self, mean_ns: int) -> bool:
        before = self.level
        # A level is entered when it is worth WORK_NS and left at twice that: a mean at the edge changes nothing.
        bound_ns = WORK_NS if mean_ns <= self._rise_ns else 2 * WORK_NS
        self.level = max(level for level in LEVELS if level * mean_ns <= bound_ns)
        higher = next((level for level in LEVELS if level > self.level), 0)
        self._rise_ns = WORK_NS // higher if higher else -1
        self._drop_ns = 2 * WORK_NS // self.level if self.level else _NEVER_NS
        return self.level != before


def patience_left_ns(begun_ns: int, now_ns: int) -> int:
    """Return how long calls may still wait when the last one began at `begun_ns`; 0 = give them back."""
    return max(0, begun_ns + PATIENCE_NS - now_ns)
