"""What do 10,000 calls at a scaled-to-zero endpoint do to 20 warm ones beside it?

Two looks, both in virtual time. The gateway's own time: the real dispatcher with a loop that is busy 45 µs an event
(`dataplane.virtual`), so that a flood delays whoever comes after it. Machines: the real planner on a fleet with room
for the 20 warm replicas and four more; the flood asks for more than there is. Calls held for a cold endpoint are
bounded by `hold`; without that bound, all of them are kept.
"""

import tracemalloc
from random import Random

from dataplane import virtual

from glowplug.clock import MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.plan import plan
from glowplug_router.records.observed import Served
from glowplug_router.simulation.replay import Endpoint, Outcome, Request, Scene, StartTime, replay
from glowplug_router.simulation.replay.scene import devices
from policy.result import Result
from policy.scenes import OURS, PATIENT_CALLS

NAME = "cold-queue"
HERD = 10_000
WARM = 20
RATE = 10.0  # calls a second at each warm endpoint
SERVICE_NS = SECOND // 20
PERMITS = 4
HERD_NS = 10 * SECOND  # when it comes, over one second
SPAN_NS = 30 * SECOND
HOLD = 100  # glowplug's default
START_NS = 15 * SECOND  # of the cold one: the whole herd is there before


def run(seed: int) -> list[Result]:
    """Return the p99 of warm calls with the herd over that without, how many calls were held, and what they took."""
    loop = virtual.cold_herd(seed, HERD)
    quiet, _ = _fleet(seed, 0, HOLD)
    loud, held_bytes = _fleet(seed, HERD, HOLD)
    unbounded, unbounded_bytes = _fleet(seed, HERD, PATIENT_CALLS)
    machines = {
        OURS: _warm_p99(loud) / _warm_p99(quiet),
        "unbounded hold": _warm_p99(unbounded) / _warm_p99(quiet),
    }
    return [
        Result(
            figure="cold_queue_warm_p99_ratio",
            value=max(loop["warm_p99_ratio"], machines[OURS]),
            unit="ratio",
            bound=1.0,
            peers=machines,
            detail=f"gateway's loop: {loop['warm_p99_ratio']:.4f}; shared machines: {machines[OURS]:.4f}",
            at_most=1.05,
        ),
        Result(
            figure="cold_queue_held",
            value=_held(loud),
            unit="calls",
            peers={OURS: _held(loud), "unbounded hold": _held(unbounded)},
            detail=f"of {HERD} calls {sum(loud.refusals.values())} were refused, with Retry-After",
            at_most=HOLD + WARM * PERMITS,
        ),
        Result(
            figure="cold_queue_memory_mib",
            value=held_bytes / 2**20,
            unit="MiB",
            peers={OURS: held_bytes / 2**20, "unbounded hold": unbounded_bytes / 2**20},
            detail="peak of what the replay allocates, all of its records included, over the same without a herd",
        ),
    ]


def _fleet(seed: int, herd: int, hold: int) -> tuple[Outcome, int]:
    tracemalloc.start()
    outcome = replay(_scene(seed, herd, hold), plan, seed)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return outcome, peak


def _scene(seed: int, herd: int, hold: int) -> Scene:
    chance, calls = Random(seed), []
    for number in range(WARM):
        at_s = 1.0
        while (at_s := at_s + chance.expovariate(RATE)) * SECOND < SPAN_NS:
            calls.append(Request(int(at_s * SECOND), f"bench/warm{number}", SERVICE_NS))
    calls += [
        Request(HERD_NS + number * SECOND // herd, "bench/cold", SERVICE_NS)
        for number in range(herd)
    ]
    warm = tuple(_endpoint(f"bench/warm{number}", 1, hold) for number in range(WARM))
    return Scene(
        endpoints=(*warm, _endpoint("bench/cold", 0, hold)),
        traffic=sorted(calls, key=lambda call: call.at_ns),
        fleet=devices(WARM + 4),
        until_ns=SPAN_NS,
        audit_every=0,
    )


def _endpoint(name: str, least: int, hold: int) -> Endpoint:
    served = Served(
        key=f"{name}@1",
        policy=Policy(min=least, max=16, hold=hold),
        permits=PERMITS,
        permille=1000,
        gpu_count=1,
        drain_ns=MINUTE,
    )
    return Endpoint(served=served, start=StartTime(0 if least else START_NS), queue_ns=MINUTE)


def _warm_p99(outcome: Outcome) -> int:
    calls = outcome.calls
    took = sorted(
        calls.end_ns[row]
        for name in calls.endpoints
        if name != "bench/cold"
        for row in calls.rows(name)
        if HERD_NS <= calls.at_ns[row] < HERD_NS + 10 * SECOND
    )
    return took[len(took) * 99 // 100]


def _held(outcome: Outcome) -> int:
    return max(bucket.queued_max for bucket in outcome.timeline.buckets)
