"""What follows from an event?

Two rules hold between steps: no call waits where a permit is free that it may use, and every waiting call has its limit
and its deadline among the timers.
"""

from glowplug_router.dispatch import deadlock, feasibility, fleet, flight, health, limits, room
from glowplug_router.dispatch.classes import RANK
from glowplug_router.dispatch.events import (
    CallArrived,
    CallBegan,
    CallCancelled,
    CallEnded,
    CallRefused,
    Cancel,
    Effect,
    Event,
    Refuse,
    ReplicaLeaving,
    ReplicaLost,
    ReplicaReady,
    Tick,
    VersionGone,
    VersionSet,
)
from glowplug_router.dispatch.state import Call, DispatchState, Replica, Version

# Replicas and versions looked at in one step, though nothing may come of it: 16 cost less than 100 µs.
LOOKS_PER_STEP = 16


def step(state: DispatchState, event: Event, now_ns: int) -> tuple[Effect, ...]:  # noqa: C901 one case an event, nothing else
    """Take in what happened and return what to do, in this order. Total: what is unknown or repeated has no effect."""
    out: list[Effect] = []
    due_ns = state.timers.first_ns
    if due_ns is not None and due_ns <= now_ns:
        _expire(state, now_ns, out)
    match event:
        case CallArrived():
            _arrive(state, event, now_ns, out)
        case CallEnded():
            _end(state, event, now_ns, out)
        case CallRefused():
            _take_back(state, event, now_ns, out)
        case CallCancelled():
            _cancel(state, event, now_ns, out)
        case CallBegan():
            _begin(state, event)
        case ReplicaReady():
            fleet.link(state, event, now_ns, out)
        case ReplicaLeaving():
            fleet.leave(state, event.replica, now_ns, out)
        case ReplicaLost():
            fleet.lose(state, event.replica, now_ns, out)
        case VersionSet():
            fleet.set_version(state, event, now_ns, out)
        case VersionGone():
            fleet.drop_version(state, event, now_ns, out)
        case Tick():  # pragma: no branch  # mypy knows that no other is left
            pass  # what was due is done
    return tuple(out)


# -- a call comes ------------------------------------------------------------------------------------


def _arrive(state: DispatchState, event: CallArrived, now_ns: int, out: list[Effect]) -> None:
    version = state.versions.get(event.version)
    if version is None or not version.is_served:
        out.append(Refuse(event.call, "version_not_found"))
        return
    if event.call in state.calls:
        return
    if 0 < event.deadline_ns <= now_ns:
        out.append(limits.refuse(version, event.call, "deadline", now_ns))
        return
    state.places += 1
    parent = _running(state, event.parent) if event.parent else None
    call = Call(event, version, RANK[event.klass], parent, state.places, now_ns)
    replica = _at_once(call, now_ns)
    version.classes.called(call.rank, now_ns)
    if replica is None:
        _queue(state, call, now_ns, out)
    elif call.has_deadline and feasibility.is_too_late(call, now_ns):
        out.append(feasibility.refusal(call, now_ns))
    else:
        state.calls[call.id] = call
        if parent is not None:
            deadlock.adopt(call)
        if version.waiting.count:
            flight.charge_class(call)
        flight.send(call, replica, out)


def _running(state: DispatchState, id: int) -> Call | None:
    """Return the call that another was made from; one that does not run holds nothing, and waits for nobody."""
    parent = state.calls.get(id)
    return parent if parent is not None and parent.replica is not None else None


def _at_once(call: Call, now_ns: int) -> Replica | None:
    """Return the replica to which an arriving call may go at once, past those that wait; None when it must wait."""
    version, waiting = call.version, call.version.waiting
    if waiting.count and any(waiting.queued[: call.rank + 1]):
        return None  # they were here first
    classes = version.classes
    if (
        now_ns < classes.held_until_ns[call.rank]
        and not call.is_nested
        and classes.is_held(call.rank, version.permits, now_ns)
    ):
        return None
    replica = version.pool.first(call.asked.affinity)
    if replica is None and not waiting.count and flight.may_go_ahead(call):
        return version.pool.first_early()
    return replica


def _queue(state: DispatchState, call: Call, now_ns: int, out: list[Effect]) -> None:
    """Let an arriving call wait, or turn it away."""
    version = call.version
    call.due_ns = call.deadline_ns if call.has_deadline else now_ns + version.queue_ns
    why = limits.hopeless(version)
    if why:
        out.append(limits.refuse(version, call.id, why, now_ns))
        return
    if feasibility.is_infeasible(call, now_ns):
        limits.nudge(version, now_ns, out)
        out.append(feasibility.refusal(call, now_ns))
        return
    displaced = room.displaced(call)
    if displaced is None:
        limits.nudge(version, now_ns, out)
        out.append(limits.refuse(version, call.id, room.code_of(version), now_ns))
        return
    for victim in displaced:
        limits.turn_away(state, victim, room.code_of(version), now_ns, out)
    state.calls[call.id] = call
    deadlock.adopt(call)
    flight.wait(state, call, now_ns, out)


# -- a call ends, comes back, begins or is cancelled ---------------------------------------------------


def _end(state: DispatchState, event: CallEnded, now_ns: int, out: list[Effect]) -> None:
    call = state.calls.get(event.call)
    if call is None or call.replica is None or call.replica.id != event.replica:
        return
    version, replica = call.version, flight.land(call)
    if call.parent is not None:
        deadlock.orphan(call)
    del state.calls[call.id]
    version.drain.note(now_ns)
    if call.charged_ns:
        flight.reckon(call, event.service_ns)
    health.learn(state, replica, call, event, now_ns)
    replica.version.pool.settle(replica)
    if version.waiting.count:
        flight.pump(state, version, now_ns, out)
    if replica.version is not version:  # it was swapped in place meanwhile
        flight.pump(state, replica.version, now_ns, out)
    if not version.is_served:
        limits.tidy(state, version)


def _take_back(state: DispatchState, event: CallRefused, now_ns: int, out: list[Effect]) -> None:
    call = state.calls.get(event.call)
    if call is None or call.replica is None or call.replica.id != event.replica:
        return
    replica = flight.land(call)
    flight.refund(call)
    # Once is no fault of anybody's; who hands back what was not taken ahead refuses it.
    is_handed_back = event.handed_back and not call.was_handed_back
    if event.draining:
        fleet.leave(state, replica.id, now_ns, out)
        replica.version.pool.settle(replica)
    elif is_handed_back:
        replica.version.pool.settle(replica)
    else:
        health.punish(state, replica, now_ns)
    call.was_handed_back = call.was_handed_back or is_handed_back
    call.attempt += not is_handed_back
    _send_again(state, call, now_ns, out)
    flight.pump(state, call.version, now_ns, out)
    if replica.version is not call.version:
        flight.pump(state, replica.version, now_ns, out)
    limits.tidy(state, call.version)


def _send_again(state: DispatchState, call: Call, now_ns: int, out: list[Effect]) -> None:
    """Let a call that was not executed go elsewhere, or wait at its place."""
    refusal = "" if call.is_cancelled else fleet.no_return(call, now_ns)
    if call.is_cancelled or refusal:
        limits.forget(state, call)
        if refusal:
            out.append(limits.refuse(call.version, call.id, refusal, now_ns))
    else:
        fleet.return_to_queue(state, call, now_ns, out)


def _begin(state: DispatchState, event: CallBegan) -> None:
    call = state.calls.get(event.call)
    if call is not None:
        call.began = True


def _cancel(state: DispatchState, event: CallCancelled, now_ns: int, out: list[Effect]) -> None:
    call = state.calls.get(event.call)
    if call is None or call.is_cancelled:
        return
    if call.replica is None:
        limits.stop_waiting(state, call)
        limits.forget(state, call)
        limits.tidy(state, call.version)
        return
    call.is_cancelled = True
    deadlock.unhold(call)  # it ends soon, whatever it waited for
    out.append(Cancel(call.id, call.replica.id))


# -- time --------------------------------------------------------------------------------------------


def _expire(state: DispatchState, now_ns: int, out: list[Effect]) -> None:
    looks = 0
    while len(out) < limits.EXPIRE_PER_STEP and looks < LOOKS_PER_STEP:
        match state.timers.pop(now_ns):
            case None:
                return
            case Call() as call:
                feasibility.came_true(call, now_ns)
                limits.turn_away(state, call, "deadline", now_ns, out)
            case Version() as version:
                looks += 1
                fleet.look_at(state, version, now_ns, out)
            case Replica() as replica:  # pragma: no branch  # mypy knows that no other is left
                looks += 1
                health.refresh(state, replica, now_ns)
                flight.pump(state, replica.version, now_ns, out)
