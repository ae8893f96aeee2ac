"""Does a rank take as many calls ahead as are worth a short time, and give them back when they are not?"""

from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import MICROSECOND, MILLISECOND, SECOND
from glowplug.worker.ahead import LEVELS, PATIENCE_NS, WORK_NS, Pace, patience_left_ns


def paced(took_ns: int, calls: int = 200) -> Pace:
    pace = Pace()
    for _ in range(calls):
        pace.ended(took_ns)
    return pace


def test_a_rank_that_knows_nothing_takes_nothing_ahead() -> None:
    assert Pace().level == 0


def test_the_level_is_what_two_milliseconds_of_work_are() -> None:
    assert paced(10 * MICROSECOND).level == 64
    assert paced(WORK_NS // 64 - 16).level == 64
    assert paced(60 * MICROSECOND).level == 16
    assert paced(400 * MICROSECOND).level == 4
    assert paced(501 * MICROSECOND + 16).level == 0
    assert paced(3 * MILLISECOND).level == 0


def test_a_handful_of_calls_is_not_enough_to_go_ahead() -> None:
    assert paced(10 * MICROSECOND, calls=8).level == 0
    assert paced(10 * MICROSECOND, calls=50).level == 4


def test_a_level_is_left_at_twice_the_mean_it_was_entered_at() -> None:
    pace = paced(480 * MICROSECOND)
    assert pace.level == 4

    assert not any(pace.ended(950 * MICROSECOND) for _ in range(300))
    assert pace.level == 4
    assert [pace.ended(1100 * MICROSECOND) for _ in range(300)].count(True) == 1
    assert pace.level == 0


def test_a_change_is_told_once() -> None:
    pace = Pace()
    told = [pace.level for _ in range(300) if pace.ended(10 * MICROSECOND)]

    assert told == [4, 16, 64]


def test_one_call_that_takes_seconds_is_forgotten_soon() -> None:
    pace = paced(10 * MICROSECOND)
    pace.ended(30 * SECOND)
    for _ in range(120):
        pace.ended(10 * MICROSECOND)

    assert pace.level == 64


def test_a_call_that_holds_up_the_others_ends_it_until_calls_are_short_again() -> None:
    pace = paced(10 * MICROSECOND)

    assert pace.held_up()
    assert pace.level == 0
    assert not pace.held_up()
    for _ in range(120):
        pace.ended(10 * MICROSECOND)
    assert pace.level == 64


def test_patience_counts_from_the_last_call_that_began() -> None:
    assert patience_left_ns(1000, 1000) == PATIENCE_NS
    assert patience_left_ns(1000, 999 + PATIENCE_NS) == 1
    assert patience_left_ns(1000, 1000 + PATIENCE_NS) == 0
    assert patience_left_ns(0, 10 * SECOND) == 0


@given(st.lists(st.integers(0, 20 * MILLISECOND), max_size=300))
def test_what_waits_is_never_worth_more_than_twice_the_bound(tooks: list[int]) -> None:
    pace = Pace()
    for took_ns in tooks:
        before = pace.level
        assert pace.ended(took_ns) == (pace.level != before)
        assert pace.level in LEVELS
        assert pace.level * pace.mean_ns <= 2 * WORK_NS
        higher = next((level for level in LEVELS if level > pace.level), None)
        assert higher is None or higher * pace.mean_ns > WORK_NS or pace.level == before
