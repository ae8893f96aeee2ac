"""Which calls of different lengths should share a padded batch?

Every row of a padded batch costs what its longest row costs. Sorted by length, the cheapest way to serve everything
that waits is a cut into neighbours: each group pays once for being a batch and its size times its longest. The cuts
are found exactly (each prefix's best is the best over where its last group begins); of the groups the one is run that
holds the call whose turn it is, so that the saving costs nobody their place.
"""

from collections.abc import Sequence


def group_of(
    at: int, lengths: Sequence[int], most: int, units_max: int, batch_units: float
) -> tuple[int, int]:
    """Return where the group begins and ends that holds the call `at`.

    Args:
        at: Index of the call whose turn it is.
        lengths: Of all calls that wait, ascending.
        most: Calls in one batch.
        units_max: Size times longest of one batch; 0 = no bound. A single call may be over it.
        batch_units: What a batch costs however small it is, in the unit of the lengths.
    """
    count = len(lengths)
    fits = count <= most and (not units_max or count * lengths[-1] <= units_max)
    if fits and count * (lengths[-1] - lengths[0]) <= batch_units:
        return 0, count  # cutting could not save what one more batch costs
    begins = _cuts(lengths, most, units_max, batch_units)
    end = count
    while begins[end] > at:
        end = begins[end]
    return begins[end], end


def _cuts(lengths: Sequence[int], most: int, units_max: int, batch_units: float) -> list[int]:
    """Return for each prefix where the last group of its cheapest cut begins."""
    cheapest = [0.0]
    begins = [0]
    for end, longest in enumerate(lengths, start=1):
        size_max = most if not units_max else max(1, min(most, units_max // longest))
        best = float("inf")
        begin = end - 1
        for start in range(max(0, end - size_max), end):
            cost = cheapest[start] + longest * (end - start)
            if cost < best:
                best, begin = cost, start
        cheapest.append(best + batch_units)
        begins.append(begin)
    return begins
