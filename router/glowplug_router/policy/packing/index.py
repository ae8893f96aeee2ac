"""Where is the best room of all, without looking at each of them for each replica?

For each shape of replica there is a heap of seats. A room that changes is noted, and is looked at again when a shape is
asked for next; a seat that is out of date is passed over. So many replicas of few shapes cost a look at each room once
a shape and once a change. What tells versions of one shape apart, artefacts on nodes and the spread over zones, is
looked at beside that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from glowplug_router.policy.packing.ranking import Seat, seat_in
from glowplug_router.policy.packing.rooms import Room
from glowplug_router.records.devices import DeviceNeeds
from glowplug_router.records.observed import Served

# All of a version that decides where it fits.
Shape = tuple[tuple[DeviceNeeds, ...], int, int, bool]


@dataclass(slots=True)
class _Ranked:
    seats: list[Seat]
    latest: dict[str, Seat]  # node -> its seat; those left out have none
    seen: int  # changes that were looked at


@dataclass(slots=True)
class Index:
    """The rooms of all nodes, ranked for every shape that was asked for."""

    rooms: Mapping[str, Room]
    _changed: list[str] = field(default_factory=list)
    _ranked: dict[Shape, _Ranked] = field(default_factory=dict)
    _holders: Mapping[str, list[str]] | None = (
        None  # digest -> nodes that hold it, when it was asked for
    )

    @property
    def changes(self) -> int:
        """Return how often a room has changed."""
        return len(self._changed)

    def note(self, node: str) -> None:
        """Note that a room has changed."""
        self._changed.append(node)

    def best(
        self,
        served: Served,
        alternatives: tuple[DeviceNeeds, ...],
        zones: Mapping[str, int] | None = None,
    ) -> Seat | None:
        """Return the best seat; `zones` says how many replicas of a version that is spread each zone has."""
        if zones is not None:
            found = (
                seat_in(room, served, alternatives, zones.get(room.site.zone, 0))
                for room in self.rooms.values()
            )
            return min((seat for seat in found if seat is not None), default=None)
        seat = self._best_of_shape(served, alternatives)
        if seat is None or not served.artefacts:
            return seat
        # Among nodes that hold nothing the order is that of the shape, so only its first can be the best of them.
        if self._holders is None:
            self._holders = _holders_of(self.rooms)
        nodes = {seat.node}.union(*(self._holders.get(d, ()) for d in served.artefacts))
        seats = (seat_in(self.rooms[node], served, alternatives) for node in nodes)
        return min(seat for seat in seats if seat is not None)

    def _best_of_shape(self, served: Served, alternatives: tuple[DeviceNeeds, ...]) -> Seat | None:
        is_urgent = served.policy.priority in ("critical", "interactive")
        shape = (alternatives, served.memory_bytes, served.cpu_milli, is_urgent)
        ranked = self._ranked.get(shape)
        if ranked is None:
            ranked = self._ranked[shape] = self._look_at_all(served, alternatives)
        else:
            self._look_again(ranked, served, alternatives)
        seats = ranked.seats
        while seats and ranked.latest.get(seats[0].node) is not seats[0]:
            heappop(seats)
        return seats[0] if seats else None

    def _look_at_all(self, served: Served, alternatives: tuple[DeviceNeeds, ...]) -> _Ranked:
        latest = {}
        for room in self.rooms.values():
            seat = seat_in(room, served, alternatives, held=_NOTHING)
            if seat is not None:
                latest[room.node] = seat
        seats = list(latest.values())
        heapify(seats)
        return _Ranked(seats, latest, len(self._changed))

    def _look_again(
        self, ranked: _Ranked, served: Served, alternatives: tuple[DeviceNeeds, ...]
    ) -> None:
        for node in dict.fromkeys(self._changed[ranked.seen :]):
            seat = seat_in(self.rooms[node], served, alternatives, held=_NOTHING)
            if seat is None:
                ranked.latest.pop(node, None)
            else:
                ranked.latest[node] = seat
                heappush(ranked.seats, seat)
        ranked.seen = len(self._changed)


_NOTHING: frozenset[str] = frozenset()


def _holders_of(rooms: Mapping[str, Room]) -> Mapping[str, list[str]]:
    """Return which nodes hold what."""
    found: dict[str, list[str]] = {}
    for room in rooms.values():
        for digest in room.site.holds:
            found.setdefault(digest, []).append(room.node)
    return found
