"""What follows from an event?

Two rules hold between steps: no call waits where a permit is free, and every waiting call has its limit and its
deadline among the timers.
"""

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.dispatch import deadlock, limits
from glowplug_router.dispatch.events import (
    CallArrived,
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
)
from glowplug_router.dispatch.state import Call, DispatchState, Replica, Version
from glowplug_router.dispatch.waiting import RANK

ATTEMPTS_MAX = 5  # sends of one call: replicas that refuse it that often have no room
# What one permit gets done within the default queue limit when a call takes 0.6 s.
QUEUE_PER_PERMIT = 100
# After a refusal its permits are with another gateway: leave the replica alone, twice as long after each more.
PENALTY_NS = 10 * MILLISECOND
PENALTY_MAX_NS = SECOND


def step(state: DispatchState, event: Event, now_ns: int) -> tuple[Effect, ...]:  # noqa: C901 one case an event, nothing else
    """Take in what happened and return what to do, in this order. Total: what is unknown or repeated has no effect."""
    out: list[Effect] = []
    if state.timers.is_due(now_ns):
        _expire(state, now_ns, out)
    match event:
        case CallArrived():
            _arrive(state, event, now_ns, out)
        case CallEnded():
            _end(state, event, now_ns, out)
        case CallRefused():
            _take_back(state, event, now_ns, out)
        case CallCancelled():
            _cancel(state, event, out)
        case ReplicaReady():
            _link(state, event, now_ns, out)
        case ReplicaLeaving():
            _leave(state, event.replica, now_ns, out)
        case ReplicaLost():
            _lose(state, event.replica, now_ns, out)
        case VersionSet():
            _set_version(state, event, now_ns, out)
        case VersionGone():
            _drop_version(state, event, now_ns, out)
        case Tick():  # pragma: no branch  # mypy knows that no other is left
            pass  # what was due is done
    return tuple(out)


# -- calls -------------------------------------------------------------------------------------------


def _arrive(state: DispatchState, event: CallArrived, now_ns: int, out: list[Effect]) -> None:
    version = state.versions.get(event.version)
    if version is None or not version.is_served:
        out.append(Refuse(event.call, "version_not_found"))
        return
    if event.call in state.calls:
        return
    state.places += 1
    parent = state.calls.get(event.parent) if event.parent else None
    if parent is not None and parent.replica is None:
        parent = None  # it does not run, so it holds nothing and waits for nobody
    call = Call(
        event.call,
        version,
        RANK[event.klass],
        event.tenant,
        event.deadline_ns,
        parent,
        event.attempt,
        state.places,
        now_ns,
        version.marks(now_ns),
    )
    refusal = _refusal(call, now_ns)
    if refusal:
        if refusal in (
            "hold_full",
            "overloaded",
        ):  # with hold = 0 nobody ever waits, and yet it must start
            limits.wake(state, version, now_ns, out)
        out.append(limits.refuse(version, call.id, refusal, now_ns))
        return
    state.calls[call.id] = call
    deadlock.adopt(call)
    replica = version.pool.first()
    if replica is not None:
        _send(call, replica, out)
    else:
        _wait(state, call, now_ns, out)


def _refusal(call: Call, now_ns: int) -> str:
    """Return why an arriving call is turned away, or nothing."""
    version = call.version
    if 0 < call.deadline_ns <= now_ns:
        return "deadline"
    if version.pool.first() is not None:
        return ""
    if not version.is_ready:
        if version.failed:
            return "start_failed"
        return "hold_full" if version.waiting.count >= version.hold else ""
    room = max(version.hold, QUEUE_PER_PERMIT * version.max_permits)
    return "overloaded" if version.waiting.count >= room else ""


def _send(call: Call, replica: Replica, out: list[Effect]) -> None:
    call.replica = replica
    call.version.running += 1
    deadlock.hold(call)
    replica.calls[call.id] = call
    replica.version.pool.settle(replica)
    out.append(Send(call.id, replica.id, call.attempt))


def _wait(state: DispatchState, call: Call, now_ns: int, out: list[Effect]) -> None:
    version = call.version
    version.waiting.push(call)
    if call.parent is not None:
        deadlock.shift_below(call, 1)
        if deadlock.waits_for_itself(call):
            limits.turn_away(state, call, "deadlock", now_ns, out)
            return
    if call.deadline_ns:
        state.timers.set(call, call.deadline_ns)
    limits.wake(state, version, now_ns, out)
    limits.watch(state, version)


def _end(state: DispatchState, event: CallEnded, now_ns: int, out: list[Effect]) -> None:
    call = _in_flight(state, event.call, event.replica)
    if call is None:
        return
    replica = _land(call)
    limits.forget(state, call)
    call.version.drain.note(now_ns)
    if replica.refusals:  # it has room again, whoever took it before
        replica.refusals = replica.timer_ns = 0
    replica.version.pool.settle(replica)
    _pump(replica.version, out)
    limits.tidy(state, call.version)


def _in_flight(state: DispatchState, call: int, replica: str) -> Call | None:
    known = state.calls.get(call)
    if known is None or known.replica is None or known.replica.id != replica:
        return None
    return known


def _land(call: Call) -> Replica:
    """Free the permit of a call in flight."""
    replica = call.replica
    assert replica is not None, call.id
    deadlock.leave_flight(call)
    del replica.calls[call.id]
    call.replica = None
    call.version.running -= 1
    return replica


def _take_back(state: DispatchState, event: CallRefused, now_ns: int, out: list[Effect]) -> None:
    call = _in_flight(state, event.call, event.replica)
    if call is None:
        return
    replica = _land(call)
    if event.draining:
        _leave(state, replica.id, now_ns, out)
    else:
        penalty_ns = min(PENALTY_NS << min(replica.refusals, 16), PENALTY_MAX_NS)
        replica.refusals += 1
        state.timers.set(replica, now_ns + penalty_ns)
    replica.version.pool.settle(replica)
    call.attempt += 1
    refusal = _no_return(call, now_ns)
    if call.is_cancelled or refusal:
        limits.forget(state, call)
        if not call.is_cancelled:
            out.append(limits.refuse(call.version, call.id, refusal, now_ns))
        limits.tidy(state, call.version)
        return
    other = call.version.pool.first()
    if other is not None:
        _send(call, other, out)
    else:
        _wait(state, call, now_ns, out)


def _no_return(call: Call, now_ns: int) -> str:
    """Return why a call that was refused cannot go back to its place, or nothing. It was let in: there is room."""
    if call.attempt > ATTEMPTS_MAX:
        return "overloaded"
    if 0 < call.deadline_ns <= now_ns:
        return "deadline"
    return limits.hopeless(call.version)


def _cancel(state: DispatchState, event: CallCancelled, out: list[Effect]) -> None:
    call = state.calls.get(event.call)
    if call is None or call.is_cancelled:
        return
    if call.replica is None:
        limits.stop_waiting(call)
        limits.forget(state, call)
        limits.tidy(state, call.version)
        return
    call.is_cancelled = True
    deadlock.unhold(call)  # it ends soon, whatever it waited for
    out.append(Cancel(call.id, call.replica.id))


# -- replicas ----------------------------------------------------------------------------------------


def _link(state: DispatchState, event: ReplicaReady, now_ns: int, out: list[Effect]) -> None:
    version = _version(state, event.version, now_ns)
    replica = state.replicas.get(event.replica)
    if replica is None:
        replica = state.replicas[event.replica] = Replica(event.replica, version, event.permits)
        version.count_replicas(1, now_ns)
    elif replica.version is not version or replica.is_leaving:
        _reopen(state, replica, version, now_ns, out)
    replica.permits = event.permits
    replica.version.pool.settle(replica)
    limits.watch(state, version)
    _pump(replica.version, out)


def _version(state: DispatchState, key: str, now_ns: int) -> Version:
    version = state.versions.get(key)
    if version is None:
        version = state.versions[key] = Version(key, now_ns)
    return version


def _reopen(
    state: DispatchState, replica: Replica, version: Version, now_ns: int, out: list[Effect]
) -> None:
    """Take back that a replica leaves, or let one that was swapped in place serve its new version.

    Calls on it keep their permits, but count no more as holders: what they wait for may be another version's.
    """
    _leave(state, replica.id, now_ns, out)
    replica.is_leaving = False
    replica.version = version
    version.count_replicas(1, now_ns)


def _close(replica: Replica, now_ns: int) -> None:
    """Take a replica out of its version's pool."""
    replica.is_leaving = True
    replica.timer_ns = 0
    replica.version.pool.settle(replica)
    replica.version.count_replicas(-1, now_ns)


def _leave(state: DispatchState, id: str, now_ns: int, out: list[Effect]) -> None:
    replica = state.replicas.get(id)
    if replica is None or replica.is_leaving:
        return
    _close(replica, now_ns)
    for call in replica.calls.values():
        deadlock.unhold(call)
    _after_loss(state, replica.version, now_ns, out)


def _lose(state: DispatchState, id: str, now_ns: int, out: list[Effect]) -> None:
    replica = state.replicas.pop(id, None)
    if replica is None:
        return
    if not replica.is_leaving:
        _close(replica, now_ns)
    for call in tuple(replica.calls.values()):
        _land(call)
        limits.forget(state, call)
        out.append(Lost(call.id))
        limits.tidy(state, call.version)
    _after_loss(state, replica.version, now_ns, out)


def _after_loss(state: DispatchState, version: Version, now_ns: int, out: list[Effect]) -> None:
    if version.waiting.count:
        limits.wake(state, version, now_ns, out)
        limits.watch(state, version)
        limits.end_waiting(state, version, now_ns, out)
    limits.tidy(state, version)


def _pump(version: Version, out: list[Effect]) -> None:
    """Send waiting calls while permits are free."""
    while version.waiting.count and (replica := version.pool.first()) is not None:
        call = version.waiting.next(version.queue_ns)
        assert call is not None, version.key
        limits.stop_waiting(call)
        _send(call, replica, out)


# -- versions ----------------------------------------------------------------------------------------


def _set_version(state: DispatchState, event: VersionSet, now_ns: int, out: list[Effect]) -> None:
    version = _version(state, event.version, now_ns)
    version.is_served = True
    version.hold = event.hold
    version.queue_ns = event.queue_ns
    version.start_ns = event.start_ns
    version.max_permits = event.max_permits
    version.failed = event.failed
    limits.watch(state, version)
    limits.end_waiting(state, version, now_ns, out)


def _drop_version(state: DispatchState, event: VersionGone, now_ns: int, out: list[Effect]) -> None:
    version = state.versions.get(event.version)
    if version is not None:
        version.is_served = False
        limits.watch(state, version)
        limits.end_waiting(state, version, now_ns, out)
        limits.tidy(state, version)


# -- time --------------------------------------------------------------------------------------------


def _expire(state: DispatchState, now_ns: int, out: list[Effect]) -> None:
    while len(out) < limits.EXPIRE_PER_STEP:
        match state.timers.pop(now_ns):
            case None:
                return
            case Call() as call:
                limits.turn_away(state, call, "deadline", now_ns, out)
            case Version() as version:
                _look_at(state, version, now_ns, out)
            case Replica() as replica:  # pragma: no branch  # mypy knows that no other is left
                # Its penalty is over.
                replica.version.pool.settle(replica)
                _pump(replica.version, out)


def _look_at(state: DispatchState, version: Version, now_ns: int, out: list[Effect]) -> None:
    limits.end_waiting(state, version, now_ns, out)
    if version.wake_is_owed and version.waiting.count:
        limits.wake(state, version, now_ns, out)
    limits.watch(state, version)
    limits.tidy(state, version)
