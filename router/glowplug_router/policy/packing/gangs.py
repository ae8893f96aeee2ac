"""Where do all devices of a gang find their place together, when no single node has enough of them?

All or none: nodes of one group, as few of them as will do, so the fullest offer first. Each node gives the host memory
that one replica needs, since each has a process of the gang.
"""

from collections.abc import Iterable
from typing import NamedTuple

from glowplug_router.policy.packing.devices import pools_of
from glowplug_router.policy.packing.ranking import is_big_enough
from glowplug_router.policy.packing.rooms import Room
from glowplug_router.records.devices import DeviceNeeds, Part
from glowplug_router.records.observed import Served


class _Offered(NamedTuple):
    lacking: int  # of what the whole gang needs, on this node alone
    node: str
    gpus: tuple[str, ...]


def parts_of(
    served: Served, alternatives: tuple[DeviceNeeds, ...], rooms: Iterable[Room]
) -> tuple[Part, ...]:
    """Return what the gang gets on each of its nodes, () when it finds no place."""
    wide = [number for number, needs in enumerate(alternatives) if needs.over_nodes]
    if not wide:
        return ()
    by_group: dict[tuple[int, int, str, str], list[_Offered]] = {}
    for room in rooms:
        if is_big_enough(room, served):
            for number in wide:
                _offer(room, alternatives, number, by_group)
    # The least: the alternative and the model preferred most, then the fewest nodes, then names, to be the same always.
    found = (
        (number, choice, len(parts), model, group, parts)
        for (number, choice, model, group), offered in by_group.items()
        if (parts := _filled(alternatives[number].count, offered))
    )
    best = min(found, default=None, key=lambda one: one[:5])
    return best[-1] if best is not None else ()


def _offer(
    room: Room,
    alternatives: tuple[DeviceNeeds, ...],
    number: int,
    by_group: dict[tuple[int, int, str, str], list[_Offered]],
) -> None:
    count = alternatives[number].count
    for choice, pools in enumerate(pools_of(room.site.rack, alternatives)[number]):
        for pool in pools:
            slot = room.site.rack.slots[pool[0]]
            free = tuple(uuid for uuid in pool if uuid not in room.used)
            # Without a name of its own a group ends at the node.
            if slot.group and free:
                offered = by_group.setdefault((number, choice, slot.model, slot.group), [])
                offered.append(_Offered(count - len(free), room.node, free))


def _filled(count: int, offered: list[_Offered]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for _, node, gpus in sorted(offered):
        parts.append(Part(node, gpus[:count]))
        count -= len(gpus)
        if count <= 0:
            return tuple(parts)
    return ()
