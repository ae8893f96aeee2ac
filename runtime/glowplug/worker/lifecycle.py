"""In which state is a rank, and what must it do next?

    starting ──imported──► loading ──loaded──► warming ──warmed, checked──► ready
       └─────────── a step broke, or took too long ───► failed ◄─ compute lost ─┤
                                                                                │ drain asked, SIGTERM, lease over
                         stopped ◄── hooks ran, or cut ── draining ◄────────────┘

A state machine without clock, I/O or chance: `step(state, event, now_ns) -> (state, effects)`. The process feeds it
what happens and carries out the effects; whatever is not in `TRANSITIONS` changes nothing, so that late or double
events are harmless. Two rules stand above the table: a command whose epoch is lower than one already seen is refused
(an agent that was replaced cannot command), and a rank whose lease runs out goes by itself (nobody owns it any more).

Draining has three stages: *finishing* waits for the calls in flight, *cancelling* tells those that are late to end,
*hooks* runs on.drain and on.unload. Each has an end of its own, so that a drain always ends.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from glowplug.clock import SECOND
from glowplug.node.messages import Phase, RankState
from glowplug.worker.events import (
    Announce,
    Answer,
    Began,
    Broke,
    CancelCalls,
    Checked,
    Command,
    ComputeLost,
    DrainAsked,
    Effect,
    Event,
    Exit,
    HooksRan,
    Idled,
    Imported,
    Loaded,
    Pinged,
    Reason,
    Refuse,
    RunCheck,
    RunHooks,
    RunImport,
    RunLoad,
    RunWarm,
    StatsAsked,
    Swap,
    SwapAsked,
    Terminated,
    Ticked,
    Warmed,
)

EXIT_STOPPED = 0  # drained, every call answered
EXIT_START_FAILED = 3  # import, load, warm or check broke; STATS told why
EXIT_COMPUTE_LOST = 4  # a handler never returned: its thread cannot be had back
EXIT_CUT = 5  # the drain's time ran out with calls or hooks still running

DRAIN_DEFAULT_NS = (
    30 * SECOND
)  # SIGTERM and an expired lease name no deadline; container runtimes give about as much
CANCEL_GRACE_NS = SECOND  # cancelled coroutines get this long for their `finally`
HOOKS_NS = 10 * SECOND  # on.drain and on.unload together
LINGER_NS = 5 * SECOND  # a failed rank stays this long so that the agent can ask why

Stage = Literal["", "finishing", "cancelling", "hooks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything the machine knows. `until_ns` ends the present stage of draining, or the lingering of a failure."""

    phase: RankState
    epoch: int
    lease_until_ns: int
    start_until_ns: int
    since_ns: int  # when the present step began
    phases: tuple[Phase, ...] = ()
    stage: Stage = ""
    until_ns: int = 0
    reason: Reason = ""
    code: str = ""
    detail: str = ""
    exit_code: int = EXIT_STOPPED
    awaits_calls: bool = False  # failed, but not all calls were lost with the thread


Step = tuple[State, tuple[Effect, ...]]


def first_state(epoch: int, lease_ns: int, start_ns: int, now_ns: int) -> State:
    """Return the state of a rank that has just been launched."""
    return State(
        phase="starting",
        epoch=epoch,
        lease_until_ns=now_ns + lease_ns,
        start_until_ns=now_ns + start_ns,
        since_ns=now_ns,
    )


def due_ns(state: State) -> int | None:
    """Return when the machine wants a `Ticked`, None for never."""
    match state.phase:
        case "stopped":
            return None
        case "ready":
            return state.lease_until_ns
        case "draining" | "failed":
            return state.until_ns
        case _:
            return min(state.lease_until_ns, state.start_until_ns)


def step(state: State, event: Event, now_ns: int) -> Step:
    """Take one event and return the next state with what must be done now, in order."""
    if isinstance(event, Command):
        if event.epoch < state.epoch:
            return state, (Refuse(f"epoch {event.epoch} is over: {state.epoch} commands here now"),)
        state = replace(state, epoch=event.epoch)
    transition = TRANSITIONS.get((state.phase, type(event)))
    return (state, ()) if transition is None else transition(state, event, now_ns)


# -- starting --------------------------------------------------------------------------------------------


def _begin(state: State, _: Began, now_ns: int) -> Step:
    return replace(state, since_ns=now_ns), (RunImport(),)


def _imported(state: State, _: Imported, now_ns: int) -> Step:
    return replace(_timed(state, "import", now_ns), phase="loading"), (Announce(), RunLoad())


def _loaded(state: State, _: Loaded, now_ns: int) -> Step:
    return replace(_timed(state, "load", now_ns), phase="warming"), (Announce(), RunWarm())


def _warmed(state: State, _: Warmed, now_ns: int) -> Step:
    return _timed(state, "warm", now_ns), (RunCheck(),)


def _checked(state: State, _: Checked, now_ns: int) -> Step:
    return replace(_timed(state, "check", now_ns), phase="ready"), (Announce(),)


def _timed(state: State, name: str, now_ns: int) -> State:
    return replace(
        state, phases=(*state.phases, Phase(name=name, ns=now_ns - state.since_ns)), since_ns=now_ns
    )


def _start_tick(state: State, _: Ticked, now_ns: int) -> Step:
    if now_ns >= state.lease_until_ns:
        return _stop(replace(state, reason="lease"))
    if now_ns < state.start_until_ns:
        return state, ()
    doing = {
        "starting": "importing the code",
        "loading": "on.load",
        "warming": "on.warm or on.check",
    }[state.phase]
    return _broke(
        state, Broke(f"the start took too long; it was at: {doing}", "start_timeout"), now_ns
    )


def _broke(state: State, event: Broke, now_ns: int) -> Step:
    return _fail(state, event.code, event.detail, EXIT_START_FAILED, now_ns)


def _stop_start(state: State, event: Terminated | DrainAsked, _: int) -> Step:
    stopped, effects = _stop(replace(state, reason=_reason(event)))
    return stopped, (Answer(), *effects) if isinstance(event, DrainAsked) else effects


# -- ready -----------------------------------------------------------------------------------------------


def _ready_tick(state: State, event: Ticked, now_ns: int) -> Step:
    if now_ns < state.lease_until_ns:
        return state, ()
    return _drain(state, "lease", DRAIN_DEFAULT_NS, event.busy, now_ns)


def _leave(state: State, event: Terminated | DrainAsked, now_ns: int) -> Step:
    asked_ns = event.deadline_ns if isinstance(event, DrainAsked) else 0
    draining, effects = _drain(
        state, _reason(event), asked_ns or DRAIN_DEFAULT_NS, event.busy, now_ns
    )
    return draining, (Answer(), *effects) if isinstance(event, DrainAsked) else effects


def _drain(state: State, reason: Reason, deadline_ns: int, busy: bool, now_ns: int) -> Step:
    leaving = replace(
        state, phase="draining", stage="finishing", reason=reason, until_ns=now_ns + deadline_ns
    )
    if busy:
        return leaving, (Announce(),)
    last, effects = _hooks(leaving, Idled(), now_ns)
    return last, (Announce(), *effects)


def _reason(event: Terminated | DrainAsked) -> Reason:
    return event.reason if isinstance(event, DrainAsked) else "stop"


def _lost(state: State, event: ComputeLost, now_ns: int) -> Step:
    failed = replace(state, awaits_calls=event.busy)
    return _fail(failed, event.code, event.detail, EXIT_COMPUTE_LOST, now_ns)


def _swap(state: State, _: SwapAsked, __: int) -> Step:
    return state, (Swap(),)


# -- draining --------------------------------------------------------------------------------------------


def _hurry(state: State, event: DrainAsked, now_ns: int) -> Step:
    """A second DRAIN may only shorten the wait: a spot notice overtakes a scale-in, never the other way."""
    until_ns = now_ns + (event.deadline_ns or DRAIN_DEFAULT_NS)
    return replace(state, until_ns=min(state.until_ns, until_ns)), (Answer(),)


def _hooks(state: State, _: Idled, now_ns: int) -> Step:
    if state.stage == "hooks":
        return state, ()
    left_ns = min(max(state.until_ns - now_ns, CANCEL_GRACE_NS), HOOKS_NS)
    return replace(state, stage="hooks", until_ns=now_ns + left_ns), (
        RunHooks(state.reason, left_ns),
    )


def _drain_tick(state: State, _: Ticked, now_ns: int) -> Step:
    if now_ns < state.until_ns:
        return state, ()
    if state.stage == "finishing":
        return replace(state, stage="cancelling", until_ns=now_ns + CANCEL_GRACE_NS), (
            CancelCalls(),
        )
    return _stop(replace(state, exit_code=EXIT_CUT))


def _hooks_ran(state: State, _: HooksRan, __: int) -> Step:
    return _stop(state)


# -- failed ----------------------------------------------------------------------------------------------


def _fail(state: State, code: str, detail: str, exit_code: int, now_ns: int) -> Step:
    failed = replace(
        state,
        phase="failed",
        stage="",
        code=code,
        detail=detail,
        exit_code=exit_code,
        until_ns=now_ns + LINGER_NS,
    )
    return failed, (Announce(),)


def _told(state: State, _: StatsAsked | Pinged, __: int) -> Step:
    """Say why, and go. After a lost compute thread other calls may still finish: they have until LINGER_NS."""
    if state.awaits_calls:
        return state, (Answer(),)
    stopped, effects = _stop(state)
    return stopped, (Answer(), *effects)


def _failed_leave(state: State, event: Terminated | DrainAsked, _: int) -> Step:
    stopped, effects = _stop(state)
    return stopped, (Answer(), *effects) if isinstance(event, DrainAsked) else effects


def _failed_tick(state: State, _: Ticked, now_ns: int) -> Step:
    return _stop(state) if now_ns >= state.until_ns else (state, ())


# -- any ---------------------------------------------------------------------------------------------------


def _stop(state: State) -> Step:
    # A failure keeps its phase: the last statistics must say "failed", not "stopped".
    phase: RankState = "failed" if state.phase == "failed" else "stopped"
    return replace(state, phase=phase, stage="", until_ns=state.until_ns), (Exit(state.exit_code),)


def _answer(state: State, _: StatsAsked, __: int) -> Step:
    return state, (Answer(),)


def _renew(state: State, event: Pinged, now_ns: int) -> Step:
    return replace(state, lease_until_ns=max(state.lease_until_ns, now_ns + event.lease_ns)), (
        Answer(),
    )


def _no_swap(state: State, _: SwapAsked, __: int) -> Step:
    return state, (Refuse(f"a rank that is {state.phase} cannot take new code; start another"),)


_STARTING: tuple[RankState, ...] = ("starting", "loading", "warming")
_SERVING: tuple[RankState, ...] = ("starting", "loading", "warming", "ready", "draining")
_ALL: tuple[RankState, ...] = (*_SERVING, "failed", "stopped")

# `Any`: each function takes the one event type of its key, which a dict cannot say.
TRANSITIONS: dict[tuple[RankState, type], Callable[[State, Any, int], Step]] = {
    ("starting", Began): _begin,
    ("starting", Imported): _imported,
    ("loading", Loaded): _loaded,
    ("warming", Warmed): _warmed,
    ("warming", Checked): _checked,
    ("ready", Ticked): _ready_tick,
    ("ready", Terminated): _leave,
    ("ready", DrainAsked): _leave,
    ("ready", ComputeLost): _lost,
    ("draining", DrainAsked): _hurry,
    ("draining", Idled): _hooks,
    ("draining", Ticked): _drain_tick,
    ("draining", HooksRan): _hooks_ran,
    ("draining", ComputeLost): _lost,
    ("failed", StatsAsked): _told,
    ("failed", Pinged): _told,
    ("failed", Terminated): _failed_leave,
    ("failed", DrainAsked): _failed_leave,
    ("failed", Ticked): _failed_tick,
    ("stopped", Pinged): _answer,
    ("stopped", StatsAsked): _answer,
    ("stopped", DrainAsked): _answer,
    **{(phase, Ticked): _start_tick for phase in _STARTING},
    **{(phase, Broke): _broke for phase in _STARTING},
    **{(phase, Terminated): _stop_start for phase in _STARTING},
    **{(phase, DrainAsked): _stop_start for phase in _STARTING},
    **{(phase, StatsAsked): _answer for phase in _SERVING},
    **{(phase, Pinged): _renew for phase in _SERVING},
    **{(phase, SwapAsked): _no_swap for phase in _ALL},
    ("ready", SwapAsked): _swap,
}
