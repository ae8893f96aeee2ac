"""Do the ways to keep an idle replica that we compare ourselves with do what is documented of them?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy.baselines.keep_alive import FixedKeep, HybridHistogram, Paid, clairvoyant_ns, windowed

from glowplug.clock import HOUR, MINUTE, SECOND

START = 30 * SECOND


def met(keeper: HybridHistogram | FixedKeep, gap_ns: int) -> Paid:
    return keeper.meet(HOUR, HOUR + gap_ns)


def taught(*gaps_minutes: float) -> HybridHistogram:
    keeper = HybridHistogram(START)
    for gap in gaps_minutes:
        met(keeper, int(gap * MINUTE))
    return keeper


@pytest.mark.parametrize(
    ("gap_s", "is_cold", "held_s"), [(89, False, 89), (90, False, 90), (91, True, 120)]
)
def test_a_fixed_keep_alive_is_warm_until_it_ends(gap_s: int, is_cold: bool, held_s: int) -> None:
    paid = met(FixedKeep(90 * SECOND, START), gap_s * SECOND)

    assert (paid.is_cold, paid.device_ns) == (is_cold, held_s * SECOND)
    assert paid.wait_ns == (START if is_cold else 0)


def test_the_hybrid_histogram_keeps_four_hours_until_it_has_seen_ten_gaps() -> None:
    assert met(taught(*[20] * 9), 4 * HOUR) == Paid(4 * HOUR)
    assert met(taught(*[20] * 10), 4 * HOUR).is_cold


def test_it_is_away_until_a_tenth_before_the_head_and_there_until_a_tenth_after_the_tail() -> None:
    keeper = taught(*[20.5] * 20)  # the bin from 20 to 21 minutes: there from 18 to 23.1

    assert met(keeper, 20 * MINUTE) == Paid(2 * MINUTE)
    assert met(taught(*[20.5] * 20), 10 * MINUTE).is_cold
    late = met(taught(*[20.5] * 20), 60 * MINUTE)
    assert late.is_cold
    assert late.device_ns == int(5.1 * MINUTE) + START


def test_a_call_that_comes_while_it_starts_waits_for_the_rest() -> None:
    paid = met(taught(*[20.5] * 20), 18 * MINUTE + 10 * SECOND)

    assert (paid.wait_ns, paid.is_cold) == (20 * SECOND, False)


def test_short_gaps_are_kept_through_to_their_tail() -> None:
    keeper = taught(*[0.5] * 95, *[7.5] * 5)  # 99 of 100 end within 8 minutes

    assert met(keeper, 8 * MINUTE) == Paid(8 * MINUTE)
    assert met(taught(*[0.5] * 95, *[7.5] * 5), 9 * MINUTE).is_cold


def test_a_histogram_that_says_nothing_is_not_used() -> None:
    spread = taught(*range(120))  # as many in each bin: they vary too little to tell

    assert met(spread, 4 * HOUR) == Paid(4 * HOUR)


def test_one_whose_gaps_are_mostly_beyond_it_is_not_used() -> None:
    beyond = taught(*[20.5] * 12, *[300] * 12)

    assert met(beyond, 4 * HOUR) == Paid(4 * HOUR)


def test_a_replica_that_is_expected_and_not_called_is_held_in_vain() -> None:
    paid = windowed(10 * HOUR, 0, HOUR, 2 * HOUR, START)

    assert paid == Paid(HOUR + START, wait_ns=START, is_cold=True)


@pytest.mark.parametrize(("colds", "held_s"), [(0, 111), (1, 11 + 30), (3, 90), (9, 90)])
def test_who_knows_the_gaps_keeps_the_shortest(colds: int, held_s: int) -> None:
    gaps = [100 * SECOND, SECOND, 10 * SECOND]

    assert clairvoyant_ns(gaps, colds, START) == held_s * SECOND


@given(st.lists(st.integers(0, 10 * HOUR), max_size=40), st.integers(0, 6 * HOUR))
def test_no_fixed_keep_alive_is_cheaper_than_who_knows_the_gaps(
    gaps: list[int], keep_ns: int
) -> None:
    paid = [met(FixedKeep(keep_ns, START), gap) for gap in gaps]

    assert sum(one.device_ns for one in paid) >= clairvoyant_ns(
        gaps, sum(one.is_cold for one in paid), START
    )
