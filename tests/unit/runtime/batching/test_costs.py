"""How well is a batch's time foretold from those before it?"""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import MICROSECOND, MILLISECOND
from glowplug.worker.costs import MARGIN_MAX, SETTLED, Costs

MS = MILLISECOND


def learned(*batches: tuple[int, int, float]) -> Costs:
    """Return what these (size, units, milliseconds) teach."""
    costs = Costs()
    for size, units, ms in batches:
        costs.saw(size, units, int(ms * MS))
    return costs


def test_nothing_is_expected_while_nothing_was_seen() -> None:
    assert not Costs().is_known
    assert Costs().expected_ns(8, 100) == 0
    assert Costs().batch_units == 0


def test_a_fixed_part_and_one_for_each_call_are_told_apart() -> None:
    costs = learned(*((size, 0, 5 + 0.2 * size) for size in (1, 2, 4, 8, 16, 32)))

    assert costs.is_known
    for size in (1, 3, 20, 32):
        assert costs.expected_ns(size) == pytest.approx((5 + 0.2 * size) * MS, rel=0.03)
    assert costs.batch_units == 0


def test_units_are_told_apart_from_calls_even_when_there_are_millions() -> None:
    sizes = [(size, size * each) for size in (1, 2, 4, 8) for each in (1_000, 90_000, 1_000_000)]
    costs = learned(*((size, units, 4 + 0.1 * size + 1e-5 * units) for size, units in sizes * 2))

    assert costs.expected_ns(2, 500_000) == pytest.approx(9.2 * MS, rel=0.03)
    assert costs.batch_units == pytest.approx(400_000, rel=0.02)


def test_one_size_alone_says_nothing_about_what_each_call_costs() -> None:
    costs = learned(*[(4, 0, 10)] * 3)

    assert costs.expected_ns(4) == pytest.approx(10 * MS, rel=0.01)
    assert costs.expected_ns(32) == pytest.approx(10 * MS, rel=0.05)


def test_more_work_never_takes_less_time() -> None:
    falling = learned((1, 0, 9), (2, 0, 8), (4, 0, 6), (8, 0, 2))

    assert 0 < falling.expected_ns(1) <= falling.expected_ns(8)


def test_without_a_fixed_part_the_time_is_that_of_the_calls() -> None:
    steep = learned((1, 0, 0.2), (2, 0, 3), (4, 0, 9), (8, 0, 22))  # through a point below zero

    assert 0 < steep.expected_ns(1) < steep.expected_ns(2)


def test_the_margin_covers_nine_batches_of_ten() -> None:
    random, costs = Random(3), Costs()
    covered = 0
    for number in range(2_000):
        size = random.randint(1, 32)
        took_ns = int((5 + 0.2 * size) * MS * random.uniform(0.85, 1.15))
        covered += number >= 1_000 and took_ns <= costs.expected_ns(size)
        costs.saw(size, 0, took_ns)

    assert 0.85 <= covered / 1_000 <= 0.95


def test_one_pause_of_the_machine_teaches_little_and_a_slower_device_much() -> None:
    costs = learned(*[(size, 0, 5 + 0.2 * size) for size in (1, 8, 32)] * 10)
    costs.saw(8, 0, 10_000 * MS)
    assert costs.expected_ns(8) < 9 * MS

    for _ in range(200):
        costs.saw(8, 0, 66 * MS)
    assert costs.expected_ns(8) >= 66 * MS


def test_a_first_guess_is_corrected_at_once() -> None:
    costs = learned((1, 0, 500))  # it compiled
    for _ in range(SETTLED):
        costs.saw(1, 0, MS)

    assert costs.expected_ns(1) < 100 * MS


def test_a_batch_that_takes_no_time_breaks_nothing() -> None:
    costs = learned(*[(1, 0, 0)] * (2 * SETTLED))
    costs.saw(1, 0, MICROSECOND)

    assert 0 <= costs.expected_ns(1) <= MARGIN_MAX * MICROSECOND


@given(
    st.lists(
        st.tuples(st.integers(1, 64), st.integers(0, 10**7), st.floats(0, 10_000)),
        min_size=1,
        max_size=40,
    )
)
def test_whatever_was_seen_more_of_anything_never_takes_less(
    batches: list[tuple[int, int, float]],
) -> None:
    costs = learned(*batches)

    assert 0 <= costs.expected_ns(1, 0) <= costs.expected_ns(2, 0) <= costs.expected_ns(64, 0)
    assert costs.expected_ns(2, 0) <= costs.expected_ns(2, 10) <= costs.expected_ns(2, 10**8)
    assert costs.batch_units >= 0
