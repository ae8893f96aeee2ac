"""Which devices of a room would a replica get?

Whole devices, or a share of each: then those that are shared already come first, the fullest that still does, so that
whole ones stay whole. Never is more of a device given than it has, in share or in memory.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from glowplug_router.policy.packing.rooms import Rack, Room, Use, Uses
from glowplug_router.records.devices import WHOLE, DeviceNeeds, DeviceSlot
from glowplug_router.records.observed import Served

CRITICAL_SHARE_MAX = (
    800  # of one device for versions in a hurry, where there are several: router.md §5.7
)
LAYOUTS_KEPT = 16384  # (node, needs) pairs that are remembered
MODELS_KEPT = 4096
_NOTHING = Use(0, 0)

# Devices that would do, by uuid and apart where they may not be mixed; the most preferred first.
Pools = tuple[tuple[tuple[str, ...], ...], ...]


def asked(served: Served, has_devices: bool) -> tuple[DeviceNeeds, ...]:
    """Return what devices would do: none where no node has any, unless the version insists on them."""
    if not has_devices and served.device != "cuda":
        return ()
    return served.needs or _whole_gpus(served.gpu_count, served.gpu_names)


@lru_cache(MODELS_KEPT)
def _whole_gpus(count: int, models: tuple[str, ...]) -> tuple[DeviceNeeds, ...]:
    return (DeviceNeeds(count=count, models=models),) if count else ()


def uses_of(served: Served | None, rack: Rack, uuids: tuple[str, ...]) -> Uses:
    """Return what a replica has of each of its devices; those that the node has no more are passed over.

    It has all of them where nobody knows its version any more.
    """
    if served is None or not served.needs:
        whole = rack.whole
        return {uuid: whole[uuid] for uuid in uuids if uuid in whole}
    return {uuid: _use_of(served, rack, uuid) for uuid in uuids if uuid in rack.slots}


def _use_of(served: Served, rack: Rack, uuid: str) -> Use:
    slot = rack.slots[uuid]
    for needs in served.needs:
        if suits(slot, needs):
            return asked_use(served, needs, slot)
    return rack.whole[uuid]


def asked_use(served: Served, needs: DeviceNeeds, slot: DeviceSlot) -> Use:
    """Return what a replica would take of a device that suits it."""
    if needs.profile or needs.share_permille >= slot.share_permille:
        return Use(slot.share_permille, slot.memory_bytes)
    in_a_hurry = served.policy.priority in ("critical", "interactive")
    share = max(1, needs.share_permille)
    return Use(share, needs.memory_bytes, share if in_a_hurry else 0)


def fitting(
    served: Served, needs: DeviceNeeds, pools_by_choice: Pools, room: Room
) -> tuple[str, ...] | None:
    """Return the devices that a replica would get in this room, None when there are not enough."""
    slots, used = room.site.rack.slots, room.used
    for pools in pools_by_choice:
        best: tuple[str, ...] | None = None
        for pool in pools:
            if needs.share_permille >= WHOLE or needs.profile:
                # Whole devices have been asked for: most plans ask for nothing else, and this takes half the time.
                free = [uuid for uuid in pool if uuid not in used] if used else pool
            else:
                free = [u for u in pool if has_room(served, needs, slots[u], used.get(u))]
                free.sort(key=lambda uuid: (-used.get(uuid, _NOTHING).share_permille, uuid))
            if len(free) >= needs.count and (best is None or free[0] < best[0]):
                best = tuple(free[: needs.count])
        if best is not None:
            return best
    return None


def has_room(served: Served, needs: DeviceNeeds, slot: DeviceSlot, used: Use | None) -> bool:
    """Say whether a replica finds what it needs on a device that suits it, beside what is there."""
    if used is None:
        return True
    use = asked_use(served, needs, slot)
    if used.share_permille + use.share_permille > slot.share_permille:
        return False
    if use.critical_permille and used.critical_permille:
        both = used.critical_permille + use.critical_permille
        if both * WHOLE > CRITICAL_SHARE_MAX * slot.share_permille:
            return False
    # Where the size is not known, nobody can say that a second one fits.
    return used.memory_bytes + use.memory_bytes <= slot.memory_bytes


def suits(slot: DeviceSlot, needs: DeviceNeeds) -> bool:
    """Say whether a device would do if nobody else had anything of it."""
    if slot.kind != needs.kind or slot.profile != (needs.profile or slot.profile):
        return False
    if slot.memory_bytes and slot.memory_bytes < needs.memory_bytes:
        return False
    if not needs.profile and slot.share_permille < needs.share_permille:
        return False
    return any(is_model(slot.model, name) for name in needs.models or ("",))


@lru_cache(LAYOUTS_KEPT)
def pools_of(rack: Rack, alternatives: tuple[DeviceNeeds, ...]) -> tuple[Pools, ...]:
    """Return the devices that would do if all were free, for each of the alternatives.

    A device that several of them suit is the first one's, so that what a replica has of it never depends on more than
    its version.
    """
    taken: set[str] = set()
    found: list[Pools] = []
    for needs in alternatives:
        mine = {u: slot for u, slot in rack.slots.items() if u not in taken and suits(slot, needs)}
        choices = (tuple(_apart(mine, needs, name)) for name in needs.models or ("",))
        found.append(tuple(pools for pools in choices if pools))
        taken |= mine.keys()
    return tuple(found)


def _apart(
    slots: Mapping[str, DeviceSlot], needs: DeviceNeeds, name: str
) -> Iterator[tuple[str, ...]]:
    found: dict[tuple[str, str], list[str]] = {}
    for uuid, slot in slots.items():
        if is_model(slot.model, name):
            group = slot.group if needs.is_gang or needs.over_nodes else ""
            found.setdefault((slot.model, group), []).append(uuid)
    for uuids in found.values():
        if len(uuids) >= needs.count or needs.over_nodes:
            yield tuple(uuids)


@lru_cache(MODELS_KEPT)
def is_model(model: str, name: str) -> bool:
    """Say whether a device's model is the one a person named: "L4" is "NVIDIA L4" and not "NVIDIA L40S"."""
    return _words(name) <= _words(model)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))
