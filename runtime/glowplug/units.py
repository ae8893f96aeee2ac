"""How do people write durations and sizes, and what do we make of them? Nanoseconds and bytes, as integers."""

import math
import re
from datetime import timedelta
from fractions import Fraction

from glowplug.clock import HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND
from glowplug.errors import DefinitionError

Duration = str | int | float | timedelta
Size = str | int

DURATION_MAX_NS = (
    366 * 24 * HOUR
)  # anything longer is a slip of a unit, and leaves room below 2**63

_TIME_UNITS = {
    "ns": 1,
    "us": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
    "d": 24 * HOUR,
}
_SIZE_UNITS = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", start=1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", start=1)},
}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]+)", re.ASCII)


def duration_ns(given: Duration, what: str) -> int:
    """Return nanoseconds for "5m", "1.5s", "250ms", a timedelta, or a number of seconds; `what` names it in errors."""
    match given:
        case bool():
            raise _bad_duration(given, what)
        case str():
            ns = _quantity(given, _TIME_UNITS)
        case timedelta():
            ns = (given // timedelta(microseconds=1)) * MICROSECOND
        case int():
            ns = given * SECOND
        case float():
            ns = round(given * SECOND) if math.isfinite(given) else None
        case _:
            raise _bad_duration(given, what)
    if ns is None or not 0 <= ns <= DURATION_MAX_NS:
        raise _bad_duration(given, what)
    return ns


def size_bytes(given: Size, what: str) -> int:
    """Return bytes for "512MB" (powers of 1000), "2GiB" (powers of 1024), or a number of bytes."""
    if isinstance(given, str):
        size = _quantity(given, _SIZE_UNITS)
    else:
        size = given if isinstance(given, int) and not isinstance(given, bool) else None
    if size is None or size < 0:
        raise DefinitionError(
            f"{what}={given!r} is not a size",
            hint='write "512MB" (1 MB = 1000² bytes), "2GiB" (1 GiB = 1024³ bytes), or a number of bytes',
        )
    return size


def _quantity(text: str, units: dict[str, int]) -> int | None:
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found[2] not in units:
        return None
    return round(Fraction(found[1]) * units[found[2]])


def _bad_duration(given: object, what: str) -> DefinitionError:
    return DefinitionError(
        f"{what}={given!r} is not a duration between 0 and 366 days",
        hint='write "250ms", "1.5s", "5m", "2h", or a number of seconds',
    )
