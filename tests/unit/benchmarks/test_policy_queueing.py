"""Do the orders of a queue that we compare ourselves with serve as they say?"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy.baselines.queueing import (
    RoundRobin,
    Work,
    bands,
    earliest_deadline,
    fifo,
    most_on_time,
    most_without_lengths,
    serve,
    strict,
)

from glowplug.clock import SECOND


def work(at_s: float, service_s: float, deadline_s: float = 0, **fields: str) -> Work:
    return Work(
        int(at_s * SECOND),
        int(service_s * SECOND),
        deadline_ns=int(deadline_s * SECOND),
        **fields,  # type: ignore[arg-type]  # a class is a literal
    )


def sent_s(works: list[Work]) -> list[float]:
    return [one.sent_ns / SECOND if one.sent_ns >= 0 else -1 for one in works]


def test_first_come_is_first_served() -> None:
    works = [work(0, 2), work(0.5, 1), work(0.2, 1)]

    serve(works, 1, fifo, "never")

    assert sent_s(works) == [0, 3, 2]


def test_as_many_are_served_at_once_as_there_are_slots() -> None:
    works = [work(0, 2), work(0, 3), work(0, 1)]

    serve(works, 2, fifo, "never")

    assert sent_s(works) == [0, 0, 2]
    assert [one.done_ns / SECOND for one in works] == [2, 3, 3]


def test_an_idle_slot_serves_who_comes_later_at_once() -> None:
    works = [work(0, 1), work(5, 1)]

    serve(works, 1, fifo, "never")

    assert sent_s(works) == [0, 5]


def test_by_strict_priority_the_higher_class_is_always_first() -> None:
    works = [
        work(0, 1),
        work(0, 1, klass="batch"),
        work(0.5, 1, klass="critical"),
        work(0.1, 1, klass="interactive"),
    ]

    serve(works, 1, strict, "never")

    assert sent_s(works) == [0, 3, 1, 2]


def test_the_earliest_deadline_is_first_and_none_is_last() -> None:
    works = [work(0, 1), work(0, 1), work(0, 1, 9), work(0.5, 1, 5)]

    serve(works, 1, earliest_deadline, "never")

    assert sent_s(works) == [2, 3, 0, 1]


def test_bands_are_strict_and_inside_one_the_earliest_deadline_is_first() -> None:
    works = [
        work(0, 1, 4, klass="batch"),
        work(0, 1, 9, klass="critical"),
        work(0, 1, 8, klass="critical"),
    ]

    serve(works, 1, bands, "never")

    assert sent_s(works) == [2, 1, 0]


def test_tenants_take_turns_by_device_time_and_a_new_one_has_no_credit_from_before() -> None:
    greedy = [work(0, 1, tenant="a") for _ in range(6)]
    modest = [work(2.5, 1, tenant="b") for _ in range(2)]

    serve(greedy + modest, 1, RoundRobin(), "never")

    assert sent_s(modest) == [4, 6]  # one each from the time it comes
    assert sent_s(greedy) == [0, 1, 2, 3, 5, 7]


def test_who_is_past_its_deadline_is_dropped_unserved() -> None:
    works = [work(0, 3), work(0, 1, 3), work(0, 1, 4)]

    serve(works, 1, fifo, "expired")

    assert sent_s(works) == [0, -1, 3]
    assert [one.is_on_time for one in works] == [True, False, True]


def test_who_runs_past_its_deadline_is_cut_off_there() -> None:
    works = [work(0, 5, 2), work(0, 1)]

    serve(works, 1, fifo, "expired")

    assert works[0].done_ns == -1
    assert sent_s(works) == [0, 2]


def test_nobody_is_cut_off_where_nothing_is_dropped() -> None:
    works = [work(0, 5, 2), work(0, 1)]

    serve(works, 1, fifo, "never")

    assert works[0].done_ns == 5 * SECOND
    assert not works[0].is_on_time
    assert sent_s(works) == [0, 5]


def test_who_knows_lengths_drops_who_cannot_make_it() -> None:
    works = [work(0, 5, 2), work(0, 1, 1)]

    serve(works, 1, fifo, "hopeless")

    assert sent_s(works) == [-1, 0]


@pytest.mark.parametrize(("span_s", "most"), [(0, 0), (1, 1), (3, 2), (5.9, 2), (6, 3), (60, 3)])
def test_no_more_are_on_time_than_the_shortest_that_fit(span_s: float, most: int) -> None:
    works = [work(0, 3), work(0, 1), work(0, 2)]

    assert most_on_time(works, 1, int(span_s * SECOND)) == most


def test_who_knows_no_lengths_ends_calls_alike_at_the_rate_of_their_mean() -> None:
    works = [work(0, 2) for _ in range(100)]

    assert most_without_lengths(works, 1, 10 * SECOND) == 5
    assert most_without_lengths(works, 1, 1000 * SECOND) == 100


def test_who_knows_no_lengths_gives_up_the_long_ones_where_that_pays() -> None:
    # Half take 1 s and half 99 s: giving up at 1 s ends one in two begun, one every 2 s.
    works = [work(0, 1) for _ in range(50)] + [work(0, 99) for _ in range(50)]

    assert most_without_lengths(works, 1, 60 * SECOND) == 30
    assert most_on_time(works, 1, 60 * SECOND) == 50


LENGTHS = st.lists(st.integers(1, 1000), min_size=1, max_size=50)


@given(LENGTHS, st.integers(1, 4), st.integers(1, 3000))
@settings(max_examples=50, deadline=None)
def test_no_order_has_more_on_time_than_the_bound(
    lengths: list[int], slots: int, deadline: int
) -> None:
    works = [Work(0, one, deadline_ns=deadline) for one in lengths]

    serve(works, slots, earliest_deadline, "hopeless")

    assert sum(one.is_on_time for one in works) <= most_on_time(works, slots, deadline)
