"""spot-nonotice: when nobody says beforehand that nodes go, what is left, beside SpotHedge with the same stand-in?"""

from dataclasses import replace
from statistics import fmean

from glowplug_router.policy.capacity.step import capacity_step
from glowplug_router.simulation.market.campaign import Campaign, Outcome
from glowplug_router.simulation.market.campaign import run as carried_out
from policy.baselines.nodes import SpotHedge
from policy.result import Result
from policy.spot_scenes import campaign, markets, sweeps

NAME = "spot-nonotice"


def run(seed: int) -> list[Result]:
    """Return cost and availability against SpotHedge e=1: no notice, and notice for every second node."""
    pairs: dict[str, tuple[Outcome, Outcome]] = {}
    half: list[Outcome] = []
    for name, pools, nodes, until_ns in markets(seed):
        scene = campaign(name, pools, until_ns=until_ns, nodes=nodes, notice_permille=0)
        pairs[name] = _both(scene, seed)
        half.append(carried_out(replace(scene, notice_permille=500), capacity_step, seed))
    swept = {scene.name: _both(scene, seed) for scene in sweeps(seed + 1, 0, kinds=1)}
    ratios = {name: ours.micro_usd / hedge.micro_usd for name, (ours, hedge) in pairs.items()}
    gains = {name: ours.availability - hedge.availability for name, (ours, hedge) in pairs.items()}
    dearest = max(ratios, key=lambda name: ratios[name])
    lowest = min(gains, key=lambda name: gains[name])
    swept_ratio = fmean(ours.micro_usd / hedge.micro_usd for ours, hedge in swept.values())
    swept_gain = fmean(ours.availability - hedge.availability for ours, hedge in swept.values())
    return [
        Result(
            figure="spot_no_notice_cost_ratio_hedge",
            value=fmean(ratios.values()),
            unit="x cost of SpotHedge e=1, mean of markets",
            bound=fmean(hedge.bound_micro_usd / hedge.micro_usd for _, hedge in pairs.values()),
            detail=f"worst {ratios[dearest]:.3f}: {dearest}; swept, mean: {swept_ratio:.3f}; same 60 s stand-in",
        ),
        Result(
            figure="spot_no_notice_availability_gain",
            value=100 * fmean(gains.values()),
            unit="points against SpotHedge e=1, mean of markets",
            peers={
                "ours": fmean(ours.availability for ours, _ in pairs.values()),
                "ours, every second noticed": fmean(outcome.availability for outcome in half),
                "SpotHedge e=1": fmean(hedge.availability for _, hedge in pairs.values()),
            },
            detail=f"worst {100 * gains[lowest]:+.2f}: {lowest}; swept, mean: {100 * swept_gain:+.2f}",
            at_least=-0.1,
        ),
    ]


def _both(scene: Campaign, seed: int) -> tuple[Outcome, Outcome]:
    return carried_out(scene, capacity_step, seed), carried_out(scene, SpotHedge(1), seed)
