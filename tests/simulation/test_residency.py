"""When models outnumber devices, does whoever is worth the least make way?"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from glowplug.clock import HOUR, MILLISECOND, SECOND
from glowplug.spec import Policy
from glowplug_router.plan import plan
from glowplug_router.records.decided import Plan
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Observed, Served
from glowplug_router.records.warmth import Heat
from glowplug_router.simulation.replay import Endpoint, Request, Scene, StartTime, replay
from glowplug_router.simulation.replay.scene import devices

MODELS, DEVICES, CALLS = 32, 8, 400
GAP_NS = 20 * SECOND  # between calls, on average
DRIFT = 100  # calls, after which the most popular model is another one
ZIPF = 0.9  # exponent: what web requests have (Breslau et al. 1999: 0.64 to 0.83, and up to 1)


def drifting(random: Random) -> Iterator[Request]:
    """Yield calls of models that differ in popularity, and lose it one by one."""
    names = [f"app/m{number:02}" for number in range(MODELS)]
    weights = [1 / rank**ZIPF for rank in range(1, MODELS + 1)]
    at_ns = 0
    for number in range(CALLS):
        at_ns += int(random.expovariate(1.0) * GAP_NS)
        if number % DRIFT == DRIFT - 1:
            names.append(names.pop(0))
        (name,) = random.choices(names, weights)
        yield Request(at_ns, name, 200 * MILLISECOND)


def model(number: int) -> Endpoint:
    policy = Policy(max=1, zero_after_ns=1000 * HOUR)
    served = Served(key=f"app/m{number:02}@1", policy=policy, permits=4, permille=1000, gpu_count=1)
    return Endpoint(served=served, start=StartTime(5 * SECOND))


def least_recently_called(
    observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
) -> Plan:
    """Plan without knowing how often anything was called: then the least recently called makes way."""
    cold = tuple(replace(known, heat=Heat()) for known in memory.versions)
    return plan(observed, demand, replace(memory, versions=cold), now_ns)


@pytest.mark.timeout(60)
def test_fewer_calls_find_their_model_gone_than_when_the_least_recently_called_makes_way() -> None:
    scene = Scene(
        endpoints=tuple(map(model, range(MODELS))),
        traffic=tuple(drifting(Random(1))),
        fleet=devices(DEVICES),
        plan_every_ns=SECOND,
        report_every_ns=SECOND,
        audit_every=0,
    )
    ours, theirs = (replay(scene, planner) for planner in (plan, least_recently_called))

    assert ours.codes()["done"] == theirs.codes()["done"] == CALLS
    assert ours.cold < theirs.cold
    assert ours.scale_operations < theirs.scale_operations
