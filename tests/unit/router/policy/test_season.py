"""Does a version that is called each week at the same time have its replicas before?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import MINUTE, SECOND
from glowplug_router.policy.scaling.forecast import next_slot_ns
from glowplug_router.policy.scaling.season import (
    SLOT_NS,
    SLOTS,
    WEEKS_MAX,
    code,
    rate_micro,
    season_noted,
    seasonal_micro,
)
from glowplug_router.records.load import Load, Season
from glowplug_router.records.memory import EndpointMemory, Memory
from glowplug_router.records.observed import Demand
from unit.router.planning import KEY, Planning, version

WEEK = SLOTS * SLOT_NS
SLOT = 100
BUSY = SLOT * SLOT_NS  # of each week


def weekly(weeks: int, *calls: int) -> Season:
    """Return the season of one busy slot a week, planned for at its beginning, in it and after it."""
    season = Season()
    for week in range(weeks):
        begin = week * WEEK + BUSY
        season = season_noted(season, 0, begin)
        season = season_noted(season, calls[week % len(calls)], begin + MINUTE)
        season = season_noted(season, 0, begin + SLOT_NS)
        season = season_noted(season, 0, begin + 2 * SLOT_NS)
    return season


@given(st.integers(0, 10**12))
def test_a_rate_is_kept_to_an_eighth_of_an_octave(rate: int) -> None:
    kept = rate_micro(code(rate))

    assert kept <= rate
    assert rate < 1000 or rate - kept <= max(rate // 8, 1000) or code(rate) == 255


def test_what_came_twice_at_this_time_of_the_week_is_expected_again() -> None:
    assert seasonal_micro(weekly(1, 300), 950, WEEK + BUSY) == 0
    # 300 in five minutes, and the time of the week before it as well: slots of two clocks overlap.
    assert 900_000 <= seasonal_micro(weekly(2, 300), 950, 2 * WEEK + BUSY) <= 1_000_000
    assert seasonal_micro(weekly(2, 300), 950, 2 * WEEK + BUSY - SLOT_NS) > 0
    assert seasonal_micro(weekly(2, 300), 950, 2 * WEEK + BUSY + 2 * SLOT_NS) == 0


def test_the_quantile_of_few_weeks_is_their_most_and_the_median_is_not() -> None:
    season = weekly(4, 30, 300, 30, 30)

    assert seasonal_micro(season, 950, 4 * WEEK + BUSY) >= 900_000
    assert seasonal_micro(season, 500, 4 * WEEK + BUSY) < 110_000


def test_a_version_that_is_never_called_keeps_nothing() -> None:
    assert season_noted(Season(), 0, WEEK) == Season()


@pytest.mark.parametrize("missed", [1, 2, 50])
def test_memory_of_weeks_is_bounded_however_long_nobody_looked(missed: int) -> None:
    season = season_noted(weekly(3, 300), 1, (2 + missed) * WEEK + BUSY)

    assert len(season.weeks) <= WEEKS_MAX
    assert all(len(week) == SLOTS for week in season.weeks)


def test_an_idle_version_with_a_season_is_started_ahead_of_it() -> None:
    planning = Planning(version(start_prior_ns=30 * SECOND))
    load = Load(season=weekly(3, 3000), service_calls=300, service_sum_ns=300 * SECOND)
    begin = 3 * WEEK + BUSY - SLOT_NS  # the slot before counts as well
    known = EndpointMemory(
        key=KEY, load=load, sampled_ns=begin - WEEK // 2, first_seen_ns=1, mean_service_ns=SECOND
    )
    planning.memory = Memory(versions=(known,))
    planning.demand[KEY] = Demand(key=KEY)
    planning.now_ns = begin - 31 * SECOND
    early = planning.after(0)

    assert planning.states() == []
    assert early.wake_ns == begin - 30 * SECOND
    made = planning.after(SECOND)
    assert set(planning.states()) == {"starting"}
    assert "(season)" in made.explain[0].text


def test_without_a_season_nothing_changes_by_itself() -> None:
    assert next_slot_ns(version(), EndpointMemory(key=KEY), 0) is None
