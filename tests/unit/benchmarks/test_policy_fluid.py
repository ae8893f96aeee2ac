"""Are calls that are only counted served, kept waiting and late as they would be one by one?"""

from itertools import pairwise
from random import Random
from statistics import fmean

import pytest
from policy.asking import SELDOM_NS, Ours
from policy.fluid import LOAD_NS, SLO_NS, STEP_NS, Caller, Pool, drawn, run

from glowplug.clock import SECOND
from glowplug.spec import Policy
from glowplug_router.records.observed import Served

STEP_S = STEP_NS // SECOND
NOW = 100 * STEP_NS


def caller(rate: float = 1.0, permits: int = 2, service_s: float = 1.0) -> Caller:
    served = Served(key="a/b@1", policy=Policy(max=50), permits=permits, permille=1000)
    return Caller(served, service_s, [rate] * 1000)


def test_replicas_carry_their_permits_over_the_time_of_a_call() -> None:
    assert caller(permits=8, service_s=0.5).capacity(3) == 48


def test_a_pool_that_keeps_up_lets_nobody_wait() -> None:
    pool = Pool(caller(), wanted=1, ready=1)

    pool.serve(2 * STEP_S, NOW)

    assert (pool.queued, pool.late, pool.completed, pool.arrivals) == (0, 0, 120, 120)
    assert (pool.came, pool.ended, pool.last_ns) == (120, 120, NOW)


def test_what_is_too_much_waits_and_is_late_once_the_backlog_lasts_longer_than_the_slo() -> None:
    pool = Pool(caller(), wanted=1, ready=1)

    pool.serve(
        2 * STEP_S + 40, NOW
    )  # the backlog grows to 20 s: half of the step it is longer than 10 s

    assert pool.queued == 40
    assert pool.late == pytest.approx(80)


def test_everybody_is_late_while_the_backlog_stays_longer_than_the_slo() -> None:
    pool = Pool(caller(), wanted=1, ready=1, queued=60)

    pool.serve(2 * STEP_S, NOW)

    assert pool.queued == 60
    assert pool.late == 2 * STEP_S


def test_from_zero_all_are_late_that_come_longer_than_the_slo_before_the_first_is_ready() -> None:
    pool = Pool(caller(), wanted=1, loading_ns=[NOW + LOAD_NS])

    pool.serve(60, NOW)

    assert pool.late == pytest.approx(60 * (LOAD_NS - SLO_NS) / STEP_NS)
    assert pool.queued == 0  # what is ready for half the step does 60 calls in it


def test_with_nothing_on_its_way_everybody_is_late() -> None:
    pool = Pool(caller())

    pool.serve(5, NOW)

    assert (pool.late, pool.queued) == (5, 5)


def test_a_step_without_calls_is_no_call() -> None:
    pool = Pool(caller(), last_ns=7)

    pool.serve(0, NOW)

    assert pool.last_ns == 7


def test_replicas_need_a_free_node_and_then_time_to_load() -> None:
    pool = Pool(caller(), wanted=3)

    placed = pool.settle(NOW, free=2)

    assert (placed, pool.ready, pool.loading_ns) == (2, 0, [NOW + LOAD_NS] * 2)
    assert pool.settle(NOW + LOAD_NS, free=0) == 0
    assert pool.ready == 2


def test_those_that_load_go_first() -> None:
    pool = Pool(caller(), wanted=1, ready=2, loading_ns=[NOW + LOAD_NS])

    assert pool.settle(NOW, free=0) == -2
    assert (pool.ready, pool.loading_ns) == (1, [])


@pytest.mark.parametrize("loading", [[], [NOW]])
def test_a_lost_node_takes_a_ready_replica_or_one_that_loads(loading: list[int]) -> None:
    pool = Pool(caller(), wanted=1, ready=int(not loading), loading_ns=loading)

    pool.lose_one()

    assert pool.placed == 0


@pytest.mark.parametrize("mean", [0.5, 4.0, 200.0])
def test_counts_have_the_mean_and_the_variance_of_a_poisson_process(mean: float) -> None:
    random = Random(7)
    counts = [drawn(random, mean) for _ in range(4000)]

    assert fmean(counts) == pytest.approx(mean, rel=0.05)
    assert fmean((one - mean) ** 2 for one in counts) == pytest.approx(mean, rel=0.1)


def test_the_same_calls_come_whatever_is_wanted() -> None:
    few = run([caller(), caller(5)], lambda *_: 1, lambda units, _: units, 30, seed=3)
    many = run([caller(), caller(5)], lambda *_: 9, lambda units, _: units, 30, seed=3)

    assert [pool.arrivals for pool in few] == [pool.arrivals for pool in many]


def test_nobody_has_more_replicas_than_there_are_nodes() -> None:
    nodes = iter([3, 3, 1, 0])
    seen: list[int] = []

    pools = run(
        [caller(), caller()],
        lambda pool, _: seen.append(pool.placed) or 2,  # type: ignore[func-returns-value]  # noted in passing
        lambda *_: next(nodes),
        4,
        seed=3,
    )

    assert [sum(seen[at : at + 2]) for at in (0, 2, 4, 6)] == [0, 3, 3, 1]
    assert sum(pool.placed for pool in pools) == 0


# -- when the real scaler is asked


def ask(ours: Ours, pool: Pool, steps: int) -> list[int]:
    """Let steps pass with nodes for all that is wanted; return when it was asked."""
    found = []
    for step in range(1, steps + 1):
        now_ns = step * STEP_NS
        before = ours.asked
        pool.wanted = ours(pool, now_ns)
        found += [step] if ours.asked > before else []
        pool.settle(now_ns, 50)
        pool.serve(int(pool.caller.rates[step] * STEP_S), now_ns)
    return found


def test_nobody_is_asked_about_an_endpoint_that_was_never_called() -> None:
    assert ask(Ours(), Pool(caller(rate=0)), 20) == []


def test_a_steady_load_is_asked_about_seldom_and_is_carried() -> None:
    pool = Pool(caller(rate=4))

    asked = ask(Ours(), pool, 60)

    assert all(later - one <= SELDOM_NS // STEP_NS for one, later in pairwise(asked))
    assert len([step for step in asked if step > 20]) < 20  # of 40
    assert pool.ready >= 2
    assert not pool.queued


def test_a_load_that_moves_is_asked_about_at_once() -> None:
    rates = [1.0] * 30 + [4.0] * 30
    pool = Pool(Caller(caller().served, 1.0, rates))

    asked = ask(Ours(), pool, 40)

    assert 31 in asked
    assert pool.ready >= 2


def test_who_is_called_no_more_goes_to_zero_and_is_asked_about_no_more() -> None:
    rates = [1.0] * 10 + [0.0] * 90
    pool = Pool(Caller(caller().served, 1.0, rates))

    asked = ask(Ours(), pool, 60)

    assert pool.wanted == 0
    assert max(asked) <= 20
