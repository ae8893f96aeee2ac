"""How long is what kept? Ladder, envelope, gaps, learned ages and their guard."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.spec import Class, Policy
from glowplug_router.policy.warmth import gaps
from glowplug_router.policy.warmth.choosing import (
    SLACK_WAKES,
    Choice,
    Rental,
    best_ns,
    is_allowed,
    learned,
    ordered,
    paid,
)
from glowplug_router.policy.warmth.envelope import descents, rung_at
from glowplug_router.policy.warmth.gaps import Bin
from glowplug_router.policy.warmth.keeping import AUTO_NS, gap_noted, gaps_noted, keep_ns
from glowplug_router.policy.warmth.ladder import WAIT_WORTH, Rung, ladder
from glowplug_router.records.load import StartTimes
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Served
from glowplug_router.records.warmth import Preheat, Warmth

KEY = "app/endpoint@1"
START = 30 * SECOND
HOT, COLD = Rung("hot", 1000, 0, 0), Rung("cold", 0, 0, START)
TWO = (HOT, COLD)
EVEN = 10 * START  # of the standard class: worth 9


def served(zero_after_ns: int = AUTO_NS, priority: Class = "standard", most: int = 4) -> Served:
    policy = Policy(zero_after_ns=zero_after_ns, priority=priority, max=most)
    return Served(key=KEY, policy=policy, permits=1, permille=1000)


def met(lengths_ns: list[int], rungs: tuple[Rung, ...] = TWO, busy_ns: int = 0) -> Warmth:
    """Return the memory after gaps of these lengths, with calls of one length between them."""
    warmth, now_ns = Warmth(), 0
    for gap in lengths_ns:
        idle_ns = now_ns + busy_ns
        now_ns = idle_ns + gap
        warmth = gap_noted(warmth, rungs, 9, idle_ns, now_ns)
    return warmth


# -- ladder and envelope


def test_only_levels_that_can_be_kept_are_on_the_ladder() -> None:
    memory = EndpointMemory(key=KEY)

    assert [rung.level for rung in ladder(served(), memory)] == ["hot", "cold", None]
    everything = ladder(served(), memory, ("hot", "asleep", "primed", "cold"))
    assert [rung.level for rung in everything] == ["hot", "asleep", "primed", "cold", None]


def test_a_start_that_was_measured_replaces_the_assumed_one() -> None:
    measured = EndpointMemory(key=KEY, start=StartTimes(p50_ns=7 * SECOND))

    assert ladder(served(), EndpointMemory(key=KEY))[1].wake_ns == START
    assert ladder(served(), measured)[1].wake_ns == 7 * SECOND


def test_a_level_that_is_never_the_cheapest_is_left_out() -> None:
    useless = Rung("asleep", 900, 0, 29 * SECOND)  # as slow as cold, nearly as dear as hot
    useful = Rung("asleep", 20, 0, SECOND)

    assert [step.rung.level for step in descents((HOT, useless, COLD), 9)] == ["cold"]
    assert [step.rung.level for step in descents((HOT, useful, COLD), 9)] == ["asleep", "cold"]
    as_dear = Rung("primed", 1000, 0, SECOND)
    assert [step.rung.level for step in descents((HOT, as_dear, COLD), 9)] == ["cold"]


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 10**12)), min_size=1, max_size=6),
    st.integers(1, 10**14),
)
def test_the_envelope_costs_at_most_twice_the_best_level(
    levels: list[tuple[int, int]], gap_ns: int
) -> None:
    rungs = (HOT, *(Rung("cold", rate, 0, wake) for rate, wake in sorted(levels, reverse=True)))
    steps = descents(rungs, 0)

    cost_ns, rate, since_ns = 0, 1000, 0
    for step in steps:
        if gap_ns > step.break_even_ns:
            cost_ns += (step.break_even_ns - since_ns) * rate // 1000
            rate, since_ns = step.rung.rate_permille, step.break_even_ns
    top = rung_at(HOT, steps, [step.break_even_ns for step in steps], gap_ns - 1)
    cost_ns += (gap_ns - since_ns) * rate // 1000 + top.wake_ns
    best = min(rung.wake_ns + gap_ns * rung.rate_permille // 1000 for rung in rungs)
    assert cost_ns <= 2 * best + 10


# -- gaps


@given(st.integers(0, 2**62))
def test_a_gap_lies_in_its_bin_and_the_bin_is_narrow(gap_ns: int) -> None:
    (found,) = gaps.bins(gaps.noted((), gap_ns))

    if gap_ns < 2**20 * SECOND:
        begin_ns = 2 * found.typical_ns - found.end_ns
        assert begin_ns <= gap_ns < found.end_ns
        assert found.end_ns - begin_ns <= max(SECOND, begin_ns // 4)


def test_what_is_older_weighs_less_and_is_gone_in_the_end() -> None:
    counts = gaps.noted((), MINUTE)
    for _ in range(3_000):
        counts = gaps.noted(counts, HOUR)

    (left,) = gaps.bins(counts)
    assert left.typical_ns > MINUTE * 10


def test_quantiles_are_those_of_the_bins() -> None:
    filled = [Bin(5, 10, 99), Bin(15, 20, 1)]

    assert gaps.quantile_ns(filled, 990) == (0, 10)
    assert gaps.quantile_ns(filled, 991) == (10, 20)
    assert gaps.quantile_ns([], 500) == (0, 0)


def test_gaps_of_all_lengths_have_no_usual_one() -> None:
    even = [Bin(at, at + 1, 10) for at in range(gaps.BINS)]

    assert not gaps.is_representative(even)
    assert not gaps.is_representative([])
    assert gaps.is_representative(even[:3])


# -- learned ages


def test_until_ten_gaps_are_known_the_break_even_age_holds() -> None:
    memory = EndpointMemory(key=KEY)

    # The start's 30 s and nine times that for who waits, less what the cold bundle's disk costs.
    assert keep_ns(served(), memory, 0) // SECOND == 300
    assert met([HOUR] * 9).keeps_ns == ()
    assert met([HOUR] * 10).keeps_ns


def test_a_fixed_zero_after_is_obeyed() -> None:
    memory = EndpointMemory(key=KEY, warmth=Warmth(keeps_ns=(0,)))

    assert keep_ns(served(zero_after_ns=7), memory, 0) == 7
    assert keep_ns(served(), memory, 0) == 0


def test_gaps_that_are_always_long_are_not_waited_for() -> None:
    lengths = [HOUR * (1 + at % 7) for at in range(60)]

    assert met(lengths).keeps_ns[0] < EVEN // 10


def test_gaps_just_beyond_the_break_even_age_are_waited_for_when_most_end_sooner() -> None:
    filled = [
        Bin(EVEN // 2, EVEN // 2 + 1, 90 * gaps.WEIGHT),
        Bin(EVEN * 11 // 10, EVEN * 11 // 10 + 1, 10 * gaps.WEIGHT),
    ]

    assert learned(filled, Rental(EVEN, START, EVEN)).keep_ns > EVEN


def test_slack_does_not_grow_for_ever() -> None:
    assert met([MINUTE] * 500).slacks_ns == (SLACK_WAKES * EVEN,)


def test_levels_that_change_begin_without_slack() -> None:
    three = (HOT, Rung("asleep", 20, SECOND, SECOND), COLD)
    warmth = gap_noted(met([MINUTE] * 20), three, 9, HOUR, 2 * HOUR)

    assert len(warmth.keeps_ns) == 2
    assert keep_order_holds(warmth)


def keep_order_holds(warmth: Warmth) -> bool:
    return list(warmth.keeps_ns) == sorted(warmth.keeps_ns)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 6), min_size=12, max_size=120), st.integers(0, 2**32))
def test_whatever_comes_costs_at_most_twice_the_best(moves: list[int], salt: int) -> None:
    warmth, now_ns, cost_ns, best = Warmth(), 0, EVEN, EVEN
    rental = Rental(EVEN, START, 0)
    for at, move in enumerate(moves):
        choice = Choice(warmth.keeps_ns[0] if warmth.keeps_ns else EVEN, warmth.preheat)
        ahead_ns = warmth.preheat.until_ns if warmth.preheat else EVEN
        gap_ns = (
            choice.keep_ns + 1,
            max(choice.keep_ns, ahead_ns) + 1,
            2 * SECOND,
            20 * EVEN,
            EVEN // 3,
            10 * MINUTE,
            salt * (at + 1) % (4 * EVEN),
        )[move] + SECOND
        cost_ns += choice.cost_ns(gap_ns, rental)
        best += best_ns(gap_ns, rental)
        warmth = gap_noted(warmth, TWO, 9, now_ns, now_ns + gap_ns)
        now_ns += gap_ns

        assert cost_ns <= 2 * best, (at, choice)


@given(
    st.integers(0, 10**6),
    st.one_of(st.none(), st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))),
    st.integers(0, 10**6),
    st.integers(0, 3 * 10**6),
)
def test_no_gap_costs_more_than_the_regret_says(
    keep: int, window: tuple[int, int] | None, busy: int, gap: int
) -> None:
    rental = Rental(100_000, 10_000, 0)
    preheat = None
    if window:
        preheat = Preheat(counted_from="call", after_ns=window[0], until_ns=sum(window))
    choice = Choice(keep, preheat, busy)

    assert choice.cost_ns(gap, rental) - 2 * best_ns(gap, rental) <= choice.regret_ns(rental)


@given(
    st.lists(
        st.tuples(st.integers(0, 100), st.integers(0, 30), st.integers(0, 100)),
        min_size=1,
        max_size=4,
    )
)
def test_steps_are_in_order_and_only_move_towards_their_break_even_age(
    rows: list[tuple[int, int, int]],
) -> None:
    keeps = [keep for keep, _, _ in rows]
    even = sorted(age for _, _, age in rows)

    found = ordered(keeps, even)

    assert list(found) == sorted(found)
    for before, after, age in zip(keeps, found, even, strict=True):
        assert min(before, age) <= after <= max(before, age)


def test_a_choice_that_could_cost_more_than_there_is_slack_is_not_allowed() -> None:
    assert is_allowed(Choice(0), Rental(EVEN, START, EVEN))
    assert not is_allowed(Choice(0), Rental(EVEN, START, EVEN - 3))
    assert learned([Bin(HOUR, HOUR + 1, 10**9)], Rental(EVEN, START, 0)) == Choice(EVEN)


def test_slack_is_twice_the_best_less_what_was_paid() -> None:
    rental = Rental(EVEN, START, 5)

    assert paid(Choice(EVEN), rental, MINUTE) == 5 + MINUTE
    assert paid(Choice(EVEN), rental, HOUR) == 5


# -- what demand says of gaps


def after(memory: EndpointMemory, arrivals: int, at_ns: int, now_ns: int) -> EndpointMemory:
    demand = Demand(key=KEY, arrivals=arrivals, last_arrival_ns=at_ns)
    return gaps_noted(memory, served(), demand, now_ns)


def test_a_call_after_a_pause_ends_a_gap() -> None:
    first = after(EndpointMemory(key=KEY), 1, 10 * SECOND, 10 * SECOND)
    assert first.warmth.last_call_ns == first.warmth.called_ns == 10 * SECOND
    known = EndpointMemory(
        key=KEY, arrivals=1, busy_ns=20 * SECOND, sampled_ns=25 * SECOND, warmth=first.warmth
    )

    second = after(known, 2, 80 * SECOND, 81 * SECOND)

    assert second.warmth.gaps == 1
    assert second.warmth.periods_ns == (70 * SECOND,)
    (found,) = gaps.bins(second.warmth.counts)
    assert found.typical_ns <= 60 * SECOND < found.end_ns


def test_calls_that_follow_each_other_end_no_gap() -> None:
    first = after(EndpointMemory(key=KEY), 1, 10 * SECOND, 10 * SECOND)
    busy = EndpointMemory(
        key=KEY, arrivals=1, busy_ns=20 * SECOND, sampled_ns=20 * SECOND, warmth=first.warmth
    )

    assert after(busy, 2, 90 * SECOND, 90 * SECOND).warmth.gaps == 0  # one ran when we last looked
    assert after(busy, 1, 10 * SECOND, 90 * SECOND) is busy  # nobody called
    idle = EndpointMemory(
        key=KEY, arrivals=1, busy_ns=20 * SECOND, sampled_ns=21 * SECOND, warmth=first.warmth
    )
    assert after(idle, 2, 20 * SECOND, 21 * SECOND).warmth.gaps == 0  # less than a second


def test_gaps_are_only_learned_where_they_decide() -> None:
    memory = EndpointMemory(key=KEY)
    demand = Demand(key=KEY, arrivals=1, last_arrival_ns=SECOND)

    assert gaps_noted(memory, served(zero_after_ns=MINUTE), demand, SECOND) is memory


@pytest.mark.parametrize("klass", ["critical", "interactive", "standard", "batch"])
def test_who_waits_more_dearly_is_kept_for_longer(klass: Class) -> None:
    memory = EndpointMemory(key=KEY)
    expected_ns = START * (1 + WAIT_WORTH[klass])

    assert abs(keep_ns(served(priority=klass), memory, 0) - expected_ns) < 5 * SECOND
