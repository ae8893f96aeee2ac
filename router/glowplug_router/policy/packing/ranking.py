"""Which room is best for a replica?

In this order, the least first:

1. of versions that are spread: how many of their replicas the zone has;
2. what the replica costs there for an hour per unit of measured speed, more where artefacts must be fetched first: a
   node that holds nothing counts double, as much as the score that a move has to reach (router.md §5.7, 0.5). CPUs
   are shared on machines that are simply there, so these never fill up: without a device, each replica a CPU counts
   like a price, the least one, or else all would start on the one node that holds what they need;
3. how many artefacts must be fetched;
4. how slow the devices are;
5. which of the alternatives it is, as its owner ordered them;
6. on machines that go back when they are empty: the fullest; on those that are simply there: the emptiest, where it
   disturbs and is disturbed least. A replica that needs no device leaves machines with free ones alone.
"""

from typing import NamedTuple

from glowplug_router.policy.packing.devices import fitting, pools_of
from glowplug_router.policy.packing.rooms import Room, Site
from glowplug_router.records.devices import WHOLE, DeviceNeeds
from glowplug_router.records.observed import Served

MILLI = 1000
CPU_UNLESS_SAID_MILLI = (
    1000  # of a replica without a device, on a machine that is paid for (Ray: num_cpus=1)
)


class Seat(NamedTuple):
    """A place in one room, and how good it is: the least rank is the best."""

    rank: tuple[int, int, int, int, int, int, int, int, int, str]
    node: str
    gpus: tuple[str, ...]


def seat_in(
    room: Room,
    served: Served,
    alternatives: tuple[DeviceNeeds, ...],
    in_zone: int = 0,
) -> Seat | None:
    """Return the best place in a room, None when the replica does not fit."""
    if not is_big_enough(room, served):
        return None
    missing = sum(digest not in room.site.holds for digest in served.artefacts)
    return seat_if_big_enough(room, served, alternatives, in_zone, missing)


def seat_if_big_enough(
    room: Room,
    served: Served,
    alternatives: tuple[DeviceNeeds, ...],
    in_zone: int = 0,
    missing: int = 0,
) -> Seat | None:
    """Return the best place in a room that has the memory and the CPUs; None when its devices are others'."""
    if not alternatives:
        if not _has_cpus(room, served):
            return None
        cost = _dearer(_price_of_cpus(room.site, served), missing, served) + _crowd(room)
        memory = room.memory_bytes or 0
        fill = (room.free, memory) if room.site.is_launched else (room.free, -memory)
        rank = (in_zone, cost, missing, 0, 0, 0, *fill, room.replicas, room.node)
        return Seat(rank, room.node, ())
    if len(alternatives) == 1:
        return _seat_on_devices(room, served, alternatives, 0, in_zone, missing)
    seats = (
        _seat_on_devices(room, served, alternatives, number, in_zone, missing)
        for number in range(len(alternatives))
    )
    return min((seat for seat in seats if seat is not None), default=None)


def cpus_of(cpu_milli: int) -> int:
    """Return the CPUs that a replica without a device takes of a machine that is launched, in thousandths."""
    return cpu_milli or CPU_UNLESS_SAID_MILLI


def _has_cpus(room: Room, served: Served) -> bool:
    """Say whether CPUs are left. On machines that are simply there they are shared, whoever comes."""
    if not (room.site.is_launched and room.cpu_milli and room.replicas):
        return True
    return (room.replicas + 1) * cpus_of(served.cpu_milli) <= room.cpu_milli


def is_big_enough(room: Room, served: Served) -> bool:
    """Say whether a node takes such replicas, and has the host memory and the CPUs for this one."""
    site = room.site
    if not site.is_open or 0 < site.cpu_milli < served.cpu_milli:
        return False
    if served.need and site.host not in ("", served.need):
        return False  # it goes when those that it was launched for need it no more
    memory_bytes = served.memory_bytes
    return not memory_bytes or room.memory_bytes is None or room.memory_bytes >= memory_bytes


def _seat_on_devices(
    room: Room,
    served: Served,
    alternatives: tuple[DeviceNeeds, ...],
    number: int,
    in_zone: int,
    missing: int,
) -> Seat | None:
    needs = alternatives[number]
    site = room.site
    gpus = fitting(served, needs, pools_of(site.rack, alternatives)[number], room)
    if gpus is None:
        return None
    speed = _speed(site, needs, gpus[0]) if gpus else WHOLE
    cost = 0
    if site.price_micro_usd:
        share = min(WHOLE, needs.share_permille) * needs.count
        cost = site.price_micro_usd * share // (len(site.rack.slots) * max(1, speed))
    left = WHOLE * len(gpus)
    if needs.share_permille < WHOLE:
        left -= sum(room.used[u].share_permille for u in gpus if u in room.used)
    memory = room.memory_bytes or 0
    fill = (room.free, memory) if site.is_launched else (-room.free, -memory)
    cost = _dearer(cost, missing, served)
    rank = (in_zone, cost, missing, -speed, number, left, *fill, room.replicas, room.node)
    return Seat(rank, room.node, gpus)


def _speed(site: Site, needs: DeviceNeeds, uuid: str) -> int:
    slot = site.rack.slots[uuid]
    measured = dict(needs.speeds).get(slot.model, 0) if needs.speeds else 0
    return measured or site.speed_permille or slot.speed_permille


def _crowd(room: Room) -> int:
    return 0 if room.site.is_launched else room.replicas * MILLI // max(MILLI, room.cpu_milli)


def _price_of_cpus(site: Site, served: Served) -> int:
    return site.price_micro_usd * max(1, served.cpu_milli) // (site.cpu_milli or MILLI)


def _dearer(cost: int, missing: int, served: Served) -> int:
    all_of_them = len(served.artefacts)
    return cost * (all_of_them + missing) // all_of_them if missing else cost
