"""What can happen to a rank, and what can it have to do? The words of the machine in `lifecycle`.

Durations are nanoseconds from now; `busy` says that calls are in flight.
"""

from dataclasses import dataclass
from typing import Literal

Reason = Literal["", "stop", "scale", "deploy", "lease"]

# -- events: what happened ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Began:
    """The sockets stand; nothing of the user's code has run."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The user's module is imported and its endpoint found."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """on.load returned."""


@dataclass(frozen=True, slots=True)
class Warmed:
    """on.warm returned, or the examples were answered."""


@dataclass(frozen=True, slots=True)
class Checked:
    """on.check was content."""


@dataclass(frozen=True, slots=True)
class Broke:
    """A step of the start raised."""

    detail: str
    code: str = "start_failed"


@dataclass(frozen=True, slots=True)
class ComputeLost:
    """A synchronous handler ran past its time: its thread cannot be stopped."""

    detail: str
    code: str = "run_timeout"
    busy: bool = True  # other calls still run, and may finish


@dataclass(frozen=True, slots=True)
class Idled:
    """The last call in flight ended."""


@dataclass(frozen=True, slots=True)
class HooksRan:
    """on.drain and on.unload returned (or raised: that is logged and changes nothing here)."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """SIGTERM arrived."""

    busy: bool


@dataclass(frozen=True, slots=True)
class Ticked:
    """`due_ns` was reached."""

    busy: bool


@dataclass(frozen=True, slots=True)
class Pinged:
    """PING: the agent is there and renews the lease."""

    epoch: int
    lease_ns: int


@dataclass(frozen=True, slots=True)
class StatsAsked:
    """STATS: the agent wants to know."""

    epoch: int


@dataclass(frozen=True, slots=True)
class DrainAsked:
    """DRAIN: take no more calls, finish, end. `deadline_ns` is a duration; 0 = the default."""

    epoch: int
    busy: bool
    deadline_ns: int = 0
    reason: Reason = "stop"


@dataclass(frozen=True, slots=True)
class SwapAsked:
    """LOAD: become another version in place."""

    epoch: int


Command = Pinged | StatsAsked | DrainAsked | SwapAsked
Event = (
    Began
    | Imported
    | Loaded
    | Warmed
    | Checked
    | Broke
    | ComputeLost
    | Idled
    | HooksRan
    | Terminated
    | Ticked
    | Command
)

# -- effects: what to do -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunImport:
    """Import the user's module."""


@dataclass(frozen=True, slots=True)
class RunLoad:
    """Make the instance and run on.load."""


@dataclass(frozen=True, slots=True)
class RunWarm:
    """Run on.warm, or the examples through the endpoint."""


@dataclass(frozen=True, slots=True)
class RunCheck:
    """Run on.check."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell every link the state: HELLO again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer the command at hand with the statistics."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse the command at hand."""

    detail: str
    code: str = "conflict"


@dataclass(frozen=True, slots=True)
class Swap:
    """Load the new code beside the old, and answer the command at hand when that is done."""


@dataclass(frozen=True, slots=True)
class CancelCalls:
    """Cancel what is still in flight."""


@dataclass(frozen=True, slots=True)
class RunHooks:
    """Run on.drain, then on.unload."""

    reason: Reason
    deadline_ns: int  # a duration


@dataclass(frozen=True, slots=True)
class Exit:
    """End the process."""

    code: int


Effect = (
    RunImport
    | RunLoad
    | RunWarm
    | RunCheck
    | Announce
    | Answer
    | Refuse
    | Swap
    | CancelCalls
    | RunHooks
    | Exit
)
