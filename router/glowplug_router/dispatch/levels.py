"""Which of many stands lowest, or highest? For things whose level changes all the time.

Rows by level, and one integer with a bit for each row that is not empty: finding and moving cost the same for one thing
and for a thousand. Within a row, the one that was put there longest ago is first.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Levels(Generic[T]):
    """Things on levels. Who puts a thing remembers its level, and says it when the thing moves."""

    __slots__ = ("_rows", "mask")

    def __init__(self) -> None:
        self._rows: dict[int, OrderedDict[T, None]] = {}
        self.mask = 0  # 0 = nobody is anywhere

    def put(self, thing: T, level: int) -> None:
        """Put a thing that is nowhere."""
        row = self._rows.get(level)
        if row is None:
            row = self._rows[level] = OrderedDict()
        row[thing] = None
        self.mask |= 1 << level

    def renew(self, thing: T, level: int) -> None:
        """Let a thing be last of the level it is on."""
        self._rows[level].move_to_end(thing)

    def take(self, thing: T, level: int) -> None:
        """Take a thing from where it is."""
        row = self._rows[level]
        del row[thing]
        if not row:
            self.mask ^= 1 << level

    def lowest(self) -> T | None:
        """Return the first thing of the lowest level, or None."""
        mask = self.mask
        return next(iter(self._rows[(mask & -mask).bit_length() - 1])) if mask else None

    def highest(self) -> T | None:
        """Return the first thing of the highest level, or None."""
        mask = self.mask
        return next(iter(self._rows[mask.bit_length() - 1])) if mask else None


def level_of(count: int) -> int:
    """Return a level for a count: every count its own up to 7, then four to each doubling."""
    if count < 8:
        return count
    shift = count.bit_length() - 3
    return 4 * shift + (count >> shift)
