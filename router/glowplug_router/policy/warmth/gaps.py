"""How long were the times when nobody called? A histogram of bounded size that forgets.

Bins are a quarter of an octave wide: a decision made of them is off by at most a fifth. What is older than some hundred
gaps hardly weighs, so that a version whose callers change is known anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from glowplug.clock import SECOND

UNIT_NS = SECOND  # gaps below it are no idleness: demand is told once a second at the latest
BINS = 80  # up to 2^20 s, twelve days: season and traces look no further back
WEIGHT = 1 << 16  # of a new gap
DECAY_SHIFT = (
    7  # each gap takes 1/128 off those before: the fewest of which a 99th percentile can be read
)


@dataclass(frozen=True, slots=True)
class Bin:
    """Gaps of about one length."""

    typical_ns: int
    end_ns: int  # they are shorter than this
    weight: int


def noted(counts: Sequence[int], gap_ns: int) -> tuple[int, ...]:
    """Return the histogram with one gap more."""
    older = [count - -(-count >> DECAY_SHIFT) for count in counts] if counts else [0] * BINS
    older[_index(gap_ns)] += WEIGHT
    return tuple(older)


def bins(counts: Sequence[int]) -> list[Bin]:
    """Return the bins with anything in them, shortest first."""
    found = ((_begin_ns(at), _begin_ns(at + 1), count) for at, count in enumerate(counts) if count)
    return [Bin((begin + end) // 2, end, count) for begin, end, count in found]


def quantile_ns(filled: Sequence[Bin], permille: int) -> tuple[int, int]:
    """Return begin and end, in nanoseconds, of the bin that holds the quantile; zeros of an empty histogram."""
    wanted = sum(bin.weight for bin in filled) * permille
    below = 0
    for bin in filled:
        below += bin.weight * 1000
        if below >= wanted:
            return 2 * bin.typical_ns - bin.end_ns, bin.end_ns
    return 0, 0


def is_representative(filled: Sequence[Bin]) -> bool:
    """Say whether gaps have a usual length: bins' counts vary by twice their mean (Serverless in the Wild, §4.2)."""
    total = sum(bin.weight for bin in filled)
    squares = sum(bin.weight * bin.weight for bin in filled)
    # CV² = n·Σx²/(Σx)² - 1 >= 4, over all bins.
    return total > 0 and BINS * squares >= 5 * total * total


def _index(gap_ns: int) -> int:
    units = gap_ns // UNIT_NS
    if units < 4:
        return max(0, units)
    octave = units.bit_length() - 3
    return min(BINS - 1, 4 * octave + (units >> octave))


def _begin_ns(index: int) -> int:
    if index < 4:
        return index * UNIT_NS
    return (index % 4 + 4 << index // 4 - 1) * UNIT_NS
