"""How does a call go out to a replica, and what happens when it is back?

A call holds a permit, or it was taken *ahead*: the replica has it but starts it only when an earlier one ends. The
dispatcher follows: when a call of the replica ends, the oldest that was taken ahead holds a permit.
"""

from glowplug_router.dispatch import deadlock, feasibility, limits
from glowplug_router.dispatch.events import Effect, Send
from glowplug_router.dispatch.limits import EXPIRE_PER_STEP
from glowplug_router.dispatch.state import Call, DispatchState, Replica, Version


def send(call: Call, replica: Replica, out: list[Effect]) -> None:
    """Send a call to a replica, on a permit or ahead."""
    version = call.version
    call.replica = replica
    version.running += 1
    version.classes.flight[call.rank] += 1
    if replica.level < 0:  # no permit is free there
        replica.early[call] = None
    else:
        deadlock.hold(call)
    replica.calls[call.id] = call
    replica.version.pool.settle(replica)
    out.append(Send(call.id, replica.id, call.attempt))


def land(call: Call) -> Replica:
    """Take a call from its replica; the permit goes to the oldest that was taken ahead, or is free."""
    replica = call.replica
    assert replica is not None, call.id
    version = call.version
    if call.below or call.children:
        deadlock.leave_flight(call)
    else:  # the usual case: it made no calls that matter
        version.holders.discard(call)
    del replica.calls[call.id]
    call.replica = None
    version.running -= 1
    version.classes.flight[call.rank] -= 1
    if replica.early:
        replica.early.pop(call, None)
        promote(replica)
    return replica


def promote(replica: Replica) -> None:
    """Note that calls taken ahead begin, in their order, where permits are free."""
    while replica.early and replica.running < replica.permits:
        call = next(iter(replica.early))
        del replica.early[call]
        is_over = call.is_cancelled or replica.is_leaving or call.version is not replica.version
        if not is_over:
            deadlock.hold(call)


def reckon(call: Call, service_ns: int) -> None:
    """Correct what was charged for a call that ran; 0 = it is not known how long."""
    if call.charged_ns and service_ns:
        waiting, version = call.version.waiting, call.version
        by_ns = service_ns - call.charged_ns
        if call.payer is not None:
            call.payer.learn(service_ns)
            waiting.classes[call.rank].correct(call.payer, service_ns - call.paid_ns)
        version.classes.correct(call.rank, by_ns, waiting.queued, version.mean_ns)


def refund(call: Call) -> None:
    """Give back what was charged for a call that did not run."""
    if call.charged_ns:
        waiting, version = call.version.waiting, call.version
        if call.payer is not None:
            waiting.classes[call.rank].correct(call.payer, -call.paid_ns)
        version.classes.correct(call.rank, -call.charged_ns, waiting.queued, version.mean_ns)
        call.charged_ns, call.payer = 0.0, None


def charge_class(call: Call) -> None:
    """Charge a call to its class that passes others which wait."""
    version = call.version
    call.charged_ns = version.mean_ns
    version.classes.charge(call.rank, version.mean_ns, version.waiting.queued, version.mean_ns)


def wait(state: DispatchState, call: Call, now_ns: int, out: list[Effect]) -> None:
    """Let a call wait at its place; it may go at once when it may use a permit that others may not."""
    version, waiting = call.version, call.version.waiting
    if not version.is_ready and not version.wanted_ns:
        version.wanted_ns = now_ns
    waiting.push(call)
    if call.is_nested:
        deadlock.shift_below(call, 1)
    pump(state, version, now_ns, out)
    if not call.is_queued:
        return
    if call.is_nested and deadlock.waits_for_itself(call):
        limits.turn_away(state, call, "deadlock", now_ns, out)
        return
    if call.deadline_ns:
        state.timers.set(call, call.deadline_ns)
    limits.wake(state, version, now_ns, out)
    if not version.timer_ns or waiting.oldest() is call:
        limits.watch(state, version)


def pump(state: DispatchState, version: Version, now_ns: int, out: list[Effect]) -> None:
    """Send waiting calls while there are permits that they may use; then ahead, those that may go ahead."""
    waiting, free, early = version.waiting, version.pool.free, version.pool.early
    while waiting.count:
        if not free.mask and not early.mask:
            return
        if len(out) >= EXPIRE_PER_STEP:
            state.timers.set_no_later(version, now_ns)
            return
        rank = whose_turn(version, now_ns)
        if rank is None:
            _look_when_free_for_all(state, version, now_ns)
            return
        call = waiting.next(rank, now_ns)
        if call.deadline_ns and _ends_unsent(state, call, now_ns, out):
            continue
        replica = version.pool.first(call.asked.affinity) if free.mask else _early(call)
        if replica is None:
            return  # its turn, but not ahead: it waits for a permit, and so do the others
        mean_ns = version.mean_ns
        cost_ns = waiting.classes[rank].charge(call, version.service.mean_ns) or mean_ns
        call.charged_ns = cost_ns
        version.classes.charge(rank, cost_ns, waiting.queued, mean_ns)
        if call.expected_ns:
            feasibility.came_true(call, now_ns)
        limits.stop_waiting(state, call)
        send(call, replica, out)


def _ends_unsent(state: DispatchState, call: Call, now_ns: int, out: list[Effect]) -> bool:
    """End a waiting call that is late, or would be, although it is its turn; say whether it was."""
    if call.deadline_ns <= now_ns:
        feasibility.came_true(call, now_ns)
        limits.turn_away(state, call, "deadline", now_ns, out)
    elif feasibility.is_too_late(call, now_ns):
        feasibility.came_true(call, now_ns)
        limits.stop_waiting(state, call)
        limits.forget(state, call)
        out.append(feasibility.refusal(call, now_ns))
    else:
        return False
    return True


def whose_turn(version: Version, now_ns: int) -> int | None:
    """Return the class of the next call, or None when free permits are held back from all that wait."""
    waiting = version.waiting
    return version.classes.next(
        waiting.queued, waiting.nested, version.permits, version.mean_ns, now_ns
    )


def _early(call: Call) -> Replica | None:
    return call.version.pool.first_early() if may_go_ahead(call) else None


def may_go_ahead(call: Call) -> bool:
    """Say whether a call may be taken ahead: one with a parent holds a permit elsewhere, and must not wait unseen."""
    return not call.asked.parent and not call.was_handed_back


def _look_when_free_for_all(state: DispatchState, version: Version, now_ns: int) -> None:
    """Have the version looked at when permits are held back no more."""
    until_ns = [due_ns for due_ns in version.classes.held_until_ns if due_ns > now_ns]
    state.timers.set_no_later(version, min(until_ns))
