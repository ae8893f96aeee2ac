"""What holds for whoever makes way, whatever is there?"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.clock import MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.plan import plan
from glowplug_router.policy.rollout import min_replicas
from glowplug_router.records.decided import Drain, Plan
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Node, Observed, Replica, Served
from glowplug_router.simulation.checkers import planned_state, working
from unit.router.planning import NOW

ROUNDS_MAX = 40  # of plan and apply, by which nothing may change any more
NAMES = ("app/a", "app/b", "app/c")
DEVICES = tuple((f"u{number}", "NVIDIA L4" if number < 2 else "NVIDIA A10G") for number in range(4))
NODES = tuple(
    Node(id=f"n{number}", cpu_milli=1, memory_bytes=4 << 30, gpus=DEVICES[half], seen_ns=NOW)
    for number, half in enumerate((slice(0, 1), slice(1, 4)))
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Observed, tuple[Demand, ...]]:
    served, demand = [], []
    for name in NAMES:
        for number in range(1, draw(st.integers(1, 2)) + 1):
            served.append(_version(draw, f"{name}@{number}", is_candidate=number == 2))
            queued, inflight = draw(st.sampled_from([(0, 0), (0, 0), (3, 0), (0, 1), (2, 2)]))
            last_ns = NOW - draw(st.integers(0, 3)) * SECOND
            row = Demand(
                key=served[-1].key,
                arrivals=9,
                queued=queued,
                inflight=inflight,
                last_arrival_ns=last_ns,
            )
            if draw(st.sampled_from([True, True, True, False])):
                demand.append(row)
    replicas = []
    for known in NODES:
        for uuid, _ in known.gpus:
            version = draw(st.sampled_from([*served, None]))
            state = draw(st.sampled_from(["ready", "ready", "starting", "draining"]))
            if version is not None:
                replicas.append(_replica(f"r{uuid}", version, known.id, state, uuid))
    return Observed(epoch=1, served=tuple(served), nodes=NODES, replicas=tuple(replicas)), tuple(
        demand
    )


def _version(draw: st.DrawFn, key: str, *, is_candidate: bool) -> Served:
    policy = Policy(
        min=draw(st.sampled_from([0, 0, 1, 2])),
        max=draw(st.integers(1, 3)),
        buffer=draw(st.integers(0, 1)),
        zero_after_ns=draw(st.sampled_from([SECOND, MINUTE])),
    )
    return Served(
        key=key,
        policy=policy,
        permits=1,
        permille=0 if is_candidate else 1000,
        candidate=is_candidate,
        gpu_count=draw(st.sampled_from([1, 1, 2, 0])),
        gpu_names=draw(st.sampled_from([(), (), ("L4",)])),
        memory_bytes=draw(st.sampled_from([0, 1 << 30, 3 << 30])),
    )


def _replica(id: str, version: Served, node: str, state: str, uuid: str) -> Replica:
    return Replica(
        id=id,
        version=version.key,
        node=node,
        state=state,  # type: ignore[arg-type]  # one of the states
        since_ns=NOW - SECOND,
        gpus=(uuid,) if version.gpu_count else (),
    )


def _evicted(observed: Observed, made: Plan) -> list[Replica]:
    found = {known.id: known for known in observed.replicas}
    return [
        found[action.replica]
        for action in made.actions
        if isinstance(action, Drain) and action.reason == "makes_way"
    ]


@pytest.mark.timeout(60)
@settings(max_examples=300, deadline=None)
@given(worlds())
def test_nobody_is_sent_away_who_is_busy_or_needed_unless_a_candidate_follows_him(
    world: tuple[Observed, tuple[Demand, ...]],
) -> None:
    observed, demand = world
    served = {known.key: known for known in observed.served}
    rows = {row.key: row for row in demand}
    tried = {known.key.partition("@")[0] for known in observed.served if known.candidate}
    made = plan(observed, demand, Memory(), NOW)
    left = working(planned_state(observed, made).replicas)

    for gone in _evicted(observed, made):
        row = rows.get(gone.version)
        if gone.version.partition("@")[0] not in tried:
            assert row is not None
            assert row.queued + row.inflight == 0
            assert left.get(gone.version, 0) >= min_replicas(served[gone.version])
        assert not served[gone.version].candidate


@pytest.mark.timeout(120)
@settings(max_examples=300, deadline=None)
@given(worlds())
def test_with_the_same_demand_plans_come_to_an_end(
    world: tuple[Observed, tuple[Demand, ...]],
) -> None:
    observed, demand = world
    memory, quiet = Memory(), 0
    for _ in range(ROUNDS_MAX):
        made = plan(observed, demand, memory, NOW)
        observed, memory = planned_state(observed, made), made.memory
        assert not plan(observed, demand, memory, NOW).actions
        present = tuple(known for known in observed.replicas if known.state != "draining")
        settled = tuple(replace(known, state="ready") for known in present)
        quiet = quiet + 1 if not made.actions and settled == observed.replicas else 0
        observed = replace(observed, replicas=settled)
        if quiet > 1:
            return

    pytest.fail(f"still changing after {ROUNDS_MAX} rounds: {observed.replicas}")
