"""What changes when replicas and versions come, change and go?"""

from glowplug_router.dispatch import deadlock, flight, health, limits
from glowplug_router.dispatch.events import (
    Again,
    Effect,
    Lost,
    ReplicaReady,
    VersionGone,
    VersionSet,
)
from glowplug_router.dispatch.state import Call, DispatchState, Replica, Version

ATTEMPTS_MAX = 5  # sends of one call: replicas that refuse it that often have no room


# -- replicas ----------------------------------------------------------------------------------------


def link(state: DispatchState, event: ReplicaReady, now_ns: int, out: list[Effect]) -> None:
    """Use a replica from now on, as it is now."""
    version = _version(state, event.version, now_ns)
    replica = state.replicas.get(event.replica)
    if replica is None:
        replica = state.replicas[event.replica] = Replica(event.replica, version, event.permits)
        _join(replica, now_ns)
    elif replica.version is not version or replica.is_leaving:
        leave(state, replica.id, now_ns, out)
        replica.version = version
        replica.permits = event.permits
        _join(replica, now_ns)
    version.permits += event.permits - replica.permits
    version.permits_each = max(1, event.permits)
    replica.permits, replica.ahead = event.permits, event.ahead
    flight.promote(replica)
    health.refresh(state, replica, now_ns)
    limits.watch(state, version)
    flight.pump(state, version, now_ns, out)


def _version(state: DispatchState, key: str, now_ns: int) -> Version:
    version = state.versions.get(key)
    if version is None:
        version = state.versions[key] = Version(key, now_ns)
    return version


def _join(replica: Replica, now_ns: int) -> None:
    """Let a replica serve its version; calls that it still has from before keep their permits, but hold none here.

    They may wait for another version's permits, or the replica was to leave: nobody should wait for them.
    """
    version = replica.version
    replica.is_leaving = False
    replica.mean_ns, replica.log_mean, replica.samples = 0.0, 0.0, 0
    replica.new_since_ns = now_ns if version.is_ready else 0
    version.pool.join(replica)
    version.count_replicas(1, replica.permits, now_ns)


def leave(state: DispatchState, id: str, now_ns: int, out: list[Effect]) -> None:
    """Send a replica no more calls; those it has go on."""
    replica = state.replicas.get(id)
    if replica is None or replica.is_leaving:
        return
    _part(state, replica, now_ns)
    for call in replica.calls.values():
        deadlock.unhold(call)
    _after_loss(state, replica.version, now_ns, out)


def _part(state: DispatchState, replica: Replica, now_ns: int) -> None:
    """Take a replica out of its version."""
    version = replica.version
    replica.is_leaving = True
    health.leave(state, replica, now_ns)
    version.pool.part(replica)
    version.count_replicas(-1, -replica.permits, now_ns)
    health.recall(state, version, now_ns)


def lose(state: DispatchState, id: str, now_ns: int, out: list[Effect]) -> None:
    """Take in that a replica is gone: its calls are lost, or go elsewhere when that is allowed."""
    replica = state.replicas.pop(id, None)
    if replica is None:
        return
    if not replica.is_leaving:
        _part(state, replica, now_ns)
    again: list[Call] = []
    versions = {replica.version: None}
    for call in tuple(replica.calls.values()):
        flight.land(call)
        versions[call.version] = None  # another one, when the replica was swapped in place
        if _may_run_again(call, now_ns):
            call.attempt += 1
            out.append(Again(call.id))
            again.append(call)
        else:
            limits.forget(state, call)
            out.append(Lost(call.id))
    for call in again:
        return_to_queue(state, call, now_ns, out)
    for version in versions:
        _after_loss(state, version, now_ns, out)


def _may_run_again(call: Call, now_ns: int) -> bool:
    version = call.version
    return (
        version.retry_safe
        and not call.began
        and not call.is_cancelled
        and not no_return(call, now_ns, attempt=call.attempt + 1)
        and version.budget.take(version.drain.ends, now_ns)
    )


def no_return(call: Call, now_ns: int, attempt: int = 0) -> str:
    """Return why a call cannot go back to its place, or nothing. It was let in: there is room."""
    if (attempt or call.attempt) > ATTEMPTS_MAX:
        return "overloaded"
    if 0 < call.deadline_ns <= now_ns:
        return "deadline"
    return limits.hopeless(call.version)


def return_to_queue(state: DispatchState, call: Call, now_ns: int, out: list[Effect]) -> None:
    """Send a call that comes back elsewhere at once, or let it wait at its place."""
    version = call.version
    if not call.due_ns:
        queue_due_ns = call.since_ns + version.queue_ns
        call.due_ns = call.deadline_ns if call.has_deadline else queue_due_ns
    other = version.pool.first(call.asked.affinity)
    # It was sent when it was its turn: held back or not, it goes before those that wait.
    if other is not None:
        flight.send(call, other, out)
    else:
        flight.wait(state, call, now_ns, out)


def _after_loss(state: DispatchState, version: Version, now_ns: int, out: list[Effect]) -> None:
    if version.waiting.count:
        limits.wake(state, version, now_ns, out)
        limits.watch(state, version)
        limits.end_waiting(state, version, now_ns, out)
        flight.pump(state, version, now_ns, out)  # one that was ejected may be back
    limits.tidy(state, version)


# -- versions ----------------------------------------------------------------------------------------


def set_version(state: DispatchState, event: VersionSet, now_ns: int, out: list[Effect]) -> None:
    """Serve a version within these limits."""
    version = _version(state, event.version, now_ns)
    version.is_served = True
    version.hold = event.hold
    version.queue_ns = event.queue_ns
    version.start_ns = event.start_ns
    version.max_permits = event.max_permits
    version.failed = event.failed
    version.retry_safe = event.retry_safe
    limits.watch(state, version)
    limits.end_waiting(state, version, now_ns, out)


def drop_version(state: DispatchState, event: VersionGone, now_ns: int, out: list[Effect]) -> None:
    """Serve a version no more; what runs goes on."""
    version = state.versions.get(event.version)
    if version is not None:
        version.is_served = False
        limits.watch(state, version)
        limits.end_waiting(state, version, now_ns, out)
        limits.tidy(state, version)


def look_at(state: DispatchState, version: Version, now_ns: int, out: list[Effect]) -> None:
    """Do what is due for a version."""
    limits.end_waiting(state, version, now_ns, out)
    flight.pump(state, version, now_ns, out)
    if version.wake_is_owed and version.waiting.count:
        limits.wake(state, version, now_ns, out)
    limits.watch(state, version)
    limits.tidy(state, version)
