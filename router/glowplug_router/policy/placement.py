"""On which node does a replica start?

Where its GPUs are free, whole and by uuid, and its memory is: the node with most of both left. CPUs are shared: a
replica is limited to its own, which a node must have at all, and they may add up to more. A version whose device is
`auto` runs without a GPU where no node has any; `cuda` insists.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from glowplug.spec import Device
from glowplug_router.records import Node, Replica, Served


@dataclass(slots=True)
class Room:
    """What is left of a node. Changes while one plan places several replicas."""

    node: str
    memory_bytes: int | None  # None = not known
    gpus: dict[str, str] = field(default_factory=dict)  # uuid -> model name
    replicas: int = 0
    cpu_milli: int = 0  # all of the node's; 0 = not known

    def take(self, memory_bytes: int, gpus: Iterable[str]) -> None:
        """Note that a replica has its place here."""
        self.replicas += 1
        if self.memory_bytes is not None:
            self.memory_bytes -= memory_bytes
        for uuid in gpus:
            self.gpus.pop(uuid, None)

    def give(self, memory_bytes: int, gpus: Mapping[str, str]) -> None:
        """Note that a replica has left its place, or will have."""
        self.replicas -= 1
        if self.memory_bytes is not None:
            self.memory_bytes += memory_bytes
        self.gpus.update(gpus)

    def copy(self) -> "Room":
        """Return a room that changes without this one."""
        return Room(self.node, self.memory_bytes, dict(self.gpus), self.replicas, self.cpu_milli)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replica goes."""

    node: str
    gpus: tuple[str, ...] = ()


# All of a version that decides where it fits.
_Shape = tuple[int, tuple[str, ...], Device, int, int]


def rooms(
    nodes: Iterable[Node], replicas: Iterable[Replica], served: Mapping[str, Served]
) -> dict[str, Room]:
    """Return what is left of each node; a replica holds its place until it is gone, draining or not."""
    left = {
        node.id: Room(node.id, node.memory_bytes or None, dict(node.gpus), cpu_milli=node.cpu_milli)
        for node in nodes
    }
    for replica in replicas:
        room = left.get(replica.node)
        if room is not None and replica.state != "failed":
            version = served.get(replica.version)
            room.take(version.memory_bytes if version else 0, replica.gpus)
    return left


def place(served: Served, left: Mapping[str, Room], has_gpus: bool) -> Place | None:
    """Return where the next replica goes and take the room, or None when it fits nowhere."""
    spot = best_place(served, left, has_gpus)
    if spot is not None:
        left[spot.node].take(served.memory_bytes, spot.gpus)
    return spot


def best_place(served: Served, left: Mapping[str, Room], has_gpus: bool) -> Place | None:
    """Return where the next replica would go, or None when it fits nowhere."""
    gpu_count = gpus_needed(served, has_gpus)
    best: tuple[tuple[int, int, int], Room, tuple[str, ...]] | None = None
    for room in left.values():
        gpus = fitting(served, gpu_count, room)
        if gpus is None:
            continue
        # Without need of a GPU the GPU nodes are left alone, where there are others.
        key = (
            len(room.gpus) if gpu_count else -len(room.gpus),
            room.memory_bytes or 0,
            -room.replicas,
        )
        if best is None or key > best[0] or (key == best[0] and room.node < best[1].node):
            best = (key, room, gpus)
    return None if best is None else Place(best[1].node, best[2])


def gpus_needed(served: Served, has_gpus: bool) -> int:
    """Return how many GPUs a replica takes: none where no node has any, unless it insists."""
    return served.gpu_count if has_gpus or served.device == "cuda" else 0


def fitting(served: Served, gpu_count: int, room: Room) -> tuple[str, ...] | None:
    """Return the GPUs that a replica would take in this room, None when it does not fit."""
    if not _is_big_enough(room, served):
        return None
    return fitting_gpus(room, gpu_count, served.gpu_names)


def fitting_gpus(room: Room, count: int, names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return free GPUs of one model, the most preferred that suffices, or None."""
    if not count:
        return ()
    by_model: dict[str, list[str]] = {}
    for uuid, model in sorted(room.gpus.items()):
        by_model.setdefault(model, []).append(uuid)
    for name in names or ("",):
        for model, uuids in by_model.items():
            if len(uuids) >= count and is_model(model, name):
                return tuple(uuids[:count])
    return None


def is_model(model: str, name: str) -> bool:
    """Say whether a device's model is the one a person named: "L4" is "NVIDIA L4" and not "NVIDIA L40S"."""
    return _words(name) <= _words(model)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def _is_big_enough(room: Room, served: Served) -> bool:
    memory_bytes = served.memory_bytes
    if room.cpu_milli and room.cpu_milli < served.cpu_milli:
        return False
    return not memory_bytes or room.memory_bytes is None or room.memory_bytes >= memory_bytes


class Rooms:
    """What is left of all nodes: now, and once what drains is gone. Room can be held for who waits for it."""

    def __init__(
        self, nodes: Sequence[Node], replicas: Sequence[Replica], served: Mapping[str, Served]
    ) -> None:
        self.left = rooms(nodes, replicas, served)
        self.coming = {node: room.copy() for node, room in self.left.items()}
        self.has_gpus = any(node.gpus for node in nodes)
        self.held: dict[str, Place] = {}  # version -> the room it waits for
        self._free: dict[str, dict[str, str]] = {}  # version -> GPUs it waits for that are free
        self._models = {node.id: dict(node.gpus) for node in nodes}
        self._served = served
        self._gains = 0  # times that there was more room
        self._full: dict[_Shape, int] = {}  # what did not fit, after how many gains
        self._full_to_come: dict[_Shape, int] = {}
        for replica in replicas:
            if replica.state == "draining":
                self.drains(replica)

    def drains(self, replica: Replica) -> None:
        """Note that a replica will be gone."""
        room = self.coming.get(replica.node)
        if room is not None:
            self._gains += 1
            room.give(self.memory_of(replica), self.devices_of(replica))

    def memory_of(self, replica: Replica) -> int:
        """Return the memory a replica holds; what nobody serves any more is not known to hold any."""
        version = self._served.get(replica.version)
        return version.memory_bytes if version else 0

    def devices_of(self, replica: Replica) -> dict[str, str]:
        """Return the GPUs a replica holds, with their models."""
        models = self._models.get(replica.node, {})
        return {uuid: models[uuid] for uuid in replica.gpus if uuid in models}

    def place(self, served: Served) -> Place | None:
        """Return where a replica goes now and take the room, or None when it fits nowhere."""
        spot = self._best(served, self.left, self._full)
        if spot is not None:
            self.left[spot.node].take(served.memory_bytes, spot.gpus)
            self.coming[spot.node].take(served.memory_bytes, spot.gpus)
        return spot

    def place_to_come(self, served: Served) -> Place | None:
        """Return where a replica goes once what drains is gone, or None when it will fit nowhere."""
        return self._best(served, self.coming, self._full_to_come)

    def _best(
        self, served: Served, left: Mapping[str, Room], full: dict[_Shape, int]
    ) -> Place | None:
        # Many that need the same may find no room: it is looked for once, until there is more.
        shape = (
            *(served.gpu_count, served.gpu_names, served.device),
            *(served.memory_bytes, served.cpu_milli),
        )
        if full.get(shape) == self._gains:
            return None
        spot = best_place(served, left, self.has_gpus)
        if spot is None:
            full[shape] = self._gains
        return spot

    def keep(self, served: Served, spot: Place) -> bool:
        """Hold room for a version, so that nobody else takes what of it is free; False when others have it."""
        room = self.coming.get(spot.node)
        if room is None or len(spot.gpus) != gpus_needed(served, self.has_gpus):
            return False
        if not room.gpus.keys() >= set(spot.gpus) or not _is_big_enough(room, served):
            return False
        left = self.left[spot.node]
        self.held[served.key] = spot
        self._free[served.key] = {u: left.gpus[u] for u in spot.gpus if u in left.gpus}
        left.take(served.memory_bytes, spot.gpus)
        room.take(served.memory_bytes, spot.gpus)
        return True

    def free_of(self, key: str) -> int:
        """Return how many of the GPUs that a version waits for are free already."""
        return len(self._free[key])

    def release(self, served: Served) -> Place | None:
        """Keep the room no longer; return it."""
        spot = self.held.pop(served.key, None)
        if spot is not None:
            self._gains += 1
            models = self._models[spot.node]
            self.left[spot.node].give(served.memory_bytes, self._free.pop(served.key))
            self.coming[spot.node].give(served.memory_bytes, {u: models[u] for u in spot.gpus})
        return spot
