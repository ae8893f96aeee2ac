"""Where in the memory that two sides share may a body lie? Only reckoning: bytes are not touched here.

The writer hands out extents, lowest first, so that a quiet connection keeps to the same few warm pages, and numbers
them with a generation that only grows. The reader knows which generation must come next and how large the memory is;
the writer knows which extents are out. So a place that was never given, was given before, or reaches beyond the end
is noticed before a byte is read, and so is giving back what is not out.
"""

from bisect import bisect_left
from struct import Struct, error
from typing import NamedTuple

from glowplug.errors import WireError

RING_BYTES = 64 * 1024 * 1024  # address space a direction; memory follows use
RING_MIN = (
    64 * 1024
)  # a smaller body is cheaper in the socket: two frames more for each, no copies less
PAGE_BYTES = (
    4096  # extents keep to pages: two cores do not share a cache line, and pages can be given back
)
_PLACE = Struct("<QQQ")  # offset, size, generation: the body of a frame with FLAG_RING
_FREED = Struct("<QQ")  # offset, generation: the meta of a RELEASE is a row of these


class Place(NamedTuple):
    """Where a body lies."""

    offset: int
    size: int
    generation: int

    def packed(self) -> bytes:
        """Return it as it is sent."""
        return _PLACE.pack(*self)

    def freed(self) -> bytes:
        """Return what gives it back."""
        return _FREED.pack(self.offset, self.generation)


class Extents:
    """The writer's view: which parts are free, and which places are out."""

    def __init__(self, size: int) -> None:
        self.generation = 0
        self.reach = 0  # pages below this one may hold memory
        self._free = [(0, size)]  # by offset, never adjacent
        self._out: dict[int, tuple[int, int]] = {}  # offset -> size in whole pages, generation

    @property
    def is_idle(self) -> bool:
        """Say whether no place is out."""
        return not self._out

    def take(self, size: int) -> Place | None:
        """Return a place for a body, or None while there is no room."""
        whole = -(-size // PAGE_BYTES) * PAGE_BYTES
        for at, (offset, room) in enumerate(self._free):
            if room >= whole:
                self._free[at : at + 1] = [(offset + whole, room - whole)] if room > whole else []
                self.generation += 1
                self._out[offset] = (whole, self.generation)
                self.reach = max(self.reach, offset + whole)
                return Place(offset, size, self.generation)
        return None

    def free(self, meta: bytes) -> None:
        """Take back the places that a RELEASE names.

        Raises:
            WireError: One of them is not out, or not in this generation.
        """
        try:
            rows = list(_FREED.iter_unpack(meta))
        except error as cause:
            raise WireError(f"a RELEASE of {len(meta)} bytes is no row of places") from cause
        for offset, generation in rows:
            size, given = self._out.get(offset, (0, 0))
            if not size or given != generation:
                raise WireError(f"nothing of generation {generation} is out at {offset}")
            del self._out[offset]
            self._give_back(offset, size)

    def _give_back(self, offset: int, size: int) -> None:
        free = self._free
        at = bisect_left(free, (offset, 0))
        if at < len(free) and free[at][0] == offset + size:
            size += free.pop(at)[1]
        if at and sum(free[at - 1]) == offset:
            offset, before = free[at - 1]
            free[at - 1] = (offset, before + size)
        else:
            free.insert(at, (offset, size))


class Arrivals:
    """The reader's view: what the next place must look like."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._generation = 0
        self._out: list[tuple[int, int]] = []  # begin and end of the places that are out, by offset

    def check(self, data: bytes, body_max: int) -> Place:
        """Return the place that a frame names.

        Raises:
            WireError: It cannot be one that the writer gave.
        """
        if len(data) != _PLACE.size:
            raise WireError(f"a place in shared memory has {_PLACE.size} bytes, not {len(data)}")
        place = Place(*_PLACE.unpack(data))
        if place.size > body_max:
            raise WireError(f"frame over the bounds: body {place.size} B in shared memory")
        if place.offset + place.size > self._size:
            raise WireError(f"{place} reaches beyond the {self._size} shared bytes")
        if place.generation != self._generation + 1:
            raise WireError(f"{place} comes after generation {self._generation}")
        self._keep(place.offset, place.offset + place.size)
        self._generation = place.generation
        return place

    def _keep(self, begin: int, end: int) -> None:
        out = self._out
        at = bisect_left(out, (begin, end))
        if (at and out[at - 1][1] > begin) or (at < len(out) and out[at][0] < end):
            raise WireError(f"bytes {begin} to {end} are out, and were named again")
        out.insert(at, (begin, end))

    def given_back(self) -> None:
        """Note that the writer may use every place again: what gives them back has left."""
        self._out.clear()
