"""On which node does a replica start?

Where its GPUs are free, whole and by uuid, and its memory is: the node with most of both left. A version whose device
is `auto` runs without a GPU where no node has any; `cuda` insists.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from glowplug_router.records import Node, Replica, Served


@dataclass(slots=True)
class Room:
    """What is left of a node. Changes while one plan places several replicas."""

    node: str
    memory_bytes: int | None  # None = not known
    gpus: dict[str, str] = field(default_factory=dict)  # uuid -> model name
    replicas: int = 0

    def take(self, memory_bytes: int, gpus: Iterable[str]) -> None:
        """Note that a replica has its place here."""
        self.replicas += 1
        if self.memory_bytes is not None:
            self.memory_bytes -= memory_bytes
        for uuid in gpus:
            self.gpus.pop(uuid, None)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replica goes."""

    node: str
    gpus: tuple[str, ...] = ()


def rooms(
    nodes: Iterable[Node], replicas: Iterable[Replica], served: Mapping[str, Served]
) -> dict[str, Room]:
    """Return what is left of each node; a replica holds its place until it is gone, draining or not."""
    left = {node.id: Room(node.id, node.memory_bytes or None, dict(node.gpus)) for node in nodes}
    for replica in replicas:
        room = left.get(replica.node)
        if room is not None and replica.state != "failed":
            version = served.get(replica.version)
            room.take(version.memory_bytes if version else 0, replica.gpus)
    return left


def place(served: Served, left: Mapping[str, Room], has_gpus: bool) -> Place | None:
    """Return where the next replica goes and take the room, or None when it fits nowhere."""
    gpu_count = served.gpu_count if has_gpus or served.device == "cuda" else 0
    best: tuple[tuple[int, int, int], Room, tuple[str, ...]] | None = None
    for room in left.values():
        gpus = fitting_gpus(room, gpu_count, served.gpu_names)
        if gpus is None or not _has_memory(room, served.memory_bytes):
            continue
        # Without need of a GPU the GPU nodes are left alone, where there are others.
        key = (
            len(room.gpus) if gpu_count else -len(room.gpus),
            room.memory_bytes or 0,
            -room.replicas,
        )
        if best is None or key > best[0] or (key == best[0] and room.node < best[1].node):
            best = (key, room, gpus)
    if best is None:
        return None
    best[1].take(served.memory_bytes, best[2])
    return Place(best[1].node, best[2])


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


def _has_memory(room: Room, needed_bytes: int) -> bool:
    return not needed_bytes or room.memory_bytes is None or room.memory_bytes >= needed_bytes
