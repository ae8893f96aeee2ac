"""Do calls run together in a replay as they do in a rank? The same batcher, told the time by somebody else."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.clock import MILLISECOND, SECOND
from glowplug.spec import BatchSpec, BatchTuning
from glowplug.worker.batcher import NEVER, Batcher, Effect, Late, Run, WaitUntil
from glowplug.worker.costs import Costs
from glowplug_router.dispatch.classes import RANK
from glowplug_router.simulation.faults import NONE
from glowplug_router.simulation.replay import (
    Affine,
    Batch,
    Cost,
    Endpoint,
    Outcome,
    Request,
    replay,
)
from glowplug_router.simulation.replay.meters import NEVER as NEVER_BEGAN
from unit.router.simulation.scenes import NAME, endpoint, scene

COST = Affine(20 * MILLISECOND, 2 * MILLISECOND, MILLISECOND // 10)
LEAD_NS = 30 * SECOND  # the one replica is ready before the first call


def batched(spec: BatchSpec, cost: Cost = COST, **policy: Any) -> Endpoint:
    """An endpoint whose replicas have room for all calls of a test, so that the batcher alone says when each runs."""
    plain = endpoint(**({"min": 1, "max": 1} | policy))
    return replace(
        plain, served=replace(plain.served, permits=200), batch=Batch(spec, cost), ahead=0
    )


def replayed(traffic: Sequence[Request], spec: BatchSpec, **more: Any) -> Outcome:
    known: dict[str, Any] = {"endpoints": (batched(spec),), "lead_ns": LEAD_NS, "audit_every": 1}
    return replay(scene(traffic, **(known | more)))


def batches_of(outcome: Outcome) -> list[tuple[int, tuple[int, ...]]]:
    """Return when each batch began, and its calls in order."""
    began = [
        (at_ns + wait_ns, id)
        for id, (at_ns, wait_ns) in enumerate(
            zip(outcome.calls.at_ns, outcome.calls.wait_ns, strict=True)
        )
        if wait_ns != NEVER_BEGAN
    ]
    return [
        (at_ns, tuple(id for _, id in calls))
        for at_ns, calls in groupby(sorted(began), lambda one: one[0])
    ]


class ByHand:
    """Drives the batcher by itself: the next arrival, the end of a batch, or the time to look, whichever is first."""

    def __init__(self, spec: BatchSpec, cost: Cost = COST) -> None:
        self.batcher: Batcher[int] = Batcher(spec)
        self.cost = cost
        self.found: list[tuple[int, tuple[int, ...]]] = []
        self.now_ns = 0
        self.running: Run[int] | None = None
        self.ends_ns = self.look_ns = NEVER

    def run(self, traffic: Sequence[Request]) -> list[tuple[int, tuple[int, ...]]]:
        """Return when each batch began, and its calls in order."""
        moments = [(at_ns, list(some)) for at_ns, some in groupby(enumerate(traffic), _at_ns)]
        for at_ns, some in moments:
            self.pass_until(at_ns)
            for id, one in some:
                self.arrive(id, one)
            self.carry_out(self.batcher.ticked(at_ns))
        self.pass_until(NEVER - 1)
        return self.found

    def arrive(self, id: int, one: Request) -> None:
        due_ns = self.now_ns + one.deadline_ns if one.deadline_ns else NEVER
        rank = RANK[one.klass]
        self.batcher.arrived(id, self.now_ns, deadline_ns=due_ns, rank=rank, weight=one.size)

    def pass_until(self, until_ns: int) -> None:
        while (next_ns := min(self.ends_ns, self.look_ns)) < until_ns:
            self.now_ns = next_ns
            if self.ends_ns == next_ns and self.running is not None:
                size, units = self.running.size, self.running.units
                self.batcher.costs.saw(size, units, self.cost.expected_ns(size, units))
                self.ends_ns = NEVER
                self.carry_out(self.batcher.ended(next_ns))
            else:
                self.look_ns = NEVER
                self.carry_out(self.batcher.ticked(next_ns))
        self.now_ns = until_ns

    def carry_out(self, effects: tuple[Effect[int], ...]) -> None:
        for effect in effects:
            if isinstance(effect, Run):
                self.found.append((self.now_ns, tuple(sorted(effect.calls))))
                self.running = effect
                self.ends_ns = self.now_ns + self.cost.expected_ns(effect.size, effect.units)
            elif isinstance(effect, WaitUntil):
                self.look_ns = effect.at_ns
            else:
                assert isinstance(effect, Late)


def _at_ns(numbered: tuple[int, Request]) -> int:
    return numbered[1].at_ns


SPECS = [
    BatchSpec(max=8),
    BatchSpec(max=8, wait_ns=15 * MILLISECOND),
    BatchSpec(max=8, adaptive=False, buckets=(2, 4, 8)),
    BatchSpec(max=8, is_weighed=True, weight_max=600),
    BatchSpec(max=8, is_weighed=True, packed=True, weight_max=300),
]


# Gaps of odd numbers of ns: no call comes at the very moment when a batch ends, where the order is anybody's.
TRAFFIC = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 3, 11, 97]),
        st.integers(1, 120),
        st.sampled_from(["critical", "standard", "batch"]),
        st.sampled_from([0, 0, 60]),
    ),
    min_size=1,
    max_size=60,
)


@pytest.mark.parametrize("spec", SPECS)
@given(drawn=TRAFFIC)
@settings(max_examples=30, deadline=None)
def test_a_replay_makes_the_batches_that_the_batcher_makes_by_itself(
    spec: BatchSpec, drawn: list[tuple[int, int, Any, int]]
) -> None:
    at_ns, traffic = 0, []
    for number, (gap_ms, size, klass, deadline_ms) in enumerate(drawn):
        at_ns += gap_ms * MILLISECOND + (7 * number + 1 if gap_ms else 0)
        deadline_ns = deadline_ms * MILLISECOND
        traffic.append(Request(at_ns, NAME, 0, klass, deadline_ns=deadline_ns, size=size))
    outcome = replayed(traffic, spec)

    assert batches_of(outcome) == ByHand(spec).run(traffic)
    assert not outcome.violations


def test_calls_that_come_together_share_a_batch_and_its_time() -> None:
    outcome = replayed([Request(0, NAME, 0) for _ in range(5)], BatchSpec(max=4))

    use = outcome.uses[NAME]
    assert list(outcome.calls.wait_ns) == [0] * 4 + [28 * MILLISECOND]
    assert (use.batches, use.batched) == (2, 5)
    assert use.busy_ns == (28 + 22) * MILLISECOND


def test_costs_that_were_learned_say_what_a_batch_takes() -> None:
    costs = Costs()
    for size in (1, 2, 4, 8) * 10:
        costs.saw(size, 0, (10 + size) * MILLISECOND)
    outcome = replayed(
        [Request(0, NAME, 0)] * 4,
        BatchSpec(max=4),
        endpoints=(batched(BatchSpec(max=4), costs),),
    )

    assert outcome.uses[NAME].busy_ns == pytest.approx(14 * MILLISECOND, rel=0.02)


def test_an_operators_bounds_hold_in_a_replay() -> None:
    tuned = batched(BatchSpec(max=8), batch=BatchTuning(max=2))
    outcome = replayed([Request(0, NAME, 0)] * 4, BatchSpec(max=8), endpoints=(tuned,))

    assert outcome.uses[NAME].batches == 2


def test_a_faster_device_runs_a_batch_sooner() -> None:
    known = scene([]).fleet
    fast = replace(known, speeds=tuple((node.id, 2000) for node in known.nodes))
    outcome = replayed([Request(0, NAME, 0)], BatchSpec(max=4), fleet=fast)

    assert outcome.uses[NAME].busy_ns == 11 * MILLISECOND


def test_a_call_that_would_end_late_in_its_batch_is_refused_before_it_runs() -> None:
    hurry = 25 * MILLISECOND
    traffic = [
        Request(0, NAME, 0),
        Request(SECOND, NAME, 0),
        Request(SECOND + MILLISECOND, NAME, 0, deadline_ns=hurry),
    ]
    outcome = replayed(traffic, BatchSpec(max=4))

    assert outcome.refusals == {"deadline": 1}
    assert outcome.uses[NAME].batched == 2


def test_a_batch_that_ends_after_a_deadline_is_late_for_that_call() -> None:
    outcome = replayed([Request(0, NAME, 0, deadline_ns=5 * MILLISECOND)], BatchSpec(max=4))

    assert outcome.codes()["late"] == 1  # the first batch: nothing was known of its cost


def test_lost_replicas_lose_their_batches_and_every_call_gets_an_answer() -> None:
    safe = replace(batched(BatchSpec(max=4), max=3), retry_safe=True)
    wild = replace(NONE, kills=2, late=0.1, twice=0.1, lost=0.1, sick=0.2, busy=0.01)
    traffic = [Request(number * 5 * MILLISECOND, NAME, 0) for number in range(4000)]
    outcome = replay(
        scene(
            traffic,
            endpoints=(safe,),
            lead_ns=LEAD_NS,
            audit_every=1,
            faults=wild,
            calm_ns=50 * SECOND,
        ),
        seed=3,
    )

    assert outcome.codes()["open"] == 0
    assert outcome.codes()["lost"] > 0 < outcome.codes()["done"]
    assert not outcome.violations, outcome.violations[:3]


def test_a_replica_that_drains_finishes_its_batches() -> None:
    outcome = replayed(
        [Request(0, NAME, 0)] * 6,
        BatchSpec(max=2),
        endpoints=(batched(BatchSpec(max=2), min=0, zero_after_ns=SECOND),),
        until_ns=60 * SECOND,
    )

    assert outcome.codes()["done"] == 6
    assert outcome.uses[NAME].drains == 1
