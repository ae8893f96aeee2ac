"""What do counters say about rates, bursts, peaks, run times and starts?"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug_router.policy.scaling.bursts import BIN_NS, BINS, Bursts, binned, bursts
from glowplug_router.policy.scaling.measuring import (
    STRETCHES,
    WINDOW_MAX_NS,
    demand_noted,
    window_ns,
)
from glowplug_router.policy.scaling.service import (
    CALLS_MIN,
    Ended,
    mean_service_ns,
    service_noted,
)
from glowplug_router.policy.scaling.starts import (
    PENDING_MAX,
    STARTS_MAX,
    expected_ns,
    horizon_ns,
    starts_noted,
)
from glowplug_router.records.load import Load, StartTimes
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand
from unit.router.planning import KEY, NOW, replica, version

FRESH = EndpointMemory(key=KEY)


def fed(memory: EndpointMemory, *rates: int, service_ns: int = SECOND // 10) -> EndpointMemory:
    """Return the memory after so many calls in each second."""
    now_ns = memory.sampled_ns or NOW
    row = Demand(
        key=KEY,
        arrivals=memory.arrivals,
        completed=memory.completed,
        service_ns=memory.service_ns,
    )
    memory = demand_noted(memory, row, version(), now_ns)
    for rate in rates:
        now_ns += SECOND
        row = replace(
            row,
            arrivals=row.arrivals + rate,
            completed=row.completed + rate,
            service_ns=row.service_ns + rate * service_ns,
        )
        memory = demand_noted(memory, row, version(), now_ns)
    return memory


# -- rates


def test_rate_and_service_time_are_measured_from_differences_of_counters() -> None:
    memory = fed(FRESH, *[20] * 100)

    assert 19_500_000 < memory.rate_micro <= 20_000_000
    assert memory.mean_service_ns == 10**8


def test_what_was_counted_before_we_looked_is_no_rate() -> None:
    assert demand_noted(FRESH, Demand(key=KEY, arrivals=1000), version(), NOW).rate_micro == 0


def test_a_counter_that_fell_was_started_again_at_zero() -> None:
    memory = demand_noted(FRESH, Demand(key=KEY, arrivals=1000), version(), NOW)
    memory = demand_noted(memory, Demand(key=KEY, arrivals=10), version(), NOW + SECOND)

    assert sum(memory.load.bins) == 10


def test_looking_twice_at_the_same_time_changes_nothing() -> None:
    demand = Demand(key=KEY, arrivals=5, completed=5, service_ns=SECOND)
    once = demand_noted(
        demand_noted(FRESH, Demand(key=KEY), version(), NOW), demand, version(), NOW + SECOND
    )

    assert demand_noted(once, demand, version(), NOW + SECOND) == once


def test_after_a_step_from_nothing_the_rate_is_known_within_seconds() -> None:
    assert fed(FRESH, *[20] * 5).rate_micro > 18_000_000


def test_a_rate_fades_to_nothing_and_begins_anew() -> None:
    memory = fed(FRESH, *[20] * 60, *[0] * 3600)

    assert memory.rate_micro < 3_500
    assert not any(memory.load.bins)
    assert fed(memory, *[20] * 5).rate_micro > 18_000_000


def test_arrivals_are_averaged_over_a_start_or_a_call_or_as_long_as_it_takes_to_have_some() -> None:
    old = replace(FRESH, sampled_ns=NOW, rate_micro=10**7, load=Load(since_ns=1))

    assert window_ns(version(start_prior_ns=MINUTE), old) == WINDOW_MAX_NS
    assert window_ns(version(start_prior_ns=12 * SECOND), old) == 12 * SECOND
    assert window_ns(version(start_prior_ns=SECOND), old) == 64 * SECOND // 10
    assert window_ns(version(), replace(old, mean_service_ns=MINUTE)) == MINUTE
    assert window_ns(version(), replace(old, rate_micro=10**6)) == 64 * SECOND
    assert window_ns(version(), FRESH) == 5 * MINUTE


# -- bursts and peaks


def test_what_came_while_nobody_looked_is_spread_over_the_time_it_came_in() -> None:
    load = Load(bins=(0,) * BINS, bin=10)

    assert binned(load, 10, 3)[-1] == 3
    assert binned(load, 12, 5)[-3:] == (0, 2, 3)
    assert sum(binned(load, 10 + 2 * BINS, 64)) == 32
    assert binned(Load(), 5, 7) == (0,) * (BINS - 1) + (7,)


def test_a_burst_asks_for_no_more_than_its_calls_need_to_begin_in_time() -> None:
    load = Load(bins=(0,) * (BINS - 1) + (100,))
    found = bursts(load, 0, 10 * SECOND, 0, BIN_NS - 1)

    assert found.most_milli == found.sure_milli == 100_000 // 14  # in four seconds, and ten more


def test_what_chance_explains_is_no_burst() -> None:
    load = Load(bins=(20,) * (BINS - 1) + (30,))

    assert bursts(load, 10 * 10**6, 0, 0, BIN_NS - 1).sure_milli == 0
    assert bursts(load, 10**6, 0, 0, BIN_NS - 1).sure_milli > 0
    assert bursts(Load(), 0, 0, 0, 0) == bursts(Load(bins=(0,) * BINS), 0, 0, 0, 0) == Bursts()


def test_a_burst_is_a_rush_once_it_has_lasted_long_enough_to_go_on() -> None:
    load = Load(bins=(0,) * (BINS - 2) + (100, 100))
    newest_is_over = BIN_NS - 1

    assert bursts(load, 0, 0, 4 * SECOND, newest_is_over).rush_milli == (200_000 - 28_284) // 4
    assert bursts(load, 0, 0, 8 * SECOND, newest_is_over).rush_milli == (200_000 - 28_284) // 8
    assert bursts(load, 0, 0, 33 * SECOND, newest_is_over).rush_milli == 0


def test_what_begins_is_known_by_its_sure_part_before_it_is_a_mean() -> None:
    silence = replace(FRESH, sampled_ns=NOW - HOUR, rate_micro=10**6, load=Load(bin=1))
    row = Demand(key=KEY, arrivals=25)
    memory = demand_noted(silence, row, version(), NOW)

    assert memory.load.since_calls == 25
    assert memory.load.since_ns == NOW - BIN_NS  # and not an hour ago, when nobody looked
    assert memory.rate_micro == 15 * 10**6 // 2  # 25 less twice its root, in two seconds


def test_calls_that_begin_together_and_take_long_are_no_more_than_they_are() -> None:
    known = Load(service_calls=300, service_sum_ns=300 * MINUTE)
    idle = replace(FRESH, sampled_ns=NOW - SECOND, mean_service_ns=MINUTE, load=known)
    memory = demand_noted(idle, Demand(key=KEY, arrivals=90, queued=90), version(), NOW)

    assert memory.rate_micro * memory.mean_service_ns // SECOND == 90 * 10**6


def test_the_highest_load_of_each_stretch_is_kept_for_so_many_stretches() -> None:
    memory = fed(FRESH, *[1] * 10, *[50] * 2, *[1] * 200)
    highest = max(memory.load.peaks_milli)

    assert memory.load.peaks_milli.count(highest) == 1
    assert len(fed(memory, *[1] * 2500).load.peaks_milli) == STRETCHES


def test_stretches_without_a_look_had_no_calls() -> None:
    memory = fed(FRESH, *[10] * 10)
    later = Demand(
        key=KEY,
        arrivals=memory.arrivals,
        completed=memory.completed,
        service_ns=memory.service_ns,
    )
    memory = demand_noted(memory, later, version(), memory.sampled_ns + 10 * MINUTE)

    assert memory.load.peaks_milli[1:-1] == (0,) * (len(memory.load.peaks_milli) - 2)


# -- how long calls run


def ended(load: Load, calls: int, service_ns: int, ran_ns: int = 0) -> Load:
    return service_noted(load, Ended(calls, calls * service_ns, ran_ns), 0)


def test_service_times_follow_a_change_within_some_hundred_calls() -> None:
    load = ended(Load(), CALLS_MIN, SECOND)

    assert mean_service_ns(ended(load, CALLS_MIN // 2, 0)) == SECOND // 2
    assert mean_service_ns(ended(load, 10 * CALLS_MIN, 0)) == 0
    assert mean_service_ns(Load()) == 0


def test_more_calls_are_looked_back_at_where_more_come() -> None:
    load = service_noted(Load(), Ended(1000, 1000 * SECOND, 0), 100 * 10**6)

    assert load.service_calls == 1000


def test_first_calls_of_a_new_replica_count_only_while_few_have_ended() -> None:
    few = ended(Load(warming=4), 2, 9 * SECOND)
    many = ended(few, 250, SECOND)
    known = mean_service_ns(many)

    assert mean_service_ns(few) == 9 * SECOND
    assert mean_service_ns(ended(replace(many, warming=2), 2, 9 * SECOND)) == known
    assert mean_service_ns(ended(many, 2, 9 * SECOND)) > known


def test_while_few_have_ended_those_that_still_run_count_by_the_time_they_have_run() -> None:
    load = service_noted(Load(), Ended(0, 0, 6 * SECOND), 0)
    load = service_noted(load, Ended(4, 4 * SECOND, 2 * SECOND), 0)
    many = service_noted(load, Ended(100, 100 * SECOND, 0), 0)

    assert mean_service_ns(load) == 2 * SECOND
    assert mean_service_ns(many) == SECOND
    # It at most doubles.
    endless = service_noted(load, Ended(0, 0, 9 * MINUTE), 0)
    assert mean_service_ns(endless) == 2 * SECOND
    assert mean_service_ns(service_noted(many, Ended(0, 0, MINUTE), 0)) == SECOND


def test_calls_that_run_are_seen_before_any_has_ended() -> None:
    memory = demand_noted(FRESH, Demand(key=KEY), version(), NOW)
    memory = demand_noted(memory, Demand(key=KEY, inflight=3), version(), NOW + 2 * SECOND)

    assert memory.load.unfinished_ns == 6 * SECOND


# -- how long starts take


def test_the_time_from_wanted_to_ready_is_learned_and_its_first_calls_are_marked() -> None:
    served = version(permits=3)
    waiting = starts_noted(FRESH, served, [replica("a", "starting", since_ns=NOW)])
    known = starts_noted(waiting, served, [replica("a", since_ns=NOW + 7 * SECOND), replica("b")])

    assert known.start.recent_ns == (7 * SECOND,)
    assert (known.start.p50_ns, known.start.p90_ns) == (7 * SECOND, 7 * SECOND)
    assert known.start.pending == ()
    assert known.load.warming == 6
    assert horizon_ns(served, FRESH) == 30 * SECOND
    assert horizon_ns(served, known) == 7 * SECOND


def test_a_start_that_failed_says_nothing() -> None:
    waiting = starts_noted(FRESH, version(), [replica("a", "starting", since_ns=NOW)])
    failed = starts_noted(waiting, version(), [replica("a", "failed", since_ns=NOW + SECOND)])

    assert failed.start == StartTimes()


def test_while_nothing_changes_the_memory_is_the_same() -> None:
    waiting = starts_noted(FRESH, version(), [replica("a", "starting", since_ns=NOW)])

    assert starts_noted(FRESH, version(), [replica("a")]) is FRESH
    assert starts_noted(waiting, version(), [replica("a", "starting", since_ns=NOW)]) is waiting


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=40))
def test_starts_are_bounded_and_one_outlier_of_many_is_not_their_p90(took: list[int]) -> None:
    memory = FRESH
    for number, ns in enumerate(took):
        memory = starts_noted(memory, version(), [replica(f"r{number}", "starting", since_ns=NOW)])
        memory = starts_noted(memory, version(), [replica(f"r{number}", since_ns=NOW + ns)])
    recent = sorted(took[-STARTS_MAX:])

    assert len(memory.start.recent_ns) == len(recent)
    assert memory.start.p90_ns == recent[-2 if len(recent) >= 10 else -1]


def test_no_more_starts_than_a_bound_are_watched() -> None:
    many = [replica(f"r{number}", "starting") for number in range(PENDING_MAX + 5)]

    assert len(starts_noted(FRESH, version(), many).start.pending) == PENDING_MAX


@pytest.mark.parametrize(("after_s", "left_s"), [(0, 30), (12, 18), (90, 0)])
def test_what_starts_is_expected_when_starts_usually_end(after_s: int, left_s: int) -> None:
    waiting = starts_noted(FRESH, version(), [replica("a", "starting", since_ns=NOW)])

    assert expected_ns(version(), waiting, NOW + after_s * SECOND) == (left_s * SECOND,)
