"""How is it said what a version needs and does not find? Words with the numbers in them."""

from collections.abc import Iterable
from itertools import islice

from glowplug_router.policy.placement import Room, Rooms
from glowplug_router.records import Served

NODES_MAX = 4  # named in one sentence


def needs_text(served: Served) -> str:
    """Return what one replica needs: "1 GPU (L4), 512 MiB"."""
    names = " or ".join(served.gpu_names) or "any"
    gpus = f"{served.gpu_count} GPU ({names}), " if served.gpu_count else ""
    return f"{gpus}{served.memory_bytes >> 20} MiB"


def no_room_text(served: Served, missing: int, left: Iterable[Room]) -> str:
    """Return what is missing and what is free."""
    free = "; ".join(_free_text(room) for room in islice(left, NODES_MAX))
    return f"{missing} more wanted, each with {needs_text(served)}; {free}"


def waits_text(served: Served, rooms: Rooms) -> str:
    """Return which room is kept for a version until what drains there is gone."""
    spot = rooms.held[served.key]
    free = rooms.free_of(served.key)
    gpus = f", {free} of {len(spot.gpus)} GPU free so far" if spot.gpus else ""
    return (
        f"needs {needs_text(served)}; has it on {spot.node} when what drains there has ended{gpus}"
    )


def _free_text(room: Room) -> str:
    return (
        f"{room.node}: {len(room.gpus)} GPU free, {max(0, room.memory_bytes or 0) >> 20} MiB free"
    )
