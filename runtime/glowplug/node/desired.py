"""What must change so that the node has what it was told to have?

Pure: the wants of the last `Desired`, what is held, and the time go in; actions come out. Every action is safe to
repeat, and none is needed twice: what is being ended is marked so.

One thing is not a plain difference. Right after an agent was restarted, or a new controller took over, the controller
may not yet know what runs here, and an early `Desired` may leave it out. So a replica that the present controller has
never asked for is ended only after a grace; one that it did ask for, and then left out, is ended at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glowplug.clock import SECOND
from glowplug.node.messages import RankState, Want

UNCLAIMED_GRACE_NS = 30 * SECOND  # one lease: as long as a rank lives with no agent at all
UNASKED_DRAIN_NS = 10 * SECOND  # for what has left the list with no word on how long it may take

OVER: frozenset[RankState] = frozenset({"stopped", "failed"})
STARTING: frozenset[RankState] = frozenset(
    {"fetching", "building", "starting", "loading", "warming"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One replica this node has, in any state, as the decision needs it."""

    replica: str
    version: str
    state: RankState
    load_key: str = ""
    ending: bool = False  # an end is already under way
    claimed: bool = True  # the present controller has asked for it
    unclaimed_since_ns: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """Start it: nothing of that name is here."""

    want: Want


@dataclass(frozen=True, slots=True)
class Swap:
    """Let the running rank become this version, its loaded state kept."""

    want: Want


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no more calls, finish, end."""

    replica: str
    drain_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End it now: it has no calls to finish."""

    replica: str
    reason: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop what is over from the report: the controller has seen it."""

    replica: str


Action = Start | Swap | Drain | Kill | Forget


def decide(wants: Sequence[Want], held: Sequence[Held], now_ns: int) -> tuple[Action, ...]:
    """Return what to do, in order."""
    have = {one.replica: one for one in held}
    wanted = {want.replica for want in wants}
    actions: list[Action] = []
    for want in wants:
        actions += _for_want(want, have.get(want.replica))
    for one in held:
        if one.replica not in wanted:
            actions += _for_unwanted(one, now_ns)
    return tuple(actions)


def _for_want(want: Want, one: Held | None) -> Iterator[Action]:
    if one is None:
        if not want.draining:
            yield Start(want)
    elif one.state in OVER:
        # It stays in the report until the controller drops it, unless its name is to be used again.
        if one.version != want.version and not want.draining:
            yield Forget(one.replica)
            yield Start(want)
    elif one.ending:
        return
    elif want.draining:
        yield _end(one, want.drain_ns, want.reason or "scale")
    elif one.version != want.version:
        yield _become(one, want)


def _become(one: Held, want: Want) -> Action:
    keeps_state = bool(want.spec.load_key) and want.spec.load_key == one.load_key
    if want.swap and keeps_state and one.state == "ready":
        return Swap(want)
    return _end(one, want.drain_ns, "deploy")


def _for_unwanted(one: Held, now_ns: int) -> Iterator[Action]:
    if one.state in OVER:
        yield Forget(one.replica)
    elif one.ending:
        return
    elif one.claimed or now_ns - one.unclaimed_since_ns >= UNCLAIMED_GRACE_NS:
        yield _end(one, UNASKED_DRAIN_NS, "stop")


def _end(one: Held, drain_ns: int, reason: str) -> Action:
    if one.state in STARTING:
        return Kill(one.replica, reason)
    return Drain(one.replica, drain_ns, reason)
