"""Where is the best room of all, without looking at each of them for each replica?

What a replica would get in a room is found once for all versions that want the same *kind* of seat. Of these, each
*shape*, which adds what a room must have at least, has a heap of the rooms that are big enough. A room that changes is
noted, and is looked at again when its kind is asked for next; a seat that is out of date is passed over. So many
replicas of few kinds cost a look at each room once a kind and once a change. What tells versions of one shape apart,
artefacts on nodes and the spread over zones, is looked at beside that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from glowplug_router.policy.packing.ranking import (
    Seat,
    is_big_enough,
    seat_if_big_enough,
    seat_in,
)
from glowplug_router.policy.packing.rooms import Room
from glowplug_router.records.devices import DeviceNeeds
from glowplug_router.records.observed import Served

# All of a version that decides what it gets in a room that is big enough: its devices, whether it is in a hurry, and
# how many CPUs its price is for, where it has no device to be priced by.
Kind = tuple[tuple[DeviceNeeds, ...], bool, int]
# All of a version that decides where it fits: kind, memory, CPUs, and whose machines it shares.
Shape = tuple[Kind, int, int, str]


@dataclass(slots=True)
class _Seen:
    latest: dict[str, Seat]  # node -> its seat; those left out have none
    changes: int = 0  # that were looked at


@dataclass(slots=True)
class _Ranked:
    seats: list[Seat]
    changes: int  # that were looked at


@dataclass(slots=True)
class Index:
    """The rooms of all nodes, ranked for every shape that was asked for."""

    rooms: Mapping[str, Room]
    _changed: list[str] = field(default_factory=list)
    _seen: dict[Kind, _Seen] = field(default_factory=dict)
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
        # Among nodes that hold nothing the order is that of the shape, whose seats are found as if nothing were to be
        # fetched: so only its first can be the best of them.
        if self._holders is None:
            self._holders = _holders_of(self.rooms)
        nodes = {seat.node}.union(*(self._holders.get(d, ()) for d in served.artefacts))
        seats = (seat_in(self.rooms[node], served, alternatives) for node in nodes)
        return min(seat for seat in seats if seat is not None)

    def _best_of_shape(self, served: Served, alternatives: tuple[DeviceNeeds, ...]) -> Seat | None:
        is_urgent = served.policy.priority in ("critical", "interactive")
        kind = (alternatives, is_urgent, 0 if alternatives else served.cpu_milli)
        latest = self._looked_at(kind, served)
        shape = (kind, served.memory_bytes, served.cpu_milli, served.need)
        ranked = self._ranked.get(shape)
        if ranked is None:
            ranked = self._ranked[shape] = self._ranked_now(latest, served)
        for node in dict.fromkeys(self._changed[ranked.changes :]):
            if node in latest and is_big_enough(self.rooms[node], served):
                heappush(ranked.seats, latest[node])
        ranked.changes = len(self._changed)
        seats = ranked.seats
        while seats and latest.get(seats[0].node) is not seats[0]:
            heappop(seats)
        return seats[0] if seats else None

    def _looked_at(self, kind: Kind, served: Served) -> Mapping[str, Seat]:
        """Return the seats of a kind, as of now."""
        seen = self._seen.get(kind)
        if seen is None:
            seen = self._seen[kind] = _Seen({})
            nodes: Iterable[str] = self.rooms
        else:
            nodes = dict.fromkeys(self._changed[seen.changes :])
        for node in nodes:
            seat = seat_if_big_enough(self.rooms[node], served, kind[0])
            if seat is None:
                seen.latest.pop(node, None)
            else:
                seen.latest[node] = seat
        seen.changes = len(self._changed)
        return seen.latest

    def _ranked_now(self, latest: Mapping[str, Seat], served: Served) -> _Ranked:
        rooms = self.rooms
        seats = [seat for node, seat in latest.items() if is_big_enough(rooms[node], served)]
        heapify(seats)
        return _Ranked(seats, len(self._changed))


def _holders_of(rooms: Mapping[str, Room]) -> Mapping[str, list[str]]:
    """Return which nodes hold what."""
    found: dict[str, list[str]] = {}
    for room in rooms.values():
        for digest in room.site.holds:
            found.setdefault(digest, []).append(room.node)
    return found
