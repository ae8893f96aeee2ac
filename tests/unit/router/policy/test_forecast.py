"""What is expected when a replica wanted now is ready, and when is a queue worth one more?"""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import MINUTE, SECOND
from glowplug.spec import Policy, Targets
from glowplug_router.policy.scaling.backlog import Drain, backlog_replicas, rush_slots_milli
from glowplug_router.policy.scaling.desired import desired_replicas
from glowplug_router.policy.scaling.forecast import forecast, quantile_of, usual_milli
from glowplug_router.policy.scaling.measuring import demand_noted
from glowplug_router.records.load import Load, StartTimes
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand
from unit.router.planning import KEY, NOW, version

FRESH = EndpointMemory(key=KEY, mean_service_ns=SECOND)
MANY = Load(service_calls=300, service_sum_ns=300 * SECOND)


def fed(*rates: int) -> EndpointMemory:
    """Return the memory after so many calls of a second in each second."""
    memory = demand_noted(replace(FRESH, load=MANY), Demand(key=KEY), version(), NOW)
    arrivals = 0
    for second, rate in enumerate(rates, 1):
        arrivals += rate
        row = Demand(key=KEY, arrivals=arrivals)
        memory = demand_noted(memory, row, version(), NOW + second * SECOND)
    return memory


def test_steady_arrivals_are_expected_as_they_are() -> None:
    found = forecast(version(), fed(*[10] * 300), NOW + 300 * SECOND)

    assert found.steady_view == "mean"
    assert 9_500 < found.steady_milli <= 10_000
    assert found.peak_milli < found.steady_milli


def test_what_grows_is_expected_to_go_on_growing_and_at_most_to_double() -> None:
    grows = forecast(version(), fed(*range(0, 200, 2)), NOW + 100 * SECOND)

    assert grows.steady_view == "trend"
    assert 198_000 < grows.steady_milli <= 2 * 198_000


def test_a_step_that_is_over_is_no_trend() -> None:
    for seconds in (60, 90, 120):
        found = forecast(version(), fed(*[10] * 200, *[20] * seconds), NOW + MINUTE)

        assert found.steady_view == "mean"
        assert found.steady_milli <= 20_000


def test_growth_that_chance_explains_is_no_trend() -> None:
    found = forecast(version(), fed(*[1] * 900, *[1, 2] * 4), NOW + MINUTE)

    assert found.steady_view == "mean"


def test_a_burst_is_told_from_chance_and_remembered_when_it_is_over() -> None:
    burst = forecast(version(), fed(*[1] * 200, 60, 60), NOW + 202 * SECOND)
    after = forecast(version(), fed(*[1] * 200, 60, 60, *[1] * 120), NOW + 322 * SECOND)

    assert fed(*[1] * 200, 60, 60).load.burst_milli == burst.peak_milli
    assert fed(*[1] * 200, 60, 60, *[1] * 120).load.burst_milli == 0
    assert after.peak_view == "recurring"
    assert burst.peak_milli >= after.peak_milli > after.steady_milli


def test_a_burst_beyond_what_recurs_is_told_as_one() -> None:
    load = replace(MANY, burst_milli=7000, peaks_milli=(9000, 1, 1, 1))
    found = forecast(version(policy=Policy(priority="batch")), replace(FRESH, load=load), NOW)

    assert (found.peak_view, found.peak_milli) == ("burst", 7000)


def test_what_was_the_mean_lately_is_usual() -> None:
    load = replace(MANY, means_milli=(9000, 1, 1, 1))
    memory = replace(FRESH, load=load)
    found = forecast(version(), memory, NOW)

    assert (found.steady_milli, usual_milli(version(), memory, found)) == (0, 9000)


def test_the_quantile_is_that_of_the_next_one_and_of_few_the_most_of_them() -> None:
    assert quantile_of((), 950) == 0
    assert quantile_of((1, 9, 5), 950) == 9
    assert quantile_of(tuple(range(1, 65)), 950) == 62
    assert quantile_of((1, 9, 5), 500) == 5
    assert quantile_of((1, 9, 5), 0) == 1


# -- the queue


def drain(**changes: int | tuple[int, ...]) -> Drain:
    base = Drain(
        queued=100,
        service_ns=SECOND,
        load_milli=0,
        slots_milli=1000,
        ready=1,
        expected_ns=(),
        start_ns=SECOND,
        slack_ns=10 * SECOND,
        hold_ns=MINUTE,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # a builder takes any field


def test_a_queue_that_ends_within_the_slack_is_worth_no_replica() -> None:
    assert backlog_replicas(drain(queued=10)) == 0
    assert backlog_replicas(drain(queued=11)) == 1


def test_as_many_as_end_it_in_time_are_added() -> None:
    assert backlog_replicas(drain()) == 10  # nine seconds each, for ninety of work


def test_what_starts_counts_from_when_it_should_be_ready() -> None:
    assert backlog_replicas(drain(expected_ns=(0,) * 9)) == 0
    assert backlog_replicas(drain(expected_ns=(5 * SECOND,) * 9)) == 5


def test_what_keeps_coming_has_to_be_carried_as_well() -> None:
    assert backlog_replicas(drain(queued=10, load_milli=900)) == 1


def test_one_more_than_the_calls_that_wait_would_have_nothing_to_do() -> None:
    assert backlog_replicas(drain(queued=3, service_ns=MINUTE)) == 3
    assert backlog_replicas(drain(queued=3, service_ns=MINUTE, slots_milli=2000)) == 2


def test_we_catch_up_with_a_queue_by_half_as_many_again_as_the_load_is_worth() -> None:
    behind = drain(queued=3000, load_milli=20_000, start_ns=15 * SECOND, hold_ns=0)

    assert backlog_replicas(replace(behind, ready=20)) == 3000 // 15  # they pay without any load
    long = replace(behind, queued=300, hold_ns=10 * MINUTE, service_ns=2 * SECOND)
    assert backlog_replicas(replace(long, ready=20)) == 10
    assert backlog_replicas(replace(long, ready=20, expected_ns=(SECOND,) * 4)) == 6
    assert backlog_replicas(replace(long, ready=40)) == 0


def test_a_rush_is_worth_what_lets_who_comes_until_a_start_is_over_begin_in_time() -> None:
    rush = drain(queued=0, load_milli=30_000, ready=16, start_ns=15 * SECOND)

    assert rush_slots_milli(rush) == 21_000  # 14 × 15 s would be left, to begin within 10 s
    assert rush_slots_milli(replace(rush, queued=1000)) == 30_000
    assert rush_slots_milli(replace(rush, ready=30)) == 0


def test_a_replica_that_takes_long_to_start_must_work_as_long_as_it_is_paid_for_nothing() -> None:
    slow = drain(start_ns=MINUTE)

    assert slow.due_ns == 3 * MINUTE
    assert backlog_replicas(replace(slow, queued=180)) == 0
    assert backlog_replicas(replace(slow, queued=181)) == 1


# -- all of it


NUMBERS = st.integers(0, 10**6)
POLICIES = st.builds(
    Policy,
    min=st.integers(0, 5),
    max=st.integers(0, 1000),
    buffer=st.integers(0, 2),
    buffer_permille=st.sampled_from([0, 200]),
    target_concurrency=st.sampled_from([0.0, 0.3, 7.0]),
    targets=st.builds(
        Targets,
        qps_milli=st.sampled_from([0, 500]),
        queue_milli=st.sampled_from([0, 1000]),
        p95_ns=st.sampled_from([0, SECOND]),
        util_permille=st.sampled_from([0, 700]),
    ),
    zero_after_ns=st.sampled_from([-1, 0, MINUTE]),
    priority=st.sampled_from(["critical", "interactive", "standard", "batch"]),
)
DEMANDS = st.builds(
    Demand,
    key=st.just(KEY),
    arrivals=NUMBERS,
    completed=NUMBERS,
    service_ns=st.integers(0, 10**15),
    queued=NUMBERS,
    inflight=NUMBERS,
    last_arrival_ns=st.sampled_from([0, NOW]),
)


@given(
    POLICIES,
    st.lists(st.tuples(DEMANDS, st.integers(0, 10**12)), min_size=1, max_size=8),
    st.integers(0, 8),
    st.integers(0, 50),
    st.integers(0, 50),
)
def test_whatever_is_asked_and_passes_there_is_an_answer_within_bounds(
    policy: Policy, asked: list[tuple[Demand, int]], permits: int, ready: int, starting: int
) -> None:
    served = version(policy=policy, permits=permits)
    memory, now_ns = EndpointMemory(key=KEY), NOW
    memory = replace(memory, start=StartTimes(pending=(("a", NOW),)))
    for demand, passed_ns in asked:
        now_ns += passed_ns
        memory = demand_noted(memory, demand, served, now_ns)
        target = desired_replicas(served, demand, memory, ready, starting, now_ns)
        again = desired_replicas(served, demand, target.memory, ready, starting, now_ns)

        more = max(0, target.replicas - ready - starting)
        planned = desired_replicas(served, demand, target.memory, ready, starting + more, now_ns)

        assert planned.replicas <= max(target.replicas, ready + starting)
        assert 0 <= target.replicas <= max(policy.max, ready + starting)
        assert target.text
        assert again.replicas == target.replicas or target.rule == "down_after"
        assert target.due_ns is None or target.due_ns > now_ns
        memory = target.memory
