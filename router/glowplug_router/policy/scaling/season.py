"""What came at this time of the week, in the weeks before?

Each of the week's 2016 spans of five minutes keeps the mean rate it had, for up to four weeks, as one byte: eight
steps an octave from a thousandth of a call a second on (9 % each). The planner's time is monotonic, so the week's
first slot is no Monday; that the same slot comes again in seven days is all that matters.
"""

from dataclasses import replace

from glowplug.clock import MINUTE, SECOND
from glowplug_router.records.load import Season

SLOT_NS = 5 * MINUTE
SLOTS = 2016  # in a week
WEEKS_MAX = 4  # a month of weeks; the quantile of fewer is their maximum
WEEKS_MIN = 2  # what happened once is no season
# The slot that is asked for and the next: calendars and monotonic time do not meet exactly.
NEIGHBOURS = (0, 1)
_NEW = bytes(SLOTS)
_NOTHING = 1  # the code of "no call came"; 0 is "not seen"


def season_noted(season: Season, arrivals: int, now_ns: int) -> Season:
    """Return the season with these arrivals. Slots that passed without a plan stay unseen."""
    week, slot = divmod(now_ns // SLOT_NS, SLOTS)
    if season.slot < 0:
        if not arrivals:
            return season  # a version that is never called keeps nothing
        return Season(weeks=(_NEW,), week=week, slot=slot, arrivals=arrivals)
    if (week, slot) == (season.week, season.slot):
        return replace(season, arrivals=season.arrivals + arrivals) if arrivals else season
    weeks = (*season.weeks[:-1], _closed(season))
    missed = min(max(0, week - season.week), WEEKS_MAX)
    weeks = (*weeks, *(_NEW for _ in range(missed)))[-WEEKS_MAX:]
    return Season(weeks=weeks, week=week, slot=slot, arrivals=arrivals)


def seasonal_micro(season: Season, permille: int, at_ns: int) -> int:
    """Return the rate, in millionths of a call a second, that so many thousandths of the weeks did not exceed then.

    Zero where the time of the week was seen less than twice before.
    """
    if len(season.weeks) < WEEKS_MIN:
        return 0
    week, slot = divmod(at_ns // SLOT_NS, SLOTS)
    past = season.weeks[:-1] if week == season.week else season.weeks
    seen = (max(row[(slot + step) % SLOTS] for step in NEIGHBOURS) for row in past)
    codes = sorted(code for code in seen if code)
    if len(codes) < WEEKS_MIN:
        return 0
    return rate_micro(codes[-(-len(codes) * permille // 1000) - 1])


def code(rate_micro: int) -> int:
    """Return the byte for a rate: floor(8 log2) of it in thousandths of a call a second, from 2 on."""
    milli = rate_micro // 1000
    if milli <= 0:
        return _NOTHING
    bits = milli.bit_length() - 1
    return min(255, 2 + bits * 8 + ((milli << 3 >> bits) & 7))


def rate_micro(code: int) -> int:
    """Return the lower end of what a byte stands for, in millionths of a call a second."""
    if code <= _NOTHING:
        return 0
    bits, step = divmod(code - 2, 8)
    return ((8 + step) << bits) * 1000 >> 3


def _closed(season: Season) -> bytes:
    row = season.weeks[-1]
    byte = code(season.arrivals * 1_000_000 * SECOND // SLOT_NS)
    return row[: season.slot] + bytes((byte,)) + row[season.slot + 1 :]
