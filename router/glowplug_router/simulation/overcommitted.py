"""Is more given of a node or a device than there is? Counted from the records alone, by none of the planner's code."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from glowplug_router.records.devices import DeviceNeeds, DeviceSlot
from glowplug_router.records.observed import Node, Replica, Served


def overcommitted(
    nodes: Sequence[Node], replicas: Sequence[Replica], served: Mapping[str, Served]
) -> Iterator[str]:
    """Yield what is given twice, node by node."""
    by_node: dict[str, list[tuple[Served | None, tuple[str, ...]]]] = {}
    for replica in replicas:
        version = served.get(replica.version)
        by_node.setdefault(replica.node, []).append((version, replica.gpus))
        for part in replica.parts:
            by_node.setdefault(part.node, []).append((version, part.gpus))
    for node in nodes:
        there = by_node.get(node.id, [])
        memory_bytes = sum(version.memory_bytes for version, _ in there if version)
        if memory_bytes > node.memory_bytes:
            yield f"{node.id}: {memory_bytes >> 20} MiB given"
        yield from _devices(node, there)


def _devices(node: Node, there: Sequence[tuple[Served | None, tuple[str, ...]]]) -> Iterator[str]:
    slots = {slot.uuid: slot for slot in node.devices}
    parents = {slot.parent for slot in node.devices}
    shares, memory, holders = Counter[str](), Counter[str](), Counter[str]()
    for version, uuid in [(version, uuid) for version, uuids in there for uuid in uuids]:
        holders[uuid] += 1
        share, size = _wanted(version, slots[uuid]) if uuid in slots else (0, 0)
        shares[uuid] += share
        memory[uuid] += size
    for uuid in sorted(parents & holders.keys()):
        yield f"{node.id}: {uuid} is given, and is cut in slices"
    for uuid in [uuid for uuid, count in holders.items() if uuid not in slots and count > 1]:
        yield f"{node.id}: {uuid} is given {holders[uuid]} times"
    for uuid, slot in slots.items():
        if shares[uuid] > slot.share_permille or memory[uuid] > slot.memory_bytes > 0:
            yield f"{node.id}: {shares[uuid]} permille and {memory[uuid]} bytes given of {uuid}"


def _wanted(version: Served | None, slot: DeviceSlot) -> tuple[int, int]:
    whole = slot.share_permille
    if version is None:
        return whole, 0
    for needs in version.needs:
        if _may_be(needs, slot):
            share = whole if needs.profile else min(needs.share_permille, whole)
            return share, needs.memory_bytes
    return whole, 0


def _may_be(needs: DeviceNeeds, slot: DeviceSlot) -> bool:
    if needs.kind != slot.kind or needs.profile not in ("", slot.profile):
        return False
    is_large = needs.profile != "" or slot.share_permille >= needs.share_permille
    is_model = not needs.models or any(name.lower() in slot.model.lower() for name in needs.models)
    return is_large and is_model and not 0 < slot.memory_bytes < needs.memory_bytes
