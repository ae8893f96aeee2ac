"""What holds for plans whatever is observed?"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.clock import MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.drafting.draft import NODE_LOST_NS
from glowplug_router.plan import plan
from glowplug_router.policy.rollout import max_replicas
from glowplug_router.records.decided import Start
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Node, Observed, Replica, Served
from glowplug_router.simulation.checkers import planned_state, working
from unit.router.planning import NOW

KEYS = ["app/a@1", "app/a@2", "app/b@1"]
SMALL = st.integers(0, 4)
TIMES = st.sampled_from([0, NOW - MINUTE, NOW - SECOND, NOW, NOW + SECOND])
POLICIES = st.builds(
    Policy,
    min=SMALL,
    max=SMALL,
    buffer=st.integers(0, 1),
    target_concurrency=st.sampled_from([0.0, 0.5, 9.0]),
    up_after_ns=st.sampled_from([0, SECOND]),
    down_after_ns=st.sampled_from([0, SECOND]),
    zero_after_ns=st.sampled_from([0, MINUTE]),
)
SERVED = st.lists(
    st.builds(
        Served,
        key=st.sampled_from(KEYS),
        policy=POLICIES,
        permits=SMALL,
        permille=st.sampled_from([0, 300, 1000]),
        candidate=st.booleans(),
        leaving=st.booleans(),
        gpu_count=st.integers(0, 1),
        memory_bytes=st.sampled_from([0, 1 << 30]),
        swap_from=st.sampled_from(["", "", "app/a@1"]),
    ),
    unique_by=lambda served: served.key,
    max_size=3,
)
NODES = st.lists(
    st.builds(
        Node,
        id=st.sampled_from(["n1", "n2"]),
        cpu_milli=SMALL,
        memory_bytes=st.sampled_from([0, 2 << 30]),
        gpus=st.sampled_from([(), (("u1", "NVIDIA L4"), ("u2", "NVIDIA L4"))]),
        seen_ns=TIMES,
    ),
    unique_by=lambda known: known.id,
    max_size=2,
)
REPLICAS = st.lists(
    st.builds(
        Replica,
        id=st.sampled_from([f"r{number}" for number in range(6)]),
        version=st.sampled_from(KEYS),
        node=st.sampled_from(["n1", "n2"]),
        state=st.sampled_from(["starting", "ready", "draining", "failed"]),
        since_ns=TIMES,
    ),
    unique_by=lambda known: known.id,
    max_size=6,
)
DEMAND = st.lists(
    st.builds(
        Demand,
        key=st.sampled_from(KEYS),
        arrivals=SMALL,
        completed=SMALL,
        service_ns=st.sampled_from([0, SECOND, MINUTE]),
        queued=st.sampled_from([0, 0, 3, 100]),
        inflight=SMALL,
        last_arrival_ns=TIMES,
    ),
    unique_by=lambda row: row.key,
    max_size=3,
)


@pytest.mark.timeout(60)
@settings(max_examples=300)
@given(SERVED, NODES, REPLICAS, st.lists(DEMAND, min_size=1, max_size=6), st.booleans())
def test_plans_are_total_idempotent_and_never_above_max(
    served: list[Served],
    nodes: list[Node],
    replicas: list[Replica],
    demands: list[list[Demand]],
    time_stands_still: bool,
) -> None:
    observed = Observed(epoch=1, served=tuple(served), nodes=tuple(nodes), replicas=tuple(replicas))
    memory, now_ns, used = Memory(), NOW, {known.id for known in replicas}
    limits = {known.key: max_replicas(known) for known in served}
    for demand in demands:
        made = plan(observed, tuple(demand), memory, now_ns)
        is_blind = all(known.seen_ns <= now_ns - NODE_LOST_NS for known in nodes)
        starts = [action.replica for action in made.actions if isinstance(action, Start)]
        observed, memory = planned_state(observed, made), made.memory

        assert not used.intersection(starts)
        used.update(starts)
        assert not (is_blind and made.actions)
        for key, count in working(observed.replicas).items():
            assert is_blind or count <= limits.get(key, 0)
        assert not plan(observed, tuple(demand), memory, now_ns).actions
        assert len(made.explain) == len(served)
        now_ns += 0 if time_stands_still else 3 * SECOND
