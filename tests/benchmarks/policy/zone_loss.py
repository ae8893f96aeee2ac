"""zone-loss: all nodes of a zone die at once, without notice. How long is less than the critical reservation ready?"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

from glowplug.clock import HOUR, SECOND
from glowplug_router.policy.capacity.step import capacity_step
from glowplug_router.simulation.market.campaign import Campaign, NodePlanner, Outcome
from glowplug_router.simulation.market.campaign import run as carried_out
from glowplug_router.simulation.market.provider import Outage
from glowplug_router.simulation.market.series import Series
from policy.baselines.nodes import SpotHedge, Spread
from policy.result import Result
from policy.spot_scenes import FALLBACK_NS, campaign

NAME = "zone-loss"
NODES = 6
CRITICAL = 4
ZONES = 3
SEEDS = 5
OUTAGES = 12  # one in two hours, of each zone in turn, for 40 minutes
RATE_S = 2  # critical calls a second; one that begins while too few are ready is missed
OTHERS: Mapping[str, Callable[[], NodePlanner]] = {
    "SpotHedge e=1": lambda: SpotHedge(1),
    "SpotHedge e=2": lambda: SpotHedge(2),
    "even spread": lambda: Spread(0),
}


def run(seed: int) -> list[Result]:
    """Return the critical calls missed, of all that came; those in flight on the zone are not counted."""
    seeds = range(seed, seed + SEEDS)
    ours = [carried_out(_scene(), capacity_step, one, check=True) for one in seeds]
    # The same check, with nothing reserved: the planner puts all in the cheapest zone.
    planted = replace(_scene(), need=replace(_scene().need, critical_permille=0))
    control = [_missed(carried_out(planted, capacity_step, one), planted) for one in seeds]
    recovery_ns = max(_recovery_ns(outcome) for outcome in ours)
    return [
        Result(
            figure="zone_loss_critical_misses",
            value=sum(outcome.critical_ns for outcome in ours) * RATE_S / SECOND,
            unit="calls that began with too few nodes",
            bound=0,
            peers={
                name: sum(_missed(carried_out(_scene(), make(), one), _scene()) for one in seeds)
                for name, make in OTHERS.items()
            },
            exercised=OUTAGES * SEEDS,
            control=sum(control),
            detail=f"{NODES} nodes, {CRITICAL} critical, {ZONES} zones, {ours[0].losses} nodes lost a run; "
            "control: nothing reserved",
        ),
        Result(
            figure="zone_loss_recovery_s",
            value=recovery_ns / SECOND,
            unit="s until all are ready again, worst",
            at_most=1.16 * FALLBACK_NS / SECOND
            + 2,  # router.md §7: the stand-in's start and 2 ticks
            detail=f"starts of on-demand take {FALLBACK_NS // SECOND} s, 16 % more or less",
        ),
    ]


def _scene() -> Campaign:
    until_ns = (OUTAGES + 1) * 2 * HOUR
    pools = {f"z{number}": Series((0,), (64,)) for number in range(ZONES)}
    scene = campaign(NAME, pools, until_ns=until_ns, nodes=NODES, critical=CRITICAL)
    outages = tuple(
        Outage(
            zone=f"z{number % ZONES}",
            from_ns=(number + 1) * 2 * HOUR,
            until_ns=(number + 1) * 2 * HOUR + 2400 * SECOND,
        )
        for number in range(OUTAGES)
    )
    return replace(scene, outages=outages)


def _missed(outcome: Outcome, scene: Campaign) -> float:
    if scene.need.critical_permille:
        return outcome.critical_ns * RATE_S / SECOND
    begun = [*outcome.timeline, (scene.until_ns, 0)]
    spans = pairwise(begun)
    short = sum(
        b[0] - a[0] for a, b in spans if a[1] < CRITICAL * 1000 and a[0] >= scene.warm_up_ns
    )
    return short * RATE_S / SECOND


def _recovery_ns(outcome: Outcome) -> int:
    """Return the longest time for which fewer than all were ready, once they had been."""
    longest = short_since = 0
    for at_ns, ready in outcome.timeline:
        if ready < NODES * 1000 and not short_since:
            short_since = at_ns
        elif ready >= NODES * 1000 and short_since:
            longest = max(longest, at_ns - short_since)
            short_since = 0
    return longest
