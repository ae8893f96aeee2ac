"""What is left of a node? Memory, and of each device its share and its memory; never less than nothing is given."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from glowplug_router.records.capacity import Offer
from glowplug_router.records.devices import DeviceSlot
from glowplug_router.records.observed import Node

NOBODYS: Mapping[str, str] = MappingProxyType({})
NODES_KEPT = 8192  # layouts of nodes that are remembered: more than one planner has nodes


class Use(NamedTuple):
    """What one device gives away: to one replica, or to all that are on it."""

    share_permille: int
    memory_bytes: int
    critical_permille: int = 0  # of the share, what versions get that are in a hurry

    def plus(self, other: "Use", sign: int = 1) -> "Use":
        """Return both together, or without the other one."""
        return Use(
            self.share_permille + sign * other.share_permille,
            self.memory_bytes + sign * other.memory_bytes,
            self.critical_permille + sign * other.critical_permille,
        )


Uses = Mapping[str, Use]  # by uuid


@dataclass(frozen=True, slots=True, eq=False)
class Rack:
    """The devices of a node as they are when nothing runs. Compared by identity: equal ones are the same one."""

    slots: Mapping[str, DeviceSlot]  # in the order of their uuids
    kinds: frozenset[str]
    whole: Uses  # all of each


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """All of a node that does not change while a plan is made."""

    node: str
    zone: str
    cpu_milli: int  # 0 = not known
    rack: Rack
    holds: frozenset[str]
    is_open: bool  # replicas may start here: it is neither on its way, nor stopped, nor leaving
    is_launched: bool  # it goes back when it is empty
    host: str  # the need that it was launched for; "" = anybody's
    price_micro_usd: int  # an hour of it; 0 = it is there anyway
    speed_permille: int  # of its devices as its offer says; 0 = each says its own


@dataclass(slots=True)
class Room:
    """What is left of a node. Changes while one plan places several replicas."""

    site: Site
    memory_bytes: int | None  # None = not known
    used: dict[str, Use] = field(default_factory=dict)  # of devices; those left out are free
    replicas: int = 0

    @property
    def node(self) -> str:
        """Return the node's id."""
        return self.site.node

    @property
    def cpu_milli(self) -> int:
        """Return all CPUs of the node; 0 = not known."""
        return self.site.cpu_milli

    @property
    def free(self) -> int:
        """Return how many devices nobody has anything of."""
        return len(self.site.rack.slots) - len(self.used)

    def take(self, memory_bytes: int, uses: Uses) -> None:
        """Note that a replica has its place here."""
        self.replicas += 1
        if self.memory_bytes is not None:
            self.memory_bytes -= memory_bytes
        for uuid, use in uses.items():
            before = self.used.get(uuid)
            self.used[uuid] = use if before is None else before.plus(use)

    def give(self, memory_bytes: int, uses: Uses) -> None:
        """Note that a replica has left its place, or will have."""
        self.replicas -= 1
        if self.memory_bytes is not None:
            self.memory_bytes += memory_bytes
        for uuid, use in uses.items():
            left = self.used.pop(uuid).plus(use, -1)
            if left.share_permille:
                self.used[uuid] = left

    def copy(self) -> "Room":
        """Return a room that changes without this one."""
        return Room(self.site, self.memory_bytes, dict(self.used), self.replicas)


def empty_rooms(
    nodes: Iterable[Node], offers: Iterable[Offer] = (), hosts: Mapping[str, str] = NOBODYS
) -> dict[str, Room]:
    """Return all of each node; `hosts` says which need each was launched for."""
    known = {offer.id: offer for offer in offers}
    return {
        node.id: Room(
            _site(node, known.get(node.offer), hosts.get(node.id, "")), node.memory_bytes or None
        )
        for node in nodes
    }


def _site(node: Node, offer: Offer | None, host: str) -> Site:
    return Site(
        node=node.id,
        zone=node.zone,
        cpu_milli=node.cpu_milli,
        rack=_rack(node.devices) if node.devices else _rack_of_gpus(node.gpus),
        holds=frozenset(node.holds),
        is_open=node.state == "ready" and not node.leaves_ns,
        is_launched=bool(node.offer),
        host=host,
        price_micro_usd=offer.price_micro_usd if offer else 0,
        speed_permille=offer.speed_permille if offer else 0,
    )


@lru_cache(NODES_KEPT)
def _rack_of_gpus(gpus: tuple[tuple[str, str], ...]) -> Rack:
    return _rack(tuple(DeviceSlot(uuid=uuid, model=model) for uuid, model in gpus))


@lru_cache(NODES_KEPT)
def _rack(devices: tuple[DeviceSlot, ...]) -> Rack:
    # A GPU that is cut in slices runs nothing itself (NVIDIA MIG user guide): only its slices are there.
    parents = {slot.parent for slot in devices}
    slots = {slot.uuid: slot for slot in sorted(devices, key=_uuid) if slot.uuid not in parents}
    whole = {uuid: Use(slot.share_permille, slot.memory_bytes) for uuid, slot in slots.items()}
    return Rack(slots, frozenset(slot.kind for slot in slots.values()), whole)


def _uuid(slot: DeviceSlot) -> str:
    return slot.uuid
