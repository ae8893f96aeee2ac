"""When does a five-field cron line fire, in a time zone? Pure: wall time comes in, wall time goes out.

`minute hour day-of-month month day-of-week`, each `*`, `5`, `1-5`, `*/15`, `8-18/2` or several of these with commas;
months and days of the week also by name (`mon-fri`), Sunday is 0 and 7. As in Vixie cron, a line that restricts both
kinds of day fires on either. A time that the clock skips (summer time begins) fires as much later as the clock was put
forward; one that comes twice fires the first time only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from glowplug.clock import MICROSECOND, SECOND

TEXT_MAX = 200  # characters of a line
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...], int], ...] = (
    ("minute", 0, 59, (), 0),
    ("hour", 0, 23, (), 0),
    ("day of the month", 1, 31, (), 0),
    ("month", 1, 12, _MONTHS, 1),
    ("day of the week", 0, 7, _DAYS, 0),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """The times of day and the days at which a line fires."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 = Sunday
    either_day: bool  # both kinds of day are restricted: one of them will do

    def is_on(self, day: date) -> bool:
        """Say whether it fires on a day."""
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (of_month or of_week) if self.either_day else (of_month and of_week)


@lru_cache(maxsize=1024)
def parsed(text: str) -> Cron:
    """Return what a line means.

    Raises:
        ValueError: It is none; the message says which field is wrong.
    """
    words = text.split()
    if len(text) > TEXT_MAX or len(words) != len(_FIELDS):
        raise ValueError("it has not the five fields `minute hour day month weekday`")
    minutes, hours, days, months, weekdays = (
        _field(word, *field) for word, field in zip(words, _FIELDS, strict=True)
    )
    return Cron(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        either_day=not words[2].startswith("*") and not words[4].startswith("*"),
    )


def _field(
    word: str, name: str, least: int, most: int, names: tuple[str, ...], first: int
) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step = part.partition("/")
        low, high = _span(span, name, least, most, names, first, has_step=bool(slash))
        every = _number(step, name, 1, most, (), 0) if slash else 1
        found.update(range(low, high + 1, every))
    return frozenset(found)


def _span(
    text: str,
    name: str,
    least: int,
    most: int,
    names: tuple[str, ...],
    first: int,
    *,
    has_step: bool,
) -> tuple[int, int]:
    if text == "*":
        return least, most
    start, dash, end = text.partition("-")
    low = _number(start, name, least, most, names, first)
    high = most if has_step else low  # 5/15 is 5-59/15
    if dash:
        high = _number(end, name, least, most, names, first)
    if low > high:
        raise ValueError(f"{name}: {text!r} goes backwards")
    return low, high


def _number(text: str, name: str, least: int, most: int, names: tuple[str, ...], first: int) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + first
    if not (text.isascii() and text.isdecimal() and len(text) <= 2 and least <= int(text) <= most):
        raise ValueError(f"{name}: {text[:20]!r} is not {least} to {most}")
    return int(text)


def zone(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises:
        ValueError: There is none of that name here.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # not found, no name at all, a folder
        raise ValueError(f"there is no time zone {name[:80]!r}") from error


def fires(cron: Cron, where: ZoneInfo, from_wall_ns: int, until_wall_ns: int) -> Iterator[int]:
    """Yield the wall times within [from, until) at which a line fires, in order."""
    day = _local(from_wall_ns, where).date() - timedelta(days=1)
    last = _local(until_wall_ns, where).date()
    times = [time(hour, minute) for hour in sorted(cron.hours) for minute in sorted(cron.minutes)]
    before = -1
    while day <= last:
        for at in times if cron.is_on(day) else ():
            wall_ns = _wall_ns(datetime.combine(day, at, where))
            if from_wall_ns <= wall_ns < until_wall_ns and wall_ns > before:
                before = wall_ns
                yield wall_ns
        day += timedelta(days=1)


def _local(wall_ns: int, where: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(wall_ns // SECOND, where)


def _wall_ns(at: datetime) -> int:
    return (at.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * MICROSECOND
