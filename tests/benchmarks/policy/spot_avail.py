"""spot-avail: with two minutes' notice, how available are spot nodes with a stand-in, and what do they cost?"""

from collections.abc import Callable, Mapping
from statistics import fmean

from glowplug_router.policy.capacity.step import capacity_step
from glowplug_router.simulation.market.campaign import NodePlanner, Outcome, on_demand_cost
from glowplug_router.simulation.market.campaign import run as carried_out
from policy.baselines.nodes import SpotHedge, Spread, on_demand_only
from policy.result import Result
from policy.spot_scenes import campaign, markets, sweeps

NAME = "spot-avail"
CONSTANTS = "spot starts in 180 s, on-demand in 60 s (of all planners), price ratio 3, 7 days or 3"
OTHERS: Mapping[str, Callable[[], NodePlanner]] = {
    "SpotHedge e=0": lambda: SpotHedge(0),
    "SpotHedge e=1": lambda: SpotHedge(1),
    "SpotHedge e=2": lambda: SpotHedge(2),
    "even spread": lambda: Spread(0),
    "ASG 10 % base": lambda: Spread(100),
    "on-demand": lambda: on_demand_only,
}


def run(seed: int) -> list[Result]:
    """Return availability and cost of all markets, with the worst beside the mean."""
    ours: dict[str, Outcome] = {}
    others: dict[str, list[Outcome]] = {name: [] for name in OTHERS}
    vs_on_demand: list[float] = []
    for name, pools, nodes, until_ns in markets(seed):
        scene = campaign(name, pools, until_ns=until_ns, nodes=nodes, notice_permille=1000)
        ours[name] = carried_out(scene, capacity_step, seed, check="bamboo" in name)
        vs_on_demand.append(ours[name].micro_usd / on_demand_cost(scene, ours[name].metered_ns))
        for other, make in OTHERS.items():
            others[other].append(carried_out(scene, make(), seed))
    swept = {
        scene.name: carried_out(scene, capacity_step, seed)
        for scene in sweeps(seed + 1, 1000, kinds=1)
    }
    assert not sum(outcome.not_idempotent for outcome in ours.values()), "a plan of its own plan"
    lowest = min(ours, key=lambda name: ours[name].availability)
    dearest = max(ours, key=lambda name: ours[name].cost_ratio)
    return [
        Result(
            figure="spot_notice_availability",
            value=ours[lowest].availability,
            unit="share of time with all nodes ready, worst market",
            bound=1.0,
            peers={k: min(o.availability for o in v) for k, v in others.items()},
            detail=f"worst: {lowest}; {CONSTANTS}; swept: {_range(swept, 'availability')}",
        ),
        Result(
            figure="spot_cost_ratio_bound",
            value=fmean(outcome.cost_ratio for outcome in ours.values()),
            unit="x cheapest nodes at each moment, mean of markets",
            bound=1.0,
            peers={k: fmean(o.cost_ratio for o in v) for k, v in others.items()},
            detail=f"worst {ours[dearest].cost_ratio:.3f}: {dearest}; {fmean(vs_on_demand):.3f} of on-demand; "
            f"{CONSTANTS}; swept: {_range(swept, 'cost_ratio')}",
        ),
    ]


def _range(outcomes: Mapping[str, Outcome], figure: str) -> str:
    values = {name: getattr(outcome, figure) for name, outcome in outcomes.items()}
    low, high = (pick(values, key=lambda name: values[name]) for pick in (min, max))
    return f"{values[low]:.4f} ({low}) to {values[high]:.4f} ({high})"
