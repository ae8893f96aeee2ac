"""What does the dispatcher promise under overload? The real one, in virtual time; run me to print the figures."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any, get_args

from dataplane.fleet import EPOCH_NS, Fleet, Job, percentile
from glowplug.clock import MILLISECOND, SECOND
from glowplug.spec import Class
from glowplug_router.dispatch import (
    CallArrived,
    CallEnded,
    DispatchState,
    ReplicaReady,
    Send,
    VersionSet,
    step,
)

CLASSES: tuple[Class, ...] = get_args(Class)
SLOTS = 16
TENANTS = 8
MEAN_MS = 100  # of one call
# What each class asks for, in parts of what all slots can do: together twice that.
OFFERED: dict[Class, float] = {
    "critical": 0.25,
    "interactive": 0.45,
    "standard": 0.65,
    "batch": 0.65,
}
DEMAND = (1, 1, 2, 2, 3, 3, 4, 4)  # of a class's tenants, relative
COST = (0.5, 2, 0.5, 2, 1, 1, 0.5, 2)  # of their calls, relative to the mean
RUN_S = 120
WARM_UP_S = 10
LOOP_US = 45  # what one event of a call costs the gateway's loop, measured by gateway_cpu.py


def overload(seed: int = 1) -> dict[str, Any]:
    """Return how four classes of eight tenants fare at twice the capacity."""
    jobs = _offered(Random(seed))
    alone = _critical_p99(_run_overload([job for job in jobs if job.klass == "critical"]))
    mixed = _run_overload(jobs)
    loaded = _critical_p99(mixed)
    shares = {klass: _device_s(mixed, klass) for klass in CLASSES}
    total = sum(shares.values())
    jains = {klass: round(_jain(mixed, klass), 4) for klass in ("interactive", "standard", "batch")}
    return {
        "critical_p99_ratio": loaded / alone,
        "critical_p99_ms": loaded / MILLISECOND,
        "critical_alone_p99_ms": alone / MILLISECOND,
        "jain": min(jains.values()),
        "jain_by_class": jains,
        "batch_share": shares["batch"] / total,
        "shares": {klass: round(part / total, 4) for klass, part in shares.items()},
        "utilisation": total / (SLOTS * (RUN_S - WARM_UP_S)),
        "calls": len(jobs),
    }


def _offered(chance: Random) -> list[Job]:
    jobs = []
    for klass in CLASSES:
        weight = sum(demand * cost for demand, cost in zip(DEMAND, COST, strict=True))
        unit_s = (
            OFFERED[klass] * SLOTS / (weight * MEAN_MS / 1000)
        )  # calls a second per demand of 1
        for tenant, (demand, cost) in enumerate(zip(DEMAND, COST, strict=True)):
            at_s = 0.0
            while (at_s := at_s + chance.expovariate(unit_s * demand)) < RUN_S:
                mean_ns = MEAN_MS * cost * MILLISECOND
                service_ns = int(mean_ns * chance.lognormvariate(-0.125, 0.5))
                jobs.append(
                    Job(int(at_s * SECOND), "app/e@1", service_ns, klass, f"{klass}-{tenant}")
                )
    return sorted(jobs, key=lambda job: job.at_ns)


def _run_overload(jobs: list[Job]) -> list[Job]:
    fleet = Fleet()
    fleet.version("app/e@1", replicas=SLOTS, queue_s=30)
    for job in jobs:
        fleet.add(replace(job))
    return fleet.run()


def _critical_p99(jobs: list[Job]) -> int:
    refused = [job for job in jobs if job.klass == "critical" and job.refused]
    assert not refused, f"{len(refused)} critical calls refused: {refused[0].refused}"
    return percentile([job.latency_ns for job in jobs if job.klass == "critical"], 0.99)


def _counted(jobs: list[Job]) -> Iterator[Job]:
    """Yield the calls that started while the load was on and steady."""
    begin, end = WARM_UP_S * SECOND, RUN_S * SECOND
    return (job for job in jobs if not job.refused and begin <= job.sent_ns < end)


def _device_s(jobs: list[Job], klass: Class) -> float:
    return sum(job.service_ns for job in _counted(jobs) if job.klass == klass) / SECOND


def _jain(jobs: list[Job], klass: Class) -> float:
    """Return Jain's index of what tenants got, relative to their max-min fair part of what the class got."""
    got: dict[str, float] = {}
    asked: dict[str, float] = {}
    for job in jobs:
        if job.klass == klass and job.at_ns >= WARM_UP_S * SECOND:
            asked[job.tenant] = asked.get(job.tenant, 0.0) + job.service_ns / SECOND
    for job in _counted(jobs):
        if job.klass == klass:
            got[job.tenant] = got.get(job.tenant, 0.0) + job.service_ns / SECOND
    fair = _max_min(asked, sum(got.values()))
    parts = [got.get(tenant, 0.0) / fair[tenant] for tenant in asked]
    return sum(parts) ** 2 / (len(parts) * sum(part**2 for part in parts))


def _max_min(asked: dict[str, float], capacity: float) -> dict[str, float]:
    """Return the max-min fair division: nobody gets more than asked, what is left is shared evenly."""
    fair: dict[str, float] = {}
    for tenant, want in sorted(asked.items(), key=lambda item: item[1]):
        even = (capacity - sum(fair.values())) / (len(asked) - len(fair))
        fair[tenant] = min(want, even)
    return fair


def cold_herd(seed: int = 1, herd: int = 10_000) -> dict[str, Any]:
    """Return what 10,000 calls at an endpoint without replicas do to 20 warm ones beside it."""
    quiet, _ = _run_herd(seed, 0)
    loud, refused = _run_herd(seed, herd)
    return {
        "warm_p99_ratio": loud / quiet,
        "warm_p99_ms": loud / MILLISECOND,
        "quiet_p99_ms": quiet / MILLISECOND,
        "refused": refused,
        "herd": herd,
    }


def _run_herd(seed: int, herd: int) -> tuple[int, int]:
    chance = Random(seed)
    fleet = Fleet(loop_ns=LOOP_US * 1000)
    fleet.version("app/cold@1", replicas=0)
    for number in range(20):
        fleet.version(f"app/warm{number}@1", replicas=1, permits=4)
        at_s = 0.0
        while (at_s := at_s + chance.expovariate(100.0)) < 5:  # half of what 4 permits can do
            service_ns = int(20 * MILLISECOND * chance.lognormvariate(-0.125, 0.5))
            fleet.add(Job(int(at_s * SECOND), f"app/warm{number}@1", service_ns))
    for number in range(herd):
        fleet.add(Job(2 * SECOND + number * SECOND // herd, "app/cold@1", SECOND // 10))
    for replica in range(4):  # it wakes while they come, and takes what was held
        fleet.start("app/cold@1", 2 * SECOND + (replica + 3) * SECOND // 10, permits=8)
    jobs = fleet.run()
    warm = [job.latency_ns for job in jobs if "warm" in job.version and 2 <= job.at_ns / SECOND < 3]
    return percentile(warm, 0.99), sum(bool(job.refused) for job in jobs)


def dispatch_steps(steps: int = 200_000, seed: int = 1) -> dict[str, Any]:
    """Return what one step costs, in CPU time, with 1,000 endpoints and 5,000 replicas."""
    chance, state, now_ns = Random(seed), DispatchState(), EPOCH_NS
    for number in range(1000):
        step(state, VersionSet(f"a/{number}@1", 100, 60 * SECOND, 600 * SECOND, 10), now_ns)
        for replica in range(5):
            step(state, ReplicaReady(f"{number}.{replica}", f"a/{number}@1", 2), now_ns)
    took: list[int] = []
    flying: list[tuple[int, str]] = []
    for call in range(1, steps + 1):
        now_ns += 20_000
        key = f"a/{min(int(chance.paretovariate(0.4)), 1000) - 1}@1"  # a few are far busier than the rest
        arrived = CallArrived(call, key, now_ns + 110 * SECOND, f"t{call % 50}", CLASSES[call % 4])
        took.append(_timed(state, arrived, now_ns, flying))
        if len(flying) > 4000:
            at = chance.randrange(len(flying))
            flying[at], flying[-1] = flying[-1], flying[at]
            number, replica_id = flying.pop()
            ended = CallEnded(number, replica_id, 10 * MILLISECOND)
            took.append(_timed(state, ended, now_ns, flying))
    return {
        "p99_us": percentile(took, 0.99) / 1000,
        "p50_us": percentile(took, 0.5) / 1000,
        "worst_us": max(took) / 1000,
        "queued": sum(version.waiting.count for version in state.versions.values()),
        "steps": len(took),
    }


def _timed(state: DispatchState, event: Any, now_ns: int, flying: list[tuple[int, str]]) -> int:
    begun = time.thread_time_ns()
    effects = step(state, event, now_ns)
    took = time.thread_time_ns() - begun
    flying.extend((one.call, one.replica) for one in effects if isinstance(one, Send))
    return took


DRILLS: dict[str, Callable[[], Any]] = {
    "overload": overload,
    "cold_herd": cold_herd,
    "dispatch": dispatch_steps,
}


def figures() -> dict[str, Any]:
    """Return what every drill found."""
    return {name: drill() for name, drill in DRILLS.items()}


if __name__ == "__main__":
    for name in sys.argv[1:] or DRILLS:
        sys.stdout.write(json.dumps({name: DRILLS[name]()}) + "\n")
