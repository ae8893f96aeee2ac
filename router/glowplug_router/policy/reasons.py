"""How is it said what a version needs and does not find? Words with the numbers in them."""

from collections.abc import Iterable
from itertools import islice

from glowplug_router.policy.packing.devices import asked
from glowplug_router.policy.packing.rooms import Room
from glowplug_router.policy.placement import Rooms
from glowplug_router.records.devices import WHOLE, DeviceNeeds
from glowplug_router.records.observed import Served

_NOUNS = {"nvidia": "GPU"}  # other kinds are called what they are
NODES_MAX = 4  # named in one sentence


def needs_text(served: Served) -> str:
    """Return what one replica needs: "1 GPU (L4), 2 CPUs, 512 MiB"."""
    devices = " or ".join(map(_devices_text, asked(served, has_devices=True)))
    gpus = f"{devices}, " if devices else ""
    cpus = f"{_cpus(served.cpu_milli)}, " if served.cpu_milli else ""
    return f"{gpus}{cpus}{served.memory_bytes >> 20} MiB"


def _devices_text(needs: DeviceNeeds) -> str:
    names = needs.profile or " or ".join(needs.models) or "any"
    share = f"{needs.share_permille / 10:g} % of " if needs.share_permille < WHOLE else ""
    memory = f", {needs.memory_bytes >> 20} MiB of each" if needs.memory_bytes else ""
    together = " of one group" if needs.is_gang or needs.over_nodes else ""
    return f"{share}{needs.count} {_NOUNS.get(needs.kind, needs.kind)} ({names}){together}{memory}"


def _noun(served: Served) -> str:
    kinds = sorted({needs.kind for needs in served.needs} or {"nvidia"})
    return " or ".join(_NOUNS.get(kind, kind) for kind in kinds)


def no_room_text(served: Served, missing: int, left: Iterable[Room]) -> str:
    """Return what is missing and what is free."""
    free = "; ".join(_free_text(room, served) for room in islice(left, NODES_MAX))
    return f"{missing} more wanted, each with {needs_text(served)}; {free}"


def waits_text(served: Served, rooms: Rooms) -> str:
    """Return which room is kept for a version until what drains there is gone."""
    spot = rooms.held[served.key]
    free = rooms.free_of(served.key)
    count = sum(len(part.gpus) for part in spot.all_parts)
    gpus = f", {free} of {count} GPU free so far" if count else ""
    nodes = ", ".join(part.node for part in spot.all_parts[:NODES_MAX])
    return f"needs {needs_text(served)}; has it on {nodes} when what drains there has ended{gpus}"


def _free_text(room: Room, served: Served) -> str:
    memory_mib = max(0, room.memory_bytes or 0) >> 20
    # They are not given away, so they are worth a word only where more were asked for than there are.
    cpus = f", has {_cpus(room.cpu_milli)}" if 0 < room.cpu_milli < served.cpu_milli else ""
    return f"{room.node}: {room.free} {_noun(served)} free, {memory_mib} MiB free{cpus}"


def _cpus(cpu_milli: int) -> str:
    return f"{cpu_milli / 1000:g} CPUs"
