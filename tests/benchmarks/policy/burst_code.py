"""What does an hour of bursts cost, from zero, and who waits? Azure's 2023 trace of code completion.

Service is modelled as in router.md §4.2: 0.05 s + context / 8000 + 0.03 s × generated; 8 calls at once on a replica;
every start takes exactly C. All autoscalers see the same calls and may have 64 replicas; the metered time ends when the
last call of the slowest one does.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from msgspec import structs

from glowplug.clock import SECOND
from glowplug_router.drafting.targets import Scaler
from glowplug_router.plan import plan
from glowplug_router.simulation.replay import Request, StartTime, replay
from glowplug_router.simulation.traces.language import azure
from glowplug_router.simulation.traces.models import Reading
from policy.baselines.fixed import Fixed
from policy.baselines.kpa import Kpa
from policy.baselines.oracle import needs, packed_hours, scheduled_steps
from policy.baselines.ray_serve import RayServe
from policy.baselines.sky_serve import SkyServe
from policy.result import Result
from policy.scenes import ENDPOINT, Told, compared, endpoint, line, scene, told

NAME = "burst-code"
TRACE = Path(__file__).parents[1] / "traces" / "azure_llm_2023_code.csv.gz"
PERMITS = 8
PREWARMED = 3
SLOW_S, QUICK_S = 60, 15  # cold starts
STEP_NS = 5 * SECOND  # of the oracle's schedule
SPAN_NS = 3600 * SECOND


def traffic() -> list[Request]:
    """Return the calls of the trace."""
    calls = list(azure(TRACE, Reading()))
    return [
        structs.replace(one, at_ns=one.at_ns - calls[0].at_ns, endpoint=ENDPOINT) for one in calls
    ]


def run(seed: int) -> list[Result]:
    """Return cost and waits at both cold starts."""
    calls = traffic()
    slow = _taken(calls, SLOW_S, seed)
    quick = _taken(calls, QUICK_S, seed)
    return [*_slow(calls, slow), *_quick(calls, quick)]


def _taken(calls: list[Request], start_s: int, seed: int) -> dict[str, Told]:
    mean_s = sum(call.service_ns for call in calls) / len(calls) / SECOND
    rate = 0.7 * PERMITS / mean_s  # what a careful person would have told it
    scalers: dict[str, Callable[[], Scaler]] = {"kpa": Kpa, "kpa min 1": partial(Kpa, least=1)}
    if start_s == SLOW_S:
        scalers |= {"ray serve": RayServe, "skyserve": partial(SkyServe, rate)}
    one = scene(endpoint(StartTime(start_s * SECOND), permits=PERMITS), calls, SPAN_NS)
    warm = scene(endpoint(StartTime(0), permits=PERMITS), calls, SPAN_NS)  # they were there before
    prewarmed = replay(warm, partial(plan, scaler=Fixed(PREWARMED)), seed)
    found = compared(one, scalers, seed) | {"prewarmed 3": prewarmed}
    return {name: told(outcome) for name, outcome in found.items()}


def _slow(calls: list[Request], found: dict[str, Told]) -> list[Result]:
    ours, kpa = found["glowplug"], found["kpa"]
    detail = _detail(found, SLOW_S)
    hours = {name: one.hours for name, one in found.items()}
    within = {name: one.within for name, one in found.items()}
    return [
        Result(
            figure="burst_code_gpu_h_ratio_kpa",
            value=ours.hours / kpa.hours,
            unit="ratio",
            detail=detail,
            bound=_scheduled_hours(calls, SLOW_S) / kpa.hours,
            peers=hours | {"perfect packing": packed_hours(calls, PERMITS)},
        ),
        Result(figure="burst_code_slo", value=ours.within, unit="share", bound=1.0, peers=within),
        _beside("burst_code_gpu_h_ratio_kpa_min_1", ours.hours / found["kpa min 1"].hours, 0.35),
        _beside("burst_code_gpu_h_ratio_prewarmed", ours.hours / found["prewarmed 3"].hours, 1.1),
        _beside("burst_code_p99_ratio_kpa", ours.p99_s / kpa.p99_s, 0.45),
    ]


def _quick(calls: list[Request], found: dict[str, Told]) -> list[Result]:
    ours = found["glowplug"]
    return [
        Result(
            figure="burst_code_15s_gpu_h_ratio_kpa",
            value=ours.hours / found["kpa"].hours,
            unit="ratio",
            detail=_detail(found, QUICK_S),
            bound=_scheduled_hours(calls, QUICK_S) / found["kpa"].hours,
            peers={name: one.hours for name, one in found.items()},
            at_most=0.45,
        ),
        _beside("burst_code_15s_gpu_h_ratio_kpa_min_1", ours.hours / found["kpa min 1"].hours, 0.5),
        Result(
            figure="burst_code_15s_slo",
            value=ours.within,
            unit="share",
            bound=1.0,
            peers={name: one.within for name, one in found.items()},
            at_least=0.985,
        ),
    ]


def _beside(name: str, value: float, at_most: float) -> Result:
    return Result(figure=name, value=value, unit="ratio", at_most=at_most)


def _detail(found: dict[str, Told], start_s: int) -> str:
    lines = "; ".join(f"{name}: {line(one)}" for name, one in found.items())
    return f"Azure LLM 2023 code, {PERMITS} at once, cold start {start_s} s, from zero. {lines}"


def _scheduled_hours(calls: list[Request], start_s: int) -> float:
    steps = scheduled_steps(needs(calls, PERMITS, STEP_NS), start_s * SECOND // STEP_NS)
    return steps * STEP_NS / (3600 * SECOND)
