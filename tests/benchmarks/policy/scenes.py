"""How is one endpoint replayed beside others' autoscalers, and what does each come to?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from glowplug.clock import HOUR, MILLISECOND, SECOND
from glowplug.spec import Policy
from glowplug_router.drafting.targets import Scaler
from glowplug_router.plan import plan
from glowplug_router.records.observed import Served
from glowplug_router.simulation.replay import Endpoint, Outcome, Request, Scene, StartTime, replay
from glowplug_router.simulation.replay.scene import devices

OURS = "glowplug"
ENDPOINT = "bench/model"
WAIT_MAX_NS = 10 * SECOND  # the SLO of figures.toml: arrival to start of service
PATIENT_CALLS = 1_000_000  # nobody is refused, as in the table of router.md §4.2: waits tell


@dataclass(frozen=True, slots=True)
class Told:
    """What one autoscaler came to."""

    hours: float
    within: float  # share that waited no longer than the SLO
    p50_s: float
    p95_s: float
    p99_s: float
    starts: int
    operations: int


def endpoint(
    start: StartTime, *, permits: int = 8, most: int = 64, least: int = 0, **policy: int
) -> Endpoint:
    """Return an endpoint of one GPU with patient callers. Its other settings are glowplug's defaults."""
    served = Served(
        key=f"{ENDPOINT}@1",
        policy=Policy(min=least, max=most, hold=PATIENT_CALLS, **policy),  # type: ignore[arg-type]  # all are integers
        permits=permits,
        permille=1000,
        gpu_count=1,
        drain_ns=HOUR,
    )
    return Endpoint(served=served, start=start, queue_ns=HOUR, start_limit_ns=HOUR)


def scene(
    one: Endpoint, traffic: Sequence[Request], until_ns: int, every_ns: int = 200 * MILLISECOND
) -> Scene:
    """Return a scene of one endpoint with a device for each of its replicas."""
    return Scene(
        endpoints=(one,),
        traffic=traffic,
        fleet=devices(one.served.policy.max),
        until_ns=until_ns,
        plan_every_ns=every_ns,
        report_every_ns=every_ns,
        audit_every=0,  # others' autoscalers remember in themselves: a plan made twice is not the same
    )


def compared(
    what: Scene, scalers: Mapping[str, Callable[[], Scaler]], seed: int
) -> dict[str, Outcome]:
    """Return what each comes to in the same scene, and ours: the planner as it is."""
    others = {
        name: replay(what, partial(plan, scaler=make()), seed) for name, make in scalers.items()
    }
    return {OURS: replay(what, plan, seed), **others}


def told(outcome: Outcome) -> Told:
    """Return the figures of an outcome."""
    waits = outcome.calls.waits()
    p50, p95, p99 = (_seconds(waits.quantile_ns(permille)) for permille in (500, 950, 990))
    return Told(
        outcome.device_hours,
        waits.share_within(WAIT_MAX_NS),
        p50,
        p95,
        p99,
        sum(use.starts for use in outcome.uses.values()),
        outcome.scale_operations,
    )


def _seconds(wait_ns: int | None) -> float:
    return float("inf") if wait_ns is None else max(0, wait_ns) / SECOND


def line(found: Told) -> str:
    """Return the figures of one autoscaler as text."""
    return (
        f"{found.hours:.2f} GPU-h, {found.within:.2%} within 10 s, p50/p95/p99"
        f" {found.p50_s:.1f}/{found.p95_s:.1f}/{found.p99_s:.1f} s, {found.starts} starts"
    )
