"""Is a node that is not wanted given back, or stopped, and for how long?

Running -> stopped -> none. A stopped node costs its disk, and saves the difference between its two starts when it is
wanted again. It is kept until the disk has cost as much as that: twice the best one could do, whatever comes (ski
rental, router.md §5.4).
"""

from glowplug_router.policy.capacity.offers import launch_ns
from glowplug_router.records.capacity import Offer
from glowplug_router.records.observed import Node

STOPPED_MAX_NS = (
    7 * 24 * 3_600 * 1_000_000_000
)  # a week: images and weights on the disk are of yesterday's deployment [I]


def is_stoppable(offer: Offer) -> bool:
    """Say whether a node can be stopped and starts sooner afterwards. Spot keeps no promise to come back."""
    return offer.market == "on_demand" and 0 < offer.restart_p90_ns < launch_ns(offer)


def keep_stopped_ns(offer: Offer, miss_micro_usd: int) -> int:
    """Return how long a stopped node is kept; `miss_micro_usd` is the cost of an hour without the whole node."""
    if not is_stoppable(offer):
        return 0
    saved = (launch_ns(offer) - offer.restart_p90_ns) * miss_micro_usd
    return min(STOPPED_MAX_NS, saved // max(1, offer.stopped_micro_usd))


def is_spent(node: Node, offer: Offer, miss_micro_usd: int, now_ns: int) -> bool:
    """Say whether a stopped node has been kept for long enough."""
    return now_ns - node.since_ns >= keep_stopped_ns(offer, miss_micro_usd)
