"""Who makes way when memory is short?"""

from dataclasses import replace

import pytest

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.policy.warmth.residency import (
    LOOK_NS,
    Resident,
    called,
    expected,
    heat_noted,
    worth,
)
from glowplug_router.records.decided import Drain
from glowplug_router.records.devices import DeviceNeeds, DeviceSlot
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Served
from glowplug_router.records.warmth import Heat
from unit.router.planning import Planning, node, replica, version


def resident(size: int, wake_ns: int, *calls_ns: int) -> Resident:
    heat = Heat()
    for at_ns in calls_ns:
        heat = called(heat, at_ns)
    return Resident(size, wake_ns, heat)


def test_what_is_called_often_small_and_slow_to_be_back_is_worth_most() -> None:
    often = resident(1, SECOND, *range(0, 100 * SECOND, SECOND))
    seldom = resident(1, SECOND, 50 * SECOND)
    large = resident(10**6, SECOND, 50 * SECOND)
    slow = resident(1, 1000 * SECOND, 50 * SECOND)

    ranked = sorted([often, seldom, large, slow], key=lambda one: worth(one, 100 * SECOND))
    assert ranked == [large, seldom, often, slow]


def test_what_nobody_calls_is_forgotten() -> None:
    heat = called(Heat(), SECOND)
    rates = [expected(heat, at * HOUR) for at in (1, 24, 24 * 365, 24 * 365 * 1000)]

    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0


def noted(heat: Heat, arrivals: int, at_ns: int) -> Heat:
    demand = Demand(key="app/a@1", arrivals=arrivals, last_arrival_ns=at_ns)
    return heat_noted(EndpointMemory(key="app/a@1", heat=heat), demand, at_ns).heat


def test_calls_are_counted_from_when_a_version_is_first_seen_and_not_at_every_plan() -> None:
    first = noted(Heat(), 100, HOUR)
    more = noted(first, 103, HOUR + MINUTE)

    assert expected(first, HOUR) == 0
    assert noted(first, 103, HOUR + LOOK_NS - 1) == first
    assert noted(first, 103, HOUR + LOOK_NS) != first
    assert more == called(first, HOUR + MINUTE, 3)
    assert noted(more, 103, 2 * HOUR) == more
    # A gateway that starts again counts from zero.
    assert noted(more, 2, 2 * HOUR) == replace(called(more, 2 * HOUR, 2), calls=2)


OFTEN, LATELY, NEW = "app/often@1", "app/lately@1", "app/new@1"
SMALL = DeviceNeeds(share_permille=100, memory_bytes=1 << 30)


@pytest.mark.parametrize(
    ("lately", "goes"),
    [
        ({}, "lately"),
        ({"policy": Policy(priority="critical")}, "often"),  # its callers wait at a higher price
        ({"start_prior_ns": HOUR}, "often"),  # it takes long to be back
        ({"needs": (SMALL,)}, "often"),  # it is in nobody's way
    ],
    ids=["rate", "class", "start", "size"],
)
def test_who_is_called_often_stays_though_another_was_called_since(
    lately: dict[str, object], goes: str
) -> None:
    devices = tuple(DeviceSlot(uuid=uuid, memory_bytes=24 << 30) for uuid in "ab")
    whole = {"needs": (DeviceNeeds(),), "policy": Policy(zero_after_ns=HOUR)}
    served: list[Served] = [version(key, **whole) for key in (OFTEN, LATELY, NEW)]  # type: ignore[arg-type]  # a builder
    served[1] = replace(served[1], **lately)  # type: ignore[arg-type]  # a builder takes any field
    there = (replica("often", key=OFTEN, gpus=("a",)), replica("lately", key=LATELY, gpus=("b",)))
    machine = replace(node(memory_bytes=1 << 40), devices=devices)
    planning = Planning(*served, nodes=(machine,), replicas=there)
    planning.plan()
    planning.after(MINUTE)
    planning.ask(OFTEN, arrivals=5)
    planning.after(10 * SECOND)
    planning.ask(LATELY, arrivals=1)
    planning.after(10 * SECOND)
    planning.ask(NEW, arrivals=1, queued=1)
    made = planning.after(SECOND)

    assert [(a.replica, a.reason) for a in made.actions if isinstance(a, Drain)] == [
        (goes, "makes_way")
    ]


def test_a_call_counts_that_came_since_the_memory_was_last_brought_up_to_date() -> None:
    served = [version(key, gpu_count=1) for key in (OFTEN, LATELY, NEW)]
    there = (
        replica("often", key=OFTEN, gpus=("n1-gpu0",)),
        replica("lately", key=LATELY, gpus=("n1-gpu1",)),
    )
    planning = Planning(*served, nodes=(node(gpus=2),), replicas=there)
    planning.plan()
    planning.ask(OFTEN, arrivals=1)
    planning.after(MINUTE)
    planning.after(MINUTE)
    planning.ask(OFTEN, arrivals=2)
    planning.after(SECOND)
    planning.ask(LATELY, arrivals=9)
    planning.after(SECOND)
    planning.ask(NEW, arrivals=1, queued=1)

    drains = [a.replica for a in planning.after(SECOND).actions if isinstance(a, Drain)]
    assert drains == ["often"]
