"""When does an on-demand node stand in for spot, and when does it go again?"""

from glowplug.clock import HOUR, MINUTE
from glowplug_router.policy.capacity.offers import launch_ns
from glowplug_router.records.capacity import Offer
from glowplug_router.records.observed import Node

# router.md §5.6: a stand-in stays until spot has been ready for so long, or what it costs at least is paid anyway:
# where seconds are billed it goes as soon as spot is ready; where hours are, it protects a young spot node for nothing.
SURE_NS = 5 * MINUTE
LIFE_MAX_NS = 24 * HOUR  # of a spot node, for what it may save: nobody knows tomorrow [I]


def is_sure(node: Node, now_ns: int) -> bool:
    """Say whether a ready node has been so for long enough that its stand-in may go."""
    return now_ns - node.since_ns >= SURE_NS


def paid_off_ns(node: Node, offer: Offer) -> int:
    """Return when the minimum billing of a ready node has passed: giving it back earlier saves nothing."""
    return node.since_ns - launch_ns(offer) + offer.min_billed_ns


def is_paid_off(node: Node, offer: Offer, now_ns: int) -> bool:
    """Say whether giving a ready node back saves anything."""
    return now_ns >= paid_off_ns(node, offer)


def pays_to_fill(
    gap_ns: int, *, miss_micro_usd: int, price_micro_usd: int, min_billed_ns: int
) -> bool:
    """Say whether a stand-in is worth its price when spot comes so much later."""
    return gap_ns * miss_micro_usd > max(gap_ns, min_billed_ns) * price_micro_usd


def pays_to_switch(
    spot: Offer, *, hazard: int, spot_unit_micro_usd: int, filler_unit_micro_usd: int
) -> bool:
    """Say whether going (back) to spot saves more over the spot node's expected life than the change costs."""
    life_ns = min(LIFE_MAX_NS, HOUR * 1_000_000 // max(1, hazard))
    # While spot starts, both are paid.
    cost = (spot_unit_micro_usd + filler_unit_micro_usd) * launch_ns(spot)
    return (filler_unit_micro_usd - spot_unit_micro_usd) * life_ns > cost
