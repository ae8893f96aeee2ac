"""How many replicas would a rule like that of NVIDIA Dynamo's planner have?

Its load mode as told in research/router.md §1.4: one more when the load of each is above what it should be, one fewer
when it is below 0.8 of that, whatever the survivors would have to carry (dynamo#9294). Their predicted TTFT and ITL are
stood for by the use of the permits.
"""

from glowplug.clock import SECOND
from glowplug_router.records.observed import Served
from policy.baselines.ticking import Seen, Ticking

EVERY_NS = 30 * SECOND  # longer than a start, as its documentation asks for
TARGET_USE = 0.9  # of the permits: where waits grow; the SLA of their rule
DOWN_BELOW = 0.8  # of the target


def desired(use: float, current: int) -> int:
    """Return one more, one fewer, or as many, by the use of each replica."""
    if use > TARGET_USE:
        return current + 1
    return max(1, current - 1) if use < DOWN_BELOW * TARGET_USE else current


class Dynamo(Ticking):
    """A planner of single steps without a look at what is left."""

    every_ns = EVERY_NS

    def decided(self, served: Served, seen: Seen, ready: int, starting: int, now_ns: int) -> int:
        """Return the next step; it holds while something starts."""
        if starting or not ready:
            return seen.replicas or int(seen.concurrency > 0)
        return desired(seen.mean_concurrency(EVERY_NS) / (ready * served.permits), seen.replicas)
