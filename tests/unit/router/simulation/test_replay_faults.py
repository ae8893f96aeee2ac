"""Is every fault of a replay met and survived, and would we notice a promise that is broken?"""

from dataclasses import replace
from typing import Any

import pytest

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug_router.dispatch import DispatchState
from glowplug_router.plan import plan
from glowplug_router.records.observed import Demand
from glowplug_router.simulation.controller import heard
from glowplug_router.simulation.faults import NONE, Post, Rates
from glowplug_router.simulation.replay import Fleet, Outcome, Request, replay, replay_apart
from glowplug_router.simulation.replay.api import Api
from glowplug_router.simulation.replay.audit import Audit
from glowplug_router.simulation.world import World
from unit.router.simulation.scenes import NAME, calls, endpoint, scene
from unit.router.simulation.test_replay import OneOffer, bursts, launching

WILD = {
    "late": replace(NONE, late=0.3),
    "twice": replace(NONE, twice=0.3),
    "lost": replace(NONE, lost=0.3),
    "busy": replace(NONE, busy=0.1),
    "sick": replace(NONE, sick=0.5),
    "fault": replace(NONE, sick=0.5),
    "killed": replace(NONE, kills=5),
    "restarted": replace(NONE, restarts=3),
    "powered_off": replace(NONE, nodes=3),
    "skewed": replace(NONE, skews=3),
}


def under(rates: Rates, seed: int = 1) -> Outcome:
    safe = (replace(endpoint(max=4, zero_after_ns=MINUTE), retry_safe=True),)
    met = scene(bursts(), endpoints=safe, faults=rates, calm_ns=20 * MINUTE, audit_every=1)
    return replay(met, seed=seed)


@pytest.mark.parametrize("fault", WILD)
def test_each_fault_is_met_and_every_call_gets_an_answer(fault: str) -> None:
    outcome = under(WILD[fault])

    assert outcome.faults[fault] > 0
    assert outcome.codes()["open"] == 0
    assert not outcome.violations, outcome.violations[:3]


def test_without_faults_none_is_met() -> None:
    assert not under(NONE).faults


@pytest.mark.parametrize("seed", range(4))
def test_a_gateway_whose_clock_is_off_keeps_no_replica_for_longer(seed: int) -> None:
    skewed, straight = under(WILD["skewed"], seed), under(NONE, seed)

    assert skewed.faults["skewed"] > 0
    assert skewed.device_ns == pytest.approx(straight.device_ns, rel=0.05)


def test_a_call_is_of_the_time_at_which_it_was_heard_of() -> None:
    known = Demand(key="a/b@1", arrivals=3, last_arrival_ns=5 * SECOND)
    ahead = Demand(key="a/b@1", arrivals=4, last_arrival_ns=HOUR)

    assert heard(ahead, known, 9 * SECOND).last_arrival_ns == 9 * SECOND
    assert heard(ahead, None, 9 * SECOND).last_arrival_ns == 9 * SECOND
    assert heard(replace(ahead, arrivals=3), known, 9 * SECOND).last_arrival_ns == 5 * SECOND
    assert heard(known, None, 9 * SECOND).last_arrival_ns == 5 * SECOND


def test_a_throttled_provider_is_asked_again_when_it_said_and_no_call_is_lost_to_it() -> None:
    market = Fleet(market=lambda _: OneOffer())
    throttled = replace(NONE, throttled=1.0)
    known: dict[str, Any] = {"fleet": market, "audit_every": 0, "lead_ns": 0}
    patient = (replace(endpoint(hold=10), start_limit_ns=HOUR, queue_ns=HOUR),)
    free = replay(scene(calls(0), endpoints=patient, **known), launching)
    held = replay(
        scene(calls(0), endpoints=patient, faults=throttled, calm_ns=90 * SECOND, **known),
        launching,
    )

    assert held.faults["throttled"] > 1
    assert held.codes()["done"] == free.codes()["done"] == 1
    assert held.calls.wait_ns[0] > free.calls.wait_ns[0] + 80 * SECOND
    assert not held.violations


# -- planted faults: each is noticed under its name


def found(audit: Audit) -> set[str]:
    return {violation.invariant for violation in audit.violations}


def test_a_driver_that_asks_too_soon_is_noticed() -> None:
    world = World(1)
    audit = Audit(world, plan, 1)
    api = Api(world, audit, Post(world, replace(NONE, throttled=1.0), HOUR))

    assert not api.takes("launch-1")
    assert not api.is_open
    assert not api.takes("launch-2")
    assert found(audit) == {"throttled"}


def test_time_that_goes_back_is_noticed() -> None:
    audit = Audit(World(1), plan, 1)
    audit.stepped(DispatchState(), {}, 2 * SECOND)
    audit.stepped(DispatchState(), {}, SECOND)

    assert found(audit) == {"monotone_time"}


def test_a_replica_that_nobody_is_billed_for_is_noticed() -> None:
    audit = Audit(World(1), plan, 1)
    audit.billed(10, 10)
    assert not audit.violations

    audit.billed(9, 10)
    assert found(audit) == {"billing"}


def test_calls_that_the_dispatcher_forgot_are_noticed() -> None:
    world = World(1)
    audit = Audit(world, plan, 1)
    state = DispatchState()
    state.calls[7] = None  # type: ignore[assignment]  # a call that is in no queue
    audit.stepped(state, {}, SECOND)

    assert found(audit) == {"conservation"}


def test_two_endpoints_count_their_faults_together() -> None:
    traffic = [Request(at * SECOND, name, SECOND) for at in range(60) for name in (NAME, "app/b")]
    both = (endpoint(), endpoint("app/b"))
    made = scene(traffic, endpoints=both, faults=WILD["late"], calm_ns=MINUTE)
    outcome = replay_apart(made, lambda _: made.fleet)

    assert outcome.faults["late"] > 10
