"""What is done next? Actions, each with the moment from which it is too late and with what must still be so.

A plan is made of what was, and writing it down takes a moment: an action is checked again before it is carried out.
"""

from dataclasses import dataclass
from typing import Literal

from glowplug_router.records.devices import Part
from glowplug_router.records.memory import Memory
from glowplug_router.records.stored import Explain

Precondition = Literal[
    "is_wanted",  # its version has traffic or is tried out, its node is there, and no replica has its id yet
    "is_tried_out",  # its version is tried out, and the replica that becomes it is there
    "is_there",  # the replica is there, or the machine
    "is_absent",  # no machine has its name, or one that is stopped
    "is_empty",  # the machine is there, and nothing runs on it or is meant to
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """An action that is checked again before it is carried out, and dropped when it no longer holds."""

    deadline_ns: int = 0  # monotonic time after which it is not begun any more; 0 = never too late
    precondition: Precondition = "is_there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Guarded):
    """Have a replica of this version on this node."""

    id: str  # intent id
    replica: str
    version: str
    node: str
    gpus: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain(Guarded):
    """Let a replica finish and end."""

    id: str
    replica: str
    drain_ns: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(Guarded):
    """Drop a replica that is gone: failed, or on a node that was lost."""

    id: str
    replica: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap(Guarded):
    """Dev: let a running replica become another version in place, its loaded state kept."""

    id: str
    replica: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch(Guarded):
    """Have a machine of an offer, or start a stopped one again."""

    id: str  # intent id
    node: str
    offer: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate(Guarded):
    """Give a machine back; `stop` keeps its disk, to be started again sooner."""

    id: str
    node: str
    reason: str
    stop: bool = False


OnReplica = Start | Drain | Forget | Swap
OnMachine = Launch | Terminate
Action = OnReplica | OnMachine


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do now, what to remember, why, and when to look again at the latest."""

    actions: tuple[Action, ...]
    memory: Memory
    explain: tuple[Explain, ...]
    wake_ns: int | None = (
        None  # monotonic time at which the answer may change with no new event; None = never
    )
