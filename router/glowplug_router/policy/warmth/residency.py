"""What is it worth that a residency stays, when memory is short?

Those make way that are worth the least for each byte: expected calls a second × time to be back / size. That is
Greedy-Dual-Size-Frequency with a forecast in place of its count, so its ageing clock is not needed: what nobody calls
ages by itself.

The forecast is a rate over the season, and what each call is a sign of: more to come soon, which fades like a power
of its age, since people come for a minute, for an afternoon and for a week (a Hawkes process). A few exponential
averages, each eight times slower than the one before, are that nearly enough.
"""

from dataclasses import dataclass, replace

from glowplug.clock import SECOND
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand
from glowplug_router.records.warmth import Heat

# Eight times as slow each, from the fastest that is not one visit of one caller (a minute) to a season (a quarter).
SCALES_NS = tuple(64 * SECOND << 3 * step for step in range(6))
# In thousandths. Half a call follows from each (none would be chance alone, one would never end), at an age whose
# density falls with the power 1.4 (Crane and Sornette 2008, of views); the slowest average is the rate of the rest.
WEIGHTS_PERMILLE = (287, 125, 54, 24, 10, 1000)
CALL = 1 << 32  # what a call adds to each average
STEPS = 64  # a half-life is cut in so many: factors are looked up, so that all platforms agree
FACTORS = tuple(int(2 ** (-step / STEPS) * (1 << 30)) for step in range(STEPS))
LOOK_NS = (
    SCALES_NS[0] // 8
)  # calls in between are dated like the last: wrong by 9 % of the fastest average at most
_NONE = (0,) * len(SCALES_NS)


@dataclass(frozen=True, slots=True)
class Resident:
    """Something that holds memory, and could be had back."""

    size_bytes: int
    wake_ns: int
    heat: Heat


def called(heat: Heat, now_ns: int, calls: int = 1) -> Heat:
    """Return the heat after more calls."""
    sums = tuple(total + calls * CALL for total in _faded(heat, now_ns))
    return Heat(sums, max(now_ns, heat.at_ns), heat.calls + calls)


def heat_noted(memory: EndpointMemory, demand: Demand, now_ns: int) -> EndpointMemory:
    """Return the memory with the calls that came lately; of what came before it was first looked at, none is known."""
    heat = memory.heat
    if not heat.at_ns:
        return replace(memory, heat=Heat(at_ns=now_ns, calls=demand.arrivals))
    if demand.arrivals == heat.calls or now_ns - heat.at_ns < LOOK_NS:
        return memory
    return replace(memory, heat=heat_now(heat, demand, now_ns))


def heat_now(heat: Heat, demand: Demand, now_ns: int) -> Heat:
    """Return the heat with the calls that were not counted yet, as if all had come with the last of them."""
    calls = demand.arrivals
    # Counters only grow; a smaller one was started again at zero.
    known = heat if calls >= heat.calls else Heat(heat.sums, heat.at_ns)
    return called(known, min(demand.last_arrival_ns, now_ns), calls - known.calls)


def expected(heat: Heat, now_ns: int) -> int:
    """Return the rate of calls that is expected now; only ratios mean anything."""
    faded = _faded(heat, now_ns)
    return sum(
        total * weight * SECOND // scale
        for total, weight, scale in zip(faded, WEIGHTS_PERMILLE, SCALES_NS, strict=True)
    )


def worth(one: Resident, now_ns: int) -> int:
    """Return what a byte of it saves: expected rate × time to be back / size; only ratios mean anything."""
    return expected(one.heat, now_ns) * one.wake_ns // max(1, one.size_bytes)


def _faded(heat: Heat, now_ns: int) -> tuple[int, ...]:
    if not heat.sums:
        return _NONE
    passed_ns = max(0, now_ns - heat.at_ns)
    return tuple(
        _halved(total, steps) if (steps := passed_ns * STEPS // scale) else total
        for total, scale in zip(heat.sums, SCALES_NS, strict=True)
    )


def _halved(total: int, steps: int) -> int:
    halvings, step = divmod(steps, STEPS)
    return (total * FACTORS[step] >> 30) >> min(halvings, 128)
