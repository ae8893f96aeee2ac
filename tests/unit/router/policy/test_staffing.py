"""How many servers does a load need, and how many replicas by each target?"""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import SECOND
from glowplug.spec import Policy, Targets
from glowplug_router.policy.scaling.following import There
from glowplug_router.policy.scaling.needs import (
    LoadNow,
    needed_replicas,
    queue_target_replicas,
    slots_milli,
)
from glowplug_router.policy.scaling.newsvendor import (
    late_permille,
    newsvendor_permille,
    quantile_permille,
)
from glowplug_router.policy.scaling.staffing import EXACT_MAX, servers
from glowplug_router.records.observed import Demand
from unit.router.planning import KEY, version


def late(m: int, load: float, slack: float) -> float:
    """Return P(wait > slack calls' time) of M/M/m by the textbook sum."""
    term, total = 1.0, 1.0
    for k in range(1, m):
        term *= load / k
        total += term
    last = term * load / m * m / (m - load)
    return last / (total + last) * exp(-(m - load) * slack)


@pytest.mark.parametrize(
    ("load_milli", "slack_milli", "eps_permille", "expected"),
    [(1000, 0, 500, 2), (1000, 0, 50, 4), (2000, 0, 200, 4), (10_000, 0, 50, 17), (0, 0, 1, 0)],
)
def test_erlangs_table_says_how_many_servers_let_few_calls_wait(
    load_milli: int, slack_milli: int, eps_permille: int, expected: int
) -> None:
    assert servers(load_milli, slack_milli, eps_permille) == expected


@given(
    st.integers(1, EXACT_MAX // 2),
    st.sampled_from([0, 250, 1000, 4096]),
    st.sampled_from([10, 50, 200]),
)
def test_few_calls_wait_too_long_and_one_server_less_would_not_do(
    load: int, slack: int, eps: int
) -> None:
    found = servers(load, slack, eps)

    assert late(found, load / 1000, slack / 1000) <= eps / 1000 + 1e-6
    rounded = load / 1000 * (1 + 1 / 64)
    if found - 1 > rounded:
        assert late(found - 1, rounded, slack * 0.75 / 1000) > eps / 1000 - 1e-6


@pytest.mark.parametrize("slack", [0, 2000])
def test_the_square_root_rule_goes_on_where_the_table_ends(slack: int) -> None:
    exact, rule = servers(EXACT_MAX, slack, 50), servers(EXACT_MAX + 1, slack, 50)

    assert exact <= rule <= exact + 3
    assert servers(1_000_000, slack, 50) <= 1075


def test_more_load_never_needs_fewer_servers() -> None:
    found = [servers(load, 1000, 50) for load in range(1, 3 * EXACT_MAX, 997)]

    assert found == sorted(found)


def test_a_surety_beyond_the_table_takes_its_last_row() -> None:
    assert servers(10**9, 0, 0) > 10**6


# -- what it is worth


def test_the_quantile_is_the_part_a_miss_has_of_both_costs() -> None:
    assert newsvendor_permille(3, 1) == 750
    assert newsvendor_permille(0, 0) == 0
    assert [quantile_permille(k) for k in ("critical", "interactive", "standard", "batch")] == [
        999,
        990,
        950,
        500,
    ]


def test_a_small_load_may_have_more_late_calls_than_a_large_one() -> None:
    assert late_permille("standard", 300, 1000) == 175
    assert late_permille("standard", 30_000, 1000) == 50
    assert late_permille("standard", 0, 1000) == 1000


# -- targets


def load(milli: int, *, peak: int = 0, service_ns: int = SECOND) -> LoadNow:
    return LoadNow(steady_milli=milli, peak_milli=peak, service_ns=service_ns)


def needed(policy: Policy, given: LoadNow, permits: int = 4) -> int:
    return needed_replicas(version(policy=policy, permits=permits), given)


def test_without_targets_few_calls_wait_longer_than_their_class_may() -> None:
    assert needed(Policy(), load(3200)) == 1
    assert needed(Policy(priority="critical"), load(3200)) == 2


def test_bursts_are_carried_as_they_are_and_not_staffed_for_chance() -> None:
    assert needed(Policy(), load(3200, peak=8000)) == 2
    assert needed(Policy(), load(0, peak=8001)) == 3


def test_before_any_call_has_ended_nothing_is_known_of_the_load() -> None:
    assert needed(Policy(), load(0, service_ns=0)) == 0
    assert needed(Policy(targets=Targets(qps_milli=1000)), load(0, service_ns=0)) == 0
    assert needed(Policy(targets=Targets(p95_ns=SECOND)), load(0, service_ns=0)) == 0


@pytest.mark.parametrize(
    ("policy", "replicas"),
    [
        (Policy(target_concurrency=2.0), 4),
        (Policy(target_concurrency=99.0), 2),
        (Policy(targets=Targets(util_permille=500)), 4),
        (Policy(targets=Targets(qps_milli=3000)), 3),
        (Policy(targets=Targets(p95_ns=1_000_000_000)), 4),
        (Policy(targets=Targets(p95_ns=9_000_000_000)), 3),
        (Policy(target_concurrency=2.0, targets=Targets(qps_milli=1000)), 8),
    ],
)
def test_of_several_targets_the_one_that_wants_most_wins(policy: Policy, replicas: int) -> None:
    assert needed(policy, load(8000)) == replicas


def test_slots_are_what_is_asked_of_a_replica_and_never_more_than_it_can() -> None:
    assert slots_milli(version(permits=4)) == 4000
    assert slots_milli(version(permits=0)) == 1000
    assert slots_milli(version(policy=Policy(target_concurrency=0.5), permits=4)) == 500


def test_a_queue_target_at_most_doubles_the_ready_and_waits_for_what_starts() -> None:
    served = version(policy=Policy(targets=Targets(queue_milli=2000)))
    queue = Demand(key=KEY, queued=20)

    assert queue_target_replicas(served, queue, There(3, 0, 0, 99)) == 6
    assert queue_target_replicas(served, queue, There(9, 0, 0, 99)) == 10
    assert queue_target_replicas(served, queue, There(0, 0, 0, 99)) == 1
    assert queue_target_replicas(served, queue, There(3, 1, 0, 99)) == 0
    assert queue_target_replicas(version(), queue, There(3, 0, 0, 99)) == 0
