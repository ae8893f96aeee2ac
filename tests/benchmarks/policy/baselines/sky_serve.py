"""How many replicas would SkyServe have?

skypilot wheel 0.14.1, `sky/serve/autoscalers.py` and `constants.py`, as told in research/router.md §2.1.
"""

from math import ceil

from glowplug.clock import SECOND
from glowplug_router.records.observed import Served
from policy.baselines.ticking import Seen, Ticking

EVERY_NS = 20 * SECOND  # AUTOSCALER_DEFAULT_DECISION_INTERVAL_SECONDS
EVERY_AT_ZERO_NS = 5 * SECOND
WINDOW_NS = 60 * SECOND  # AUTOSCALER_QPS_WINDOW_SIZE_SECONDS
UP_TIMES = 300 // 20  # AUTOSCALER_DEFAULT_UPSCALE_DELAY_SECONDS, in decisions
DOWN_TIMES = 1200 // 20  # AUTOSCALER_DEFAULT_DOWNSCALE_DELAY_SECONDS


def desired(rate: float, rate_per_replica: float) -> int:
    """Return how many replicas a rate is worth."""
    return ceil(rate / rate_per_replica)


class SkyServe(Ticking):
    """SkyServe's request rate autoscaler; what a replica can do in a second has to be told to it."""

    every_ns = EVERY_NS
    every_at_zero_ns = EVERY_AT_ZERO_NS

    def __init__(self, rate_per_replica: float, *, least: int = 0) -> None:
        super().__init__(least=least)
        self._rate_per_replica = rate_per_replica
        self._times: dict[str, int] = {}  # decisions in a row to go up, or negative down

    def decided(self, served: Served, seen: Seen, ready: int, starting: int, now_ns: int) -> int:
        """Return what is wanted once it was wanted often enough in a row; from zero at once."""
        current = seen.replicas
        wanted = desired(seen.rate(WINDOW_NS), self._rate_per_replica)
        times = self._times.get(served.key, 0)
        if wanted > current:
            times = max(times, 0) + 1
        elif wanted < current:
            times = min(times, 0) - 1
        else:
            times = 0
        is_due = not current or times >= UP_TIMES or -times >= DOWN_TIMES
        self._times[served.key] = 0 if is_due else times
        return wanted if is_due else current

    def _is_remembering(self, seen: Seen) -> bool:
        return bool(seen.concurrency)
