"""Which replica takes which call, and which call waits, and which is refused?

A state machine without clock, I/O or chance: `step(state, event, now_ns) -> effects`. The gateway feeds it what happens
and carries out the effects; the simulator runs the very same function in virtual time.

What the driver owes: one `CallEnded` or `CallRefused` for each `Send` (a `Lost` stands for it when the replica went),
`ReplicaLost` for every link that closes, and a `Tick` when `state.next_due_ns` is reached; a late one does no harm, as
every step first expires what is due. A deadline that passes while a call runs is the driver's to answer; it then says
`CallCancelled`, and the permit stays taken until `CallEnded`.
"""

from glowplug_router.dispatch.events import (
    Again,
    CallArrived,
    CallBegan,
    CallCancelled,
    CallEnded,
    CallRefused,
    Cancel,
    Effect,
    Event,
    Lost,
    Refuse,
    ReplicaLeaving,
    ReplicaLost,
    ReplicaReady,
    Send,
    Tick,
    VersionGone,
    VersionSet,
    Wake,
)
from glowplug_router.dispatch.fleet import ATTEMPTS_MAX
from glowplug_router.dispatch.health import PENALTY_MAX_NS, PENALTY_NS
from glowplug_router.dispatch.limits import EXPIRE_PER_STEP, WAKE_EVERY_NS
from glowplug_router.dispatch.machine import step
from glowplug_router.dispatch.room import QUEUE_PER_PERMIT
from glowplug_router.dispatch.state import DispatchState

__all__ = [
    "ATTEMPTS_MAX",
    "EXPIRE_PER_STEP",
    "PENALTY_MAX_NS",
    "PENALTY_NS",
    "QUEUE_PER_PERMIT",
    "WAKE_EVERY_NS",
    "Again",
    "CallArrived",
    "CallBegan",
    "CallCancelled",
    "CallEnded",
    "CallRefused",
    "Cancel",
    "DispatchState",
    "Effect",
    "Event",
    "Lost",
    "Refuse",
    "ReplicaLeaving",
    "ReplicaLost",
    "ReplicaReady",
    "Send",
    "Tick",
    "VersionGone",
    "VersionSet",
    "Wake",
    "step",
]
