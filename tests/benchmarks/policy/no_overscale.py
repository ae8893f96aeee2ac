"""How many replicas are started when many calls come out of nothing?

0 -> 20 calls a second of 0.1 s, every start takes 60 s: for a minute the queue grows, and says nothing of the need. The
steady need is Knative's own, which it has when the queue is gone: load / (permits × 0.7). One call at a time and eight;
the figure is the worse one. At most 50 replicas: some stop there only.
"""

from collections.abc import Callable
from math import ceil
from random import Random

from glowplug.clock import MINUTE, SECOND
from glowplug_router.drafting.targets import Scaler
from glowplug_router.simulation.replay import Request, StartTime
from policy.baselines.kpa import TARGET_UTILISATION, Kpa
from policy.baselines.ray_serve import RayServe
from policy.baselines.sky_serve import SkyServe
from policy.result import Result
from policy.scenes import ENDPOINT, OURS, compared, endpoint, scene, told

NAME = "no-overscale"
RATE = 20.0
SERVICE_S = 0.1
START_S = 60
SPAN_NS = 5 * MINUTE
PERMITS = (1, 8)
MOST = 50


def traffic(seed: int) -> list[Request]:
    """Return Poisson arrivals of calls that all take the same."""
    chance, at_s, calls = Random(seed), 0.0, []
    while (at_s := at_s + chance.expovariate(RATE)) * SECOND < SPAN_NS:
        calls.append(Request(int(at_s * SECOND), ENDPOINT, int(SERVICE_S * SECOND)))
    return calls


def run(seed: int) -> list[Result]:
    """Return the replicas started over those needed."""
    found = {permits: _ratios(permits, seed) for permits in PERMITS}
    worst = {name: max(found[permits][name] for permits in PERMITS) for name in found[PERMITS[0]]}
    text = "; ".join(
        f"{permits} at once: " + ", ".join(f"{name} {one:.2f}" for name, one in ratios.items())
        for permits, ratios in found.items()
    )
    return [
        Result(
            figure="no_overscale_ratio",
            value=worst[OURS],
            unit="ratio",
            bound=1.0,
            peers=worst,
            detail=f"step 0 -> {RATE:g}/s × {SERVICE_S} s, cold start {START_S} s, 5 min. {text}",
        )
    ]


def _ratios(permits: int, seed: int) -> dict[str, float]:
    need = ceil(RATE * SERVICE_S / (permits * TARGET_UTILISATION))
    scalers: dict[str, Callable[[], Scaler]] = {
        "kpa": Kpa,
        "ray serve": RayServe,
        "skyserve": lambda: SkyServe(0.7 * permits / SERVICE_S),
    }
    one = scene(
        endpoint(StartTime(START_S * SECOND), permits=permits, most=MOST), traffic(seed), SPAN_NS
    )
    return {
        name: told(outcome).starts / need for name, outcome in compared(one, scalers, seed).items()
    }
