"""Which residencies make way when memory is short?

Those worth the least for each byte: expected calls a second × time to be back / size. That is Greedy-Dual-Size-
Frequency with a forecast in place of its count, so its ageing clock is not needed: what nobody calls ages by itself.

The forecast is a rate over the season, and what each call is a sign of: more to come soon, which fades like a power
of its age, since people come for a minute, for an afternoon and for a week (a Hawkes process). A few exponential
averages, each eight times slower than the one before, are that nearly enough.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from glowplug.clock import SECOND

# Eight times as slow each, from the fastest that is not one visit of one caller (a minute) to a season (a quarter).
SCALES_NS = tuple(64 * SECOND << 3 * step for step in range(6))
# In thousandths. Half a call follows from each (none would be chance alone, one would never end), at an age whose
# density falls with the power 1.4 (Crane and Sornette 2008, of views); the slowest average is the rate of the rest.
WEIGHTS_PERMILLE = (287, 125, 54, 24, 10, 1000)
CALL = 1 << 32  # what a call adds to each average
STEPS = 64  # a half-life is cut in so many: factors are looked up, so that all platforms agree
FACTORS = tuple(int(2 ** (-step / STEPS) * (1 << 30)) for step in range(STEPS))


@dataclass(frozen=True, slots=True)
class Heat:
    """How often something was called lately, over several times: sums that halve in each of `SCALES_NS`."""

    sums: tuple[int, ...] = (0,) * len(SCALES_NS)
    at_ns: int = 0


@dataclass(frozen=True, slots=True)
class Resident:
    """Something that holds memory, and could be had back."""

    key: str
    size_bytes: int
    wake_ns: int
    heat: Heat


def called(heat: Heat, now_ns: int) -> Heat:
    """Return the heat after one more call."""
    return Heat(tuple(total + CALL for total in _faded(heat, now_ns)), max(now_ns, heat.at_ns))


def expected(heat: Heat, now_ns: int) -> int:
    """Return the rate of calls that is expected now; only ratios mean anything."""
    faded = _faded(heat, now_ns)
    return sum(
        total * weight * SECOND // scale
        for total, weight, scale in zip(faded, WEIGHTS_PERMILLE, SCALES_NS, strict=True)
    )


def victims(
    residents: Iterable[Resident], needed_bytes: int, now_ns: int
) -> tuple[Resident, ...] | None:
    """Return who makes way so that so many bytes are free, the least worth first; None when all are too few."""
    ranked = sorted(residents, key=lambda one: (worth(one, now_ns), one.key))
    freed = 0
    for number, one in enumerate(ranked):
        if freed >= needed_bytes:
            return tuple(ranked[:number])
        freed += one.size_bytes
    return tuple(ranked) if freed >= needed_bytes else None


def worth(one: Resident, now_ns: int) -> int:
    """Return what a byte of it saves: expected rate × time to be back / size; only ratios mean anything."""
    return expected(one.heat, now_ns) * one.wake_ns // max(1, one.size_bytes)


def _faded(heat: Heat, now_ns: int) -> tuple[int, ...]:
    passed_ns = max(0, now_ns - heat.at_ns)
    return tuple(
        _halved(total, passed_ns, scale) for total, scale in zip(heat.sums, SCALES_NS, strict=True)
    )


def _halved(total: int, passed_ns: int, half_life_ns: int) -> int:
    halvings, step = divmod(passed_ns * STEPS // half_life_ns, STEPS)
    return (total * FACTORS[step] >> 30) >> min(halvings, 128)
