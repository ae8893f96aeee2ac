"""How many replicas would Ray Serve have?

Wheel 2.60.0, `serve/autoscaling_policy.py` and `serve/config.py`, as told in research/router.md §1.3.
"""

from math import ceil

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.records.observed import Served
from policy.baselines.ticking import Seen, Ticking

LOOP_NS = 500 * MILLISECOND  # theirs is 0.1 s; a decision counts only after a delay of 30 s anyway
LOOK_BACK_NS = 30 * SECOND
UP_DELAY_NS = 30 * SECOND
DOWN_DELAY_NS = 600 * SECOND
TARGET_ONGOING = 2.0  # target_ongoing_requests


def desired(ongoing: float, current: int, target: float, factor: float = 1.0) -> int:
    """Return how many replicas so many ongoing calls are worth: current + factor × (ongoing / target - current)."""
    if not current:
        return int(ongoing > 0)
    return max(0, ceil(current + factor * (ongoing / target - current) - 1e-9))


class RayServe(Ticking):
    """Ray Serve's autoscaler with its defaults."""

    every_ns = LOOP_NS

    def __init__(self, *, least: int = 0, target: float = TARGET_ONGOING) -> None:
        super().__init__(least=least)
        self._target = target
        self._since: dict[str, tuple[int, int]] = {}  # direction, and since when

    def decided(self, served: Served, seen: Seen, ready: int, starting: int, now_ns: int) -> int:
        """Return what is wanted once it was wanted for the whole delay."""
        current = seen.replicas
        if not current:
            return int(seen.concurrency > 0)
        wanted = desired(seen.mean_concurrency(LOOK_BACK_NS), current, self._target)
        direction = (wanted > current) - (wanted < current)
        known, since_ns = self._since.get(served.key, (0, now_ns))
        if direction != known:
            since_ns = now_ns
        self._since[served.key] = (direction, since_ns)
        delay_ns = UP_DELAY_NS if direction > 0 else DOWN_DELAY_NS
        if direction and now_ns - since_ns >= delay_ns:
            self._since[served.key] = (0, now_ns)
            return wanted
        return current
