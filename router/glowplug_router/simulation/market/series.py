"""How much capacity does a pool have, and when?"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Series:
    """A step function: from `times_ns[i]` on there are `counts[i]` nodes. The first time is 0."""

    times_ns: tuple[int, ...]
    counts: tuple[int, ...]

    def at(self, now_ns: int) -> int:
        """Return the capacity at a moment."""
        return self.counts[bisect_right(self.times_ns, now_ns) - 1]

    def least(self, from_ns: int, until_ns: int) -> int:
        """Return the least capacity of a span of time."""
        first = bisect_right(self.times_ns, from_ns) - 1
        last = bisect_right(self.times_ns, until_ns)
        return min(self.counts[first:last])

    def drops(self) -> Iterator[tuple[int, int]]:
        """Yield when capacity falls, and to what."""
        for before, now_ns, count in zip(
            self.counts, self.times_ns[1:], self.counts[1:], strict=False
        ):
            if count < before:
                yield now_ns, count

    def scaled(self, permille: int) -> "Series":
        """Return the series with its time stretched: 2000 makes everything happen half as often."""
        return Series(tuple(t * permille // 1000 for t in self.times_ns), self.counts)

    def repeated(self, period_ns: int, until_ns: int) -> "Series":
        """Return the series over and over, each time cut after a period."""
        one = [(t, c) for t, c in zip(self.times_ns, self.counts, strict=True) if t < period_ns]
        rounds = range(0, until_ns, period_ns)
        return series((start + t, c) for start in rounds for t, c in one)


def series(points: Iterable[tuple[int, int]]) -> Series:
    """Return the series of points (nanoseconds, nodes); of several at one moment the last holds."""
    found = dict(sorted({0: 0, **dict(points)}.items()))
    kept: list[tuple[int, int]] = []
    for now_ns, count in found.items():
        if not kept or kept[-1][1] != count:
            kept.append((now_ns, count))
    return Series(tuple(t for t, _ in kept), tuple(c for _, c in kept))


def series_of_gaps(counts: Sequence[int], gap_ns: int) -> Series:
    """Return the series of nodes counted every `gap_ns`, as SkyPilot's spot traces have them."""
    return series((number * gap_ns, count) for number, count in enumerate(counts))
