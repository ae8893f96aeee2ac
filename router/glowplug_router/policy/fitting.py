"""Could this version ever run here? Whether a node would hold one replica of it if nothing else were there."""

from collections import Counter
from collections.abc import Iterable, Sequence

from glowplug_router.policy.capacity.needs import shape_of
from glowplug_router.policy.capacity.offers import units_of
from glowplug_router.policy.packing.devices import asked, suits
from glowplug_router.policy.packing.rooms import Room
from glowplug_router.policy.placement import best_place, rooms
from glowplug_router.policy.reasons import needs_text, no_room_text
from glowplug_router.records.capacity import Offer
from glowplug_router.records.devices import DeviceSlot
from glowplug_router.records.observed import Node, Served


def never_fits(served: Served, nodes: Sequence[Node], offers: Iterable[Offer] = ()) -> str:
    """Return why no node could hold a replica even when empty, "" when one could or when no node is known.

    A node that could be launched is as good as one that is there.
    """
    offers = tuple(offers)
    kinds_offered = frozenset(kind for offer in offers for kind, _ in offer.devices)
    if any(units_of(offer, shape_of(served, offers, kinds_offered)) for offer in offers):
        return ""
    empty = rooms(nodes, (), {})
    wanted = asked(served, has_devices=True)
    kinds = {needs.kind for needs in wanted}
    has_devices = any(not kinds.isdisjoint(room.site.rack.kinds) for room in empty.values())
    if not nodes or best_place(served, empty, has_devices) is not None:
        return ""
    if wanted and not has_devices:
        names = " or ".join("GPU" if kind == "nvidia" else kind for kind in sorted(kinds))
        return f'no node here has a {names}; device="auto" runs without one'
    slots = [slot for room in empty.values() for slot in room.site.rack.slots.values()]
    if wanted and not any(_has_enough(served, room) for room in empty.values()):
        there = ", ".join(sorted({_name(slot) for slot in slots}))
        return f"it needs {needs_text(served)}, and no node has that: there is {there}"
    return f"no node is big enough, even when empty: {no_room_text(served, 1, empty.values())}"


def _has_enough(served: Served, room: Room) -> bool:
    """Say whether a node has as many devices of one model as one of the alternatives asks for."""
    slots = room.site.rack.slots.values()
    return any(
        _most(slot.model for slot in slots if suits(slot, needs)) >= needs.count
        for needs in asked(served, has_devices=True)
    )


def _most(models: Iterable[str]) -> int:
    return max(Counter(models).values(), default=0)


def _name(slot: DeviceSlot) -> str:
    return slot.model or slot.kind
