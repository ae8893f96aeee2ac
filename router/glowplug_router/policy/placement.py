"""On which node does a replica start?

Where the devices it needs are free, its memory is, and it costs least per unit of speed (`packing.ranking` has the
whole order). CPUs are shared: a replica is limited to its own, which a node must have at all, and they may add up to
more. A version whose device is `auto` runs without one where no node has any; `cuda` insists.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from glowplug_router.policy.packing.devices import Pools, asked, has_room, pools_of, uses_of
from glowplug_router.policy.packing.devices import is_model as is_model
from glowplug_router.policy.packing.gangs import parts_of
from glowplug_router.policy.packing.index import Index
from glowplug_router.policy.packing.ranking import is_big_enough, seat_in
from glowplug_router.policy.packing.rooms import NOBODYS, Room, Uses, empty_rooms
from glowplug_router.records.capacity import Offer
from glowplug_router.records.devices import DeviceNeeds, Part
from glowplug_router.records.observed import Node, Replica, Served

_NOTHING: Uses = {}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replica goes."""

    node: str
    gpus: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()  # of a gang over several nodes: what it gets elsewhere

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """Return what it gets on each node."""
        return (Part(self.node, self.gpus), *self.parts)


def rooms(
    nodes: Iterable[Node],
    replicas: Iterable[Replica],
    served: Mapping[str, Served],
    offers: Iterable[Offer] = (),
    hosts: Mapping[str, str] = NOBODYS,
) -> dict[str, Room]:
    """Return what is left of each node; a replica holds its place until it is gone, draining or not."""
    left = empty_rooms(nodes, offers, hosts)
    for replica in replicas:
        room = left.get(replica.node)
        if room is None or replica.state == "failed":
            continue
        version = served.get(replica.version)
        memory_bytes = version.memory_bytes if version else 0
        gpus = replica.gpus
        # Nearly all replicas are on one node: this is called for each of them in every plan.
        if not replica.parts:
            room.take(memory_bytes, uses_of(version, room.site.rack, gpus) if gpus else _NOTHING)
        elif _is_whole_there(replica, left):
            for node, there in parts_held(replica):
                room = left[node]
                room.take(memory_bytes, uses_of(version, room.site.rack, there))
    return left


def _is_whole_there(replica: Replica, left: Mapping[str, Room]) -> bool:
    """Say whether all nodes of a replica are there: a gang that lost one is over, and holds nothing on the others."""
    if not replica.parts:
        return replica.node in left
    return replica.node in left and all(part.node in left for part in replica.parts)


def parts_held(replica: Replica) -> list[tuple[str, tuple[str, ...]]]:
    """Return what a replica holds on which node."""
    first = (replica.node, replica.gpus)
    if not replica.parts:
        return [first]
    return [first, *((part.node, part.gpus) for part in replica.parts)]


def place(served: Served, left: Mapping[str, Room], has_devices: bool) -> Place | None:
    """Return where the next replica goes and take the room, or None when it fits nowhere."""
    spot = best_place(served, left, has_devices)
    for part in spot.all_parts if spot is not None else ():
        room = left[part.node]
        room.take(served.memory_bytes, uses_of(served, room.site.rack, part.gpus))
    return spot


def best_place(served: Served, left: Mapping[str, Room], has_devices: bool) -> Place | None:
    """Return where the next replica would go, or None when it fits nowhere."""
    alternatives = asked(served, has_devices)
    found = (seat_in(room, served, alternatives) for room in left.values())
    best = min((seat for seat in found if seat is not None), default=None)
    if best is not None:
        return Place(best.node, best.gpus)
    return _of_parts(parts_of(served, alternatives, left.values()))


def _of_parts(parts: tuple[Part, ...]) -> Place | None:
    return Place(parts[0].node, parts[0].gpus, parts[1:]) if parts else None


class Rooms:
    """What is left of all nodes: now, and once what drains is gone. Room can be held for who waits for it."""

    def __init__(
        self,
        nodes: Sequence[Node],
        replicas: Sequence[Replica],
        served: Mapping[str, Served],
        offers: Sequence[Offer] = (),
        hosts: Mapping[str, str] = NOBODYS,
    ) -> None:
        self.left = rooms(nodes, replicas, served, offers, hosts)
        self.coming = {node: room.copy() for node, room in self.left.items()}
        self.held: dict[str, Place] = {}  # version -> the room it waits for
        self._free: dict[str, int] = {}  # version -> how many GPUs it waits for are free
        self._served = served
        # Of devices that there are, or could be launched.
        self.kinds = frozenset(kind for offer in offers for kind, _ in offer.devices).union(
            *(r.site.rack.kinds for r in self.left.values())
        )
        self._now = Index(self.left)
        self._later = Index(self.coming)
        self._zones = _zones(self.left, replicas, served)
        # Gangs by needs, memory and CPUs that found no place, after how many changes.
        self._no_gang: dict[tuple[tuple[DeviceNeeds, ...], int, int, bool], int] = {}
        for replica in replicas:
            if replica.state == "draining":
                self.drains(replica)

    def asked(self, served: Served) -> tuple[DeviceNeeds, ...]:
        """Return what devices would do for a version, on the nodes that there are."""
        kinds = {needs.kind for needs in served.needs} or {"nvidia"}
        return asked(served, not self.kinds.isdisjoint(kinds))

    def drains(self, replica: Replica) -> None:
        """Note that a replica will be gone."""
        for node, _ in parts_held(replica) if _is_whole_there(replica, self.left) else ():
            self.coming[node].give(self.memory_of(replica), self.uses_of(replica, node))
            self._later.note(node)

    def memory_of(self, replica: Replica) -> int:
        """Return the memory a replica holds; what nobody serves any more is not known to hold any."""
        version = self._served.get(replica.version)
        return version.memory_bytes if version else 0

    def uses_of(self, replica: Replica, node: str) -> Uses:
        """Return what a replica has of the devices of a node."""
        gpus = next(gpus for name, gpus in parts_held(replica) if name == node)
        return uses_of(self._served.get(replica.version), self.left[node].site.rack, gpus)

    def place(self, served: Served) -> Place | None:
        """Return where a replica goes now and take the room, or None when it fits nowhere."""
        alternatives = self.asked(served)
        zones = self._zones.get(served.key)
        seat = self._now.best(served, alternatives, zones)
        spot = Place(seat.node, seat.gpus) if seat else self._gang(served, self._now)
        if spot is not None:
            self._take(served, spot)
            if zones is not None:
                zones[self.left[spot.node].site.zone] += 1
        return spot

    def has_room(self, served: Served) -> bool:
        """Say whether a replica would find room now. A gang over several nodes is not looked for."""
        return self._now.best(served, self.asked(served)) is not None

    def close(self, node: str) -> None:
        """Let nothing more start on a node: it goes."""
        for there, index in ((self.left, self._now), (self.coming, self._later)):
            room = there[node]
            if room.site.is_open:
                room.site = replace(room.site, is_open=False)
                index.note(node)

    def _gang(self, served: Served, index: Index) -> Place | None:
        alternatives = self.asked(served)
        key = (alternatives, served.memory_bytes, served.cpu_milli, index is self._later)
        # Room that others took does not help a gang, but it is looked for again: changes are seldom only that.
        if self._no_gang.get(key) == index.changes:
            return None
        spot = _of_parts(parts_of(served, alternatives, index.rooms.values()))
        if spot is None:
            self._no_gang[key] = index.changes
        return spot

    def place_to_come(self, served: Served) -> Place | None:
        """Return where a replica goes once what drains is gone, None when it will fit nowhere."""
        seat = self._later.best(served, self.asked(served))
        return Place(seat.node, seat.gpus) if seat else self._gang(served, self._later)

    def gang_without(self, served: Served, leaving: Iterable[Replica]) -> Place | None:
        """Return where a gang would lie on several nodes once these are gone as well, None when it would not fit."""
        trial = dict(self.coming)
        for replica in leaving:
            for node, _ in parts_held(replica):
                if trial[node] is self.coming[node]:
                    trial[node] = self.coming[node].copy()
                trial[node].give(self.memory_of(replica), self.uses_of(replica, node))
        return _of_parts(parts_of(served, self.asked(served), trial.values()))

    def would_get(self, served: Served, room: Room) -> tuple[str, ...] | None:
        """Return the devices that a replica would get in a room, None when it does not fit."""
        seat = seat_in(room, served, self.asked(served))
        return None if seat is None else seat.gpus

    def keep(self, served: Served, spot: Place) -> bool:
        """Hold room for a version, so that nobody else takes what of it is free; False when others have it."""
        found = [self.coming.get(part.node) for part in spot.all_parts]
        there = [room for room in found if room is not None and is_big_enough(room, served)]
        if len(there) < len(found) or not self._is_whole(served, spot):
            return False
        self.held[served.key] = spot
        self._free[served.key] = sum(
            uuid not in self.left[part.node].used for part in spot.all_parts for uuid in part.gpus
        )
        self._take(served, spot)
        return True

    def _is_whole(self, served: Served, spot: Place) -> bool:
        """Say whether a kept place is still all that a replica needs."""
        alternatives = self.asked(served)
        if not alternatives:
            return not spot.gpus
        total = sum(len(part.gpus) for part in spot.all_parts)
        for number, needs in enumerate(alternatives):
            parts = [(self.coming[part.node], part.gpus) for part in spot.all_parts]
            pools = [pools_of(room.site.rack, alternatives)[number] for room, _ in parts]
            if total == needs.count and all(map(_are_there, pools, spot.all_parts)):
                return all(
                    has_room(served, needs, room.site.rack.slots[uuid], room.used.get(uuid))
                    for room, gpus in parts
                    for uuid in gpus
                )
        return False

    def free_of(self, key: str) -> int:
        """Return how many of the GPUs that a version waits for are free already."""
        return self._free[key]

    def release(self, served: Served) -> Place | None:
        """Keep the room no longer; return it."""
        spot = self.held.pop(served.key, None)
        if spot is not None:
            del self._free[served.key]
            for room, uses in self._shares(served, spot):
                room.give(served.memory_bytes, uses)
        return spot

    def _take(self, served: Served, spot: Place) -> None:
        for room, uses in self._shares(served, spot):
            room.take(served.memory_bytes, uses)

    def _shares(self, served: Served, spot: Place) -> Iterator[tuple[Room, Uses]]:
        """Yield each room that a place changes, now and later, with what it has of the devices there."""
        for part in spot.all_parts:
            uses = uses_of(served, self.left[part.node].site.rack, part.gpus)
            for there, index in ((self.left, self._now), (self.coming, self._later)):
                yield there[part.node], uses
                index.note(part.node)


def _are_there(pools: Pools, part: Part) -> bool:
    return {uuid for choice in pools for pool in choice for uuid in pool}.issuperset(part.gpus)


def _zones(
    left: Mapping[str, Room], replicas: Sequence[Replica], served: Mapping[str, Served]
) -> dict[str, Counter[str]]:
    """Return how many replicas each zone has of the versions that are spread."""
    found = {key: Counter[str]() for key, version in served.items() if version.is_spread}
    for replica in replicas if found else ():
        if replica.version in found and replica.state in ("starting", "ready"):
            room = left.get(replica.node)
            if room is not None:
                found[replica.version][room.site.zone] += 1
    return found
