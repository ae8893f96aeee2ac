"""May a call that was lost with its replica be tried again? Only so many, or a dying version is hit twice as hard.

One retry for every ten calls that ended in the last ten seconds, and a few in any case. It is worked out when it is
asked for: calls that go well pay nothing for it.
"""

from glowplug.clock import SECOND

SHARE = 0.1  # of recent calls
WINDOW_NS = 10 * SECOND  # what is recent
FLOOR = 5.0  # retries in a window that are always allowed: the last calls of a quiet endpoint too


class Budget:
    """Retries that one version may still make."""

    __slots__ = ("_asked_ns", "_ends", "_left")

    def __init__(self) -> None:
        self._left = FLOOR
        self._asked_ns = 0
        self._ends = 0

    def take(self, ends: int, now_ns: int) -> bool:
        """Take one retry if there is one; `ends` calls have ended in all."""
        passed_ns = now_ns - self._asked_ns
        if passed_ns > 0:
            recent = min(1.0, WINDOW_NS / passed_ns)  # of what ended since then
            earned = SHARE * (ends - self._ends) * recent
            kept = self._left * max(0.0, 1 - passed_ns / WINDOW_NS)
            floor = min(FLOOR, self._left + FLOOR * passed_ns / WINDOW_NS)
            self._left = max(floor, kept + earned)
            self._asked_ns, self._ends = now_ns, ends
        if self._left < 1:
            return False
        self._left -= 1
        return True
