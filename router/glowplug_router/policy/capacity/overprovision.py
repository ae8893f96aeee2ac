"""How many nodes above the need pay for themselves?

Another node is worth the shortage it prevents: for each pool whose loss takes more than the spare covers, hazard times
the time until it is replaced times the cost of a missing unit. It is bought while that is more than its price. With
notice nothing is missed, so nothing is bought; the number is never fixed.
"""

from collections.abc import Sequence

from glowplug.clock import HOUR

SPARE_MAX = 2  # SpotHedge's largest over-provision (router.md §2.1): a bound, not an aim
KEEP_PERMILLE = (
    500  # a spare that is there goes when it is worth half its price: hazards tremble [I]
)


def spare_nodes(
    pools: Sequence[tuple[int, int]],
    *,
    short_ns: int,
    miss_micro_usd: int,
    price_micro_usd: int,
    now_spare: int,
) -> int:
    """Return how many nodes above the need to have.

    Args:
        pools: nodes and hazard (millionths an hour, of one node) of each pool.
        short_ns: expected time until a lost node is replaced.
        miss_micro_usd: cost of one node missing for an hour.
        price_micro_usd: of an hour of a spare node.
        now_spare: how many there are, which makes it easier to keep them.
    """
    spare = 0
    while spare < SPARE_MAX:
        hazard = sum(hazard for nodes, hazard in pools if nodes > spare)
        worth = hazard * short_ns * miss_micro_usd // (HOUR * 1_000_000)
        bar = price_micro_usd * KEEP_PERMILLE // 1000 if spare < now_spare else price_micro_usd
        if worth <= bar:
            break
        spare += 1
    return spare
