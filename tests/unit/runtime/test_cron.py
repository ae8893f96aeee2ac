"""Does a cron line fire when people in its time zone expect it?"""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.cron import fires, parsed, zone

DAY = 24 * HOUR


def at(text: str) -> int:
    """Return a UTC time as wall time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def fired(line: str, where: str, begin: str, days: int) -> list[str]:
    """Return when a line fires, in UTC."""
    found = fires(parsed(line), zone(where), at(begin), at(begin) + days * DAY)
    return [datetime.fromtimestamp(ns // SECOND, UTC).strftime("%d %H:%M") for ns in found]


def test_weekday_mornings_in_berlin_are_an_hour_earlier_in_utc() -> None:
    # 20 November 2026 is a Friday.
    assert fired("0 8 * * 1-5", "Europe/Berlin", "2026-11-20", 5) == [
        "20 07:00",
        "23 07:00",
        "24 07:00",
    ]


def test_steps_lists_and_names() -> None:
    assert fired("*/30 8-10/2 * nov fri", "UTC", "2026-11-20", 1) == [
        "20 08:00",
        "20 08:30",
        "20 10:00",
        "20 10:30",
    ]
    assert fired("5/20 0 20,22 * *", "UTC", "2026-11-20", 3) == [
        *("20 00:05", "20 00:25", "20 00:45"),
        *("22 00:05", "22 00:25", "22 00:45"),
    ]


def test_sunday_is_0_and_7() -> None:
    assert fired("0 0 * * 0", "UTC", "2026-11-20", 7) == fired("0 0 * * 7", "UTC", "2026-11-20", 7)
    assert fired("0 0 * * sun", "UTC", "2026-11-20", 7) == ["22 00:00"]


def test_either_kind_of_day_will_do_when_both_are_restricted() -> None:
    assert fired("0 0 24 * sat", "UTC", "2026-11-20", 7) == ["21 00:00", "24 00:00"]
    assert fired("0 0 */2 * sat", "UTC", "2026-11-20", 7) == ["21 00:00"]


def test_a_day_that_no_month_has_never_comes() -> None:
    assert fired("0 0 30 2 *", "UTC", "2026-01-01", 366) == []


def test_a_time_that_the_clock_skips_fires_as_much_later() -> None:
    # 29 March 2026, 02:00 becomes 03:00 in Berlin: 01:00 UTC.
    assert fired("30 2 * * *", "Europe/Berlin", "2026-03-28", 3) == [
        "28 01:30",
        "29 01:30",
        "30 00:30",
    ]


def test_a_time_that_comes_twice_fires_once() -> None:
    # 25 October 2026, 03:00 becomes 02:00 in Berlin: 01:00 UTC.
    assert fired("30 2 * * *", "Europe/Berlin", "2026-10-24", 3) == [
        "24 00:30",
        "25 00:30",
        "26 01:30",
    ]


def test_skipped_and_later_times_that_fall_together_fire_once_and_in_order() -> None:
    assert fired("30 2,3 * * *", "Europe/Berlin", "2026-03-29", 1) == ["29 01:30"]


def test_the_end_of_a_span_is_not_in_it() -> None:
    noon = at("2026-11-20T12:00")
    line, where = parsed("0 12 * * *"), zone("UTC")

    assert list(fires(line, where, noon, noon + 1)) == [noon]
    assert list(fires(line, where, noon - DAY + 1, noon)) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "five fields"),
        ("* * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("* " * 150, "five fields"),
        ("60 * * * *", "minute: '60' is not 0 to 59"),
        ("-1 * * * *", "minute"),
        ("5-1 * * * *", "goes backwards"),
        ("* 24 * * *", "hour: '24'"),
        ("* * 0 * *", "day of the month: '0'"),
        ("* * * 13 *", "month: '13'"),
        ("* * * * 8", "day of the week: '8'"),
        ("*/0 * * * *", "minute: '0' is not 1 to 59"),
        ("1,,2 * * * *", "minute: ''"),
        ("١ * * * *", "minute"),
    ],
)
def test_what_is_no_cron_line_is_refused_with_its_field(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parsed(line)


@pytest.mark.parametrize("name", ["", "Mars/Base", "../etc/passwd", "/etc/passwd", "Europe", "\0"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="there is no time zone"):
        zone(name)


@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    where=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    begin_h=st.integers(490_000, 500_000),
)
def test_a_daily_line_fires_once_every_local_day(
    minute: int, hour: int, where: str, begin_h: int
) -> None:
    begin_ns = begin_h * HOUR
    found = list(
        fires(parsed(f"{minute} {hour} * * *"), zone(where), begin_ns, begin_ns + 30 * DAY)
    )

    gaps = [later - earlier for earlier, later in pairwise(found)]
    assert len(found) in {29, 30, 31}
    assert all(DAY - HOUR - MINUTE <= gap <= DAY + HOUR + MINUTE for gap in gaps)
