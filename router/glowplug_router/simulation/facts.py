"""What do the parts of a simulation tell its checkers?"""

from dataclasses import dataclass

from glowplug.spec import Class
from glowplug_router.dispatch import DispatchState, VersionSet
from glowplug_router.records.decided import Plan
from glowplug_router.records.observed import Demand, Observed


@dataclass(frozen=True, slots=True)
class Accepted:
    """The gateway took a call in; it owes an answer."""

    call: int
    version: str
    due_ns: int
    deadline_ns: int = 0
    tenant: str = ""
    klass: Class = "standard"
    is_nested: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """The caller got an answer, or went away."""

    call: int
    code: str


@dataclass(frozen=True, slots=True)
class Linked:
    """The gateway linked to a replica."""

    replica: str
    permits: int
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class Unlinked:
    """A replica is leaving, or its link broke: no call may be sent to it from now on."""

    replica: str
    is_lost: bool


@dataclass(frozen=True, slots=True)
class Sent:
    """The dispatcher had a call sent."""

    call: int
    replica: str


@dataclass(frozen=True, slots=True)
class Freed:
    """A call is no longer at a replica: ended, refused, or lost with it."""

    call: int
    replica: str
    service_ns: int = 0  # it ran for so long; 0 = it was refused


@dataclass(frozen=True, slots=True)
class Told:
    """The dispatcher heard of a version's limits."""

    version: VersionSet


@dataclass(frozen=True, slots=True)
class Stepped:
    """The dispatcher took a step."""

    state: DispatchState


@dataclass(frozen=True, slots=True)
class Planned:
    """The planner decided, on this."""

    observed: Observed
    demand: tuple[Demand, ...]
    plan: Plan


@dataclass(frozen=True, slots=True)
class Commanded:
    """An agent obeyed a command."""

    node: str
    epoch: int


@dataclass(frozen=True, slots=True)
class RankRuns:
    """A rank began to run a call; so many run on it now."""

    replica: str
    call: int
    running: int
    permits: int


@dataclass(frozen=True, slots=True)
class RankDone:
    """A rank runs a call no more."""

    replica: str
    call: int


Fact = (
    Accepted
    | Answered
    | Linked
    | Unlinked
    | Sent
    | Freed
    | Told
    | Stepped
    | Planned
    | Commanded
    | RankRuns
    | RankDone
)
