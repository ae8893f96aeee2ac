"""What does an action do, when may it still be done, and how did it end?"""

from glowplug.clock import MINUTE
from glowplug_router.control.machines import ended, is_still_right
from glowplug_router.control.world import World
from glowplug_router.records.decided import (
    Action,
    Drain,
    Forget,
    Launch,
    OnReplica,
    Start,
    Swap,
    Terminate,
)
from glowplug_router.records.stored import Intent

INTENT_MAX_NS = 15 * MINUTE  # after that, whoever finds the intent open may give it up


def subject_of(action: Action) -> str:
    """Return the replica or the machine an action is about."""
    return action.node if isinstance(action, Launch | Terminate) else action.replica


def intent_of(action: Action, epoch: int, wall_ns: int) -> Intent:
    """Return the record of an action that is about to be carried out."""
    return Intent(
        id=action.id,
        kind=type(action).__name__.lower(),
        subject=subject_of(action),
        epoch=epoch,
        deadline_wall_ns=wall_ns + INTENT_MAX_NS,
        created_wall_ns=wall_ns,
    )


def still_right(action: Action, world: World, now_ns: int) -> bool:
    """Check an action again: a deployment or a report may have come in while its intent was written."""
    if 0 < action.deadline_ns < now_ns:
        return False
    fleet, catalog = world.fleet, world.catalog
    if isinstance(action, Launch | Terminate):
        return is_still_right(action, world.machines, fleet)
    is_there = fleet.book_of(action.replica) is not None
    match action:
        case Start(precondition="is_wanted"):
            wanted = action.version in world.trials or action.version in catalog.permille()
            return wanted and action.node in fleet.nodes and not is_there
        case Swap(precondition="is_tried_out"):
            return action.version in world.trials and is_there
        case _:
            return is_there and action.precondition == "is_there"


def carry_out(action: OnReplica, world: World) -> None:
    """Change what nodes should have; they are told afterwards."""
    fleet, versions = world.fleet, world.catalog.versions
    match action:
        case Start():
            fleet.start(action.replica, versions[action.version], action.node, action.gpus)
        case Drain():
            fleet.drain(action.replica, action.drain_ns, action.reason)
        case Forget():
            fleet.forget(action.replica)
        case Swap():
            fleet.swap(action.replica, versions[action.version])


def outcome(action: Action, world: World) -> tuple[str, str] | None:
    """Return how an action ended, None while it goes on."""
    if isinstance(action, Launch | Terminate):
        return ended(action, world.machines)
    residency = world.fleet.residency(action.replica)
    book = world.fleet.book_of(action.replica)
    match action:
        case Start() | Swap():
            if book is None:
                return "abandoned", "wanted no more"
            if residency is None or residency.version != action.version:
                return None
            if residency.state == "failed":
                return "abandoned", residency.code or "start_failed"
            return ("done", "") if residency.state == "ready" else None
        case Drain() | Forget():
            return ("done", "") if book is None else None
