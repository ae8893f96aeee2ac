"""How often are replicas started or drained while nothing changes? Constant load, all day the same.

Load of 0.7, 0.85 and 0.95 of what N replicas can do, N from 1 to 20; Poisson arrivals, log-normal service (mean 4 s, CV
0.5), one call at once, starts of 60 s. Counted after half an hour. The figure is the worst of all; the mean is told.
Calls of 20 s, four at once, are told beside: of few long calls chance makes more of a change.
"""

from collections.abc import Callable
from math import exp, log, sqrt
from random import Random

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug_router.drafting.targets import Scaler
from glowplug_router.simulation.replay import Outcome, Request, StartTime
from policy.baselines.dynamo import Dynamo
from policy.baselines.ray_serve import RayServe
from policy.result import Result
from policy.scenes import ENDPOINT, OURS, compared, endpoint, scene

NAME = "oscillation"
SIZES = (1, 3, 8, 20)
LOADS = (0.7, 0.85, 0.95)
PERMITS = 1
MEAN_S = 4.0
LONG = (2, 0.85, 4, 20.0)  # replicas, load, permits, mean seconds
SIGMA = sqrt(log(1 + 0.5**2))  # CV 0.5
EVERY_NS = 2 * SECOND  # Knative's tick, for all: twenty replicas of long calls change no faster
WARM_UP_NS = 30 * MINUTE
SPAN_NS = 90 * MINUTE


def run(seed: int) -> list[Result]:
    """Return scale operations an hour."""
    found: dict[str, dict[str, float]] = {}
    for size in SIZES:
        for load in LOADS:
            for name, operations in _operations(size, load, PERMITS, MEAN_S, seed).items():
                found.setdefault(name, {})[f"{size} × {load}"] = operations
    worst = {name: max(by.values()) for name, by in found.items()}
    mean = {name: sum(by.values()) / len(by) for name, by in found.items()}
    where = max(found[OURS], key=lambda one: found[OURS][one])
    long = _operations(*LONG, seed)
    return [
        _result("oscillation_ops_h", worst, f"the worst of {len(found[OURS])}, at {where}"),
        _result("oscillation_ops_h_mean", mean, f"the mean of {len(found[OURS])}"),
        _result("oscillation_ops_h_long_calls", long, "2 × 0.85, calls of 20 s, four at once"),
    ]


def _result(figure: str, found: dict[str, float], detail: str) -> Result:
    return Result(
        figure=figure,
        value=found[OURS],
        unit="operations/h",
        bound=0.0,
        peers=found,
        detail=detail,
        at_most=2,
    )


def _operations(size: int, load: float, permits: int, mean_s: float, seed: int) -> dict[str, float]:
    scalers: dict[str, Callable[[], Scaler]] = {
        "ray serve": lambda: RayServe(target=0.7 * permits),
        "dynamo-like": Dynamo,
    }
    rate = load * size * permits / mean_s
    calls = traffic(rate, mean_s, seed)
    slow = endpoint(StartTime(60 * SECOND), permits=permits, most=3 * size + 4)
    one = scene(slow, calls, SPAN_NS, EVERY_NS)
    hours = (SPAN_NS - WARM_UP_NS) / HOUR
    return {name: _late(outcome) / hours for name, outcome in compared(one, scalers, seed).items()}


def _late(outcome: Outcome) -> int:
    timeline = outcome.timeline
    first, last = WARM_UP_NS // timeline.bucket_ns, SPAN_NS // timeline.bucket_ns
    return sum(bucket.starts + bucket.drains for bucket in timeline.buckets[first:last])


def traffic(rate: float, mean_s: float, seed: int) -> list[Request]:
    """Return Poisson arrivals at one rate."""
    chance, at_s, calls = Random(seed), 0.0, []
    while (at_s := at_s + chance.expovariate(rate)) * SECOND < SPAN_NS:
        service_s = mean_s * exp(chance.gauss(-(SIGMA**2) / 2, SIGMA))
        calls.append(Request(int(at_s * SECOND), ENDPOINT, int(service_s * SECOND)))
    return calls
