"""Which waiting calls cannot go on, who must hear of them, and when must we look again?

Work that could touch a whole queue at once (limits reached, a version that failed or is gone) stops when a step has
`EXPIRE_PER_STEP` effects; the timer stays due until nothing is left.
"""

from glowplug.clock import MILLISECOND
from glowplug_router.dispatch import deadlock, feasibility
from glowplug_router.dispatch.drain import RETRY_MAX_NS
from glowplug_router.dispatch.events import Effect, Refuse, Wake
from glowplug_router.dispatch.state import Call, DispatchState, Version

WAKE_EVERY_NS = 50 * MILLISECOND  # a burst of 10,000 calls must not become 10,000 messages
EXPIRE_PER_STEP = (
    256  # answering one costs the gateway some 20 µs: 5 ms of its loop, which may lag 20
)

_WORTH_COMING_BACK = {"overloaded", "hold_full", "queue_timeout", "start_timeout", "deadline"}


def refuse(version: Version, call: int, code: str, now_ns: int) -> Refuse:
    """Return the refusal, with the time after which there may be room."""
    if code not in _WORTH_COMING_BACK:
        return Refuse(call, code)
    wait_ns = version.drain.wait_ns(version.waiting.count + 1, now_ns)
    if not version.is_ready:
        wait_ns = max(wait_ns, min(feasibility.start_ns(version, now_ns), RETRY_MAX_NS))
    return Refuse(call, code, wait_ns)


def hopeless(version: Version) -> str:
    """Return why no call may wait for the version, or nothing."""
    if not version.is_served:
        return "version_not_found"
    if version.failed and not version.is_ready:
        return "start_failed"
    return ""


def stop_waiting(state: DispatchState, call: Call) -> None:
    """Take a call out of its queue."""
    version = call.version
    version.waiting.remove(call)
    if not version.waiting.queued[call.rank]:
        version.classes.emptied(call.rank)
    if not version.waiting.count:
        state.timers.clear(version)  # no limit to watch, and nobody to wake the controller for
        version.wanted_ns = 0
    state.timers.clear(call)
    if call.is_nested:
        deadlock.shift_below(call, -1)


def forget(state: DispatchState, call: Call) -> None:
    """Drop a call that is over."""
    deadlock.orphan(call)
    del state.calls[call.id]


def turn_away(state: DispatchState, call: Call, code: str, now_ns: int, out: list[Effect]) -> None:
    """End a waiting call unexecuted."""
    stop_waiting(state, call)
    forget(state, call)
    out.append(refuse(call.version, call.id, code, now_ns))


def end_waiting(state: DispatchState, version: Version, now_ns: int, out: list[Effect]) -> None:
    """Refuse the calls that waited too long, or for a version that cannot come; oldest first."""
    while len(out) < EXPIRE_PER_STEP:
        call = version.waiting.oldest()
        code = _over_limit(version, call, now_ns) if call is not None else ""
        if call is None or not code:
            return
        turn_away(state, call, code, now_ns, out)


def _over_limit(version: Version, call: Call, now_ns: int) -> str:
    code = hopeless(version)
    if not code and version.limit_due_ns(call) <= now_ns:
        code = "queue_timeout" if version.is_ready else "start_timeout"
    return code


def watch(state: DispatchState, version: Version) -> None:
    """Have the version looked at when its oldest call reaches its limit; at once when there is no hope."""
    oldest = version.waiting.oldest()
    if oldest is not None:
        due_ns = oldest.since_ns if hopeless(version) else version.limit_due_ns(oldest)
        state.timers.set_no_later(version, max(due_ns, 1))


def wake(state: DispatchState, version: Version, now_ns: int, out: list[Effect]) -> None:
    """Tell the controller at once, or by the timer when it was told a moment ago."""
    if now_ns >= version.wake_after_ns:
        version.wake_after_ns = now_ns + WAKE_EVERY_NS
        version.wake_is_owed = False
        out.append(Wake(version.key))
    else:
        version.wake_is_owed = True
        state.timers.set_no_later(version, version.wake_after_ns)


def nudge(version: Version, now_ns: int, out: list[Effect]) -> None:
    """Tell the controller of a call that may not even wait: with hold = 0 nobody ever does, and yet it must start."""
    if now_ns >= version.wake_after_ns:
        version.wake_after_ns = now_ns + WAKE_EVERY_NS
        out.append(Wake(version.key))


def tidy(state: DispatchState, version: Version) -> None:
    """Forget a version that nothing refers to."""
    if version.is_served or version.replicas or version.running or version.waiting.count:
        return
    state.versions.pop(version.key, None)
