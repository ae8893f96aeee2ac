"""A dispatcher at hand: time moves when told, every step is checked against what must always hold."""

from collections.abc import Iterator

from glowplug.clock import MINUTE, SECOND
from glowplug.spec import Class
from glowplug_router.dispatch import (
    CallArrived,
    CallCancelled,
    CallEnded,
    DispatchState,
    Effect,
    Event,
    Refuse,
    ReplicaReady,
    Send,
    Tick,
    VersionSet,
    step,
)
from glowplug_router.dispatch.flight import whose_turn
from glowplug_router.dispatch.state import Call, Version


class Desk:
    """One dispatcher and its clock."""

    def __init__(self) -> None:
        self.state = DispatchState()
        self.now_ns = SECOND
        self.last_call = 0

    def feed(self, event: Event) -> tuple[Effect, ...]:
        effects = step(self.state, event, self.now_ns)
        problems = flaws(self.state, self.now_ns)
        assert not problems, problems
        return effects

    def pass_time(self, by_ns: int) -> tuple[Effect, ...]:
        self.now_ns += by_ns
        return self.feed(Tick())

    def serve(
        self,
        version: str = "v",
        *,
        hold: int = 100,
        queue_ns: int = MINUTE,
        start_ns: int = 10 * MINUTE,
        max_permits: int = 4,
        failed: str = "",
        retry_safe: bool = False,
    ) -> tuple[Effect, ...]:
        return self.feed(
            VersionSet(version, hold, queue_ns, start_ns, max_permits, failed, retry_safe)
        )

    def ready(
        self, replica: str, permits: int = 1, version: str = "v", ahead: int = 0
    ) -> tuple[Effect, ...]:
        return self.feed(ReplicaReady(replica, version, permits, ahead))

    def call(
        self,
        version: str = "v",
        *,
        deadline_ns: int = 0,
        klass: Class = "standard",
        parent: int = 0,
        tenant: str = "",
        within_ns: int = 0,
        affinity: str = "",
        size_bytes: int = 0,
    ) -> tuple[Effect, ...]:
        """Let a call arrive; `within_ns` is a deadline that the caller set, from now on."""
        self.last_call += 1
        event = CallArrived(
            self.last_call,
            version,
            self.now_ns + within_ns if within_ns else deadline_ns,
            tenant,
            klass,
            parent,
            has_deadline=within_ns > 0,
            affinity=affinity,
            size_bytes=size_bytes,
        )
        return self.feed(event)

    def end(
        self, call: int, replica: str, service_ns: int = 0, *, is_fault: bool = False
    ) -> tuple[Effect, ...]:
        return self.feed(CallEnded(call, replica, service_ns, is_fault))

    def feed_cancel(self, call: int) -> None:
        self.feed(CallCancelled(call))

    def run(self, *times_ns: int, replica: str = "a", version: str = "v") -> None:
        """Let calls run one after the other, so that their times are learned; the version is idle then."""
        for time_ns in times_ns:
            assert sent(self.call(version)) == [(self.last_call, replica)]
            self.now_ns += time_ns
            self.end(self.last_call, replica, time_ns)


def sent(effects: tuple[Effect, ...]) -> list[tuple[int, str]]:
    return [(effect.call, effect.replica) for effect in effects if isinstance(effect, Send)]


def refused(effects: tuple[Effect, ...]) -> list[tuple[int, str]]:
    return [(effect.call, effect.code) for effect in effects if isinstance(effect, Refuse)]


def flaws(state: DispatchState, now_ns: int) -> list[str]:
    """Return what does not hold although it always must."""
    found = [
        flaw
        for version in state.versions.values()
        for flaw in version_flaws(state, version, now_ns)
    ]
    found += [flaw for call in state.calls.values() for flaw in call_flaws(call)]
    found += [
        f"{replica.id}: holds a call that is elsewhere"
        for replica in state.replicas.values()
        if any(call.replica is not replica for call in replica.calls.values())
    ]
    return found


def version_flaws(state: DispatchState, version: Version, now_ns: int) -> Iterator[str]:
    calls = [call for call in state.calls.values() if call.version is version]
    queued = sum(call.is_queued for call in calls)
    holding = {c for c in calls if c.replica and not c.is_cancelled and c in version.holders}
    replicas = [r for r in state.replicas.values() if r.version is version and not r.is_leaving]
    checks = {
        "counts of calls": (version.waiting.count, version.running)
        == (queued, len(calls) - queued),
        "a call waits where a permit is free that it may use": not queued
        or not version.pool.is_free
        or whose_turn(version, now_ns) is None
        or 0 < version.timer_ns <= now_ns,  # a bounded step left work over
        "count of permits": version.permits == sum(r.permits for r in replicas),
        "count of ejected": version.ejected == sum(r.is_ejected for r in replicas),
        "more than a third is ejected": version.ejected * 3 <= len(replicas),
        "calls of each class in flight": version.classes.flight
        == [sum(c.rank == rank and c.replica is not None for c in calls) for rank in range(4)],
        "calls of each class that wait": version.waiting.queued
        == [sum(c.rank == rank and c.is_queued for c in calls) for rank in range(4)],
        "nested calls that wait": version.waiting.nested
        == [
            sum(c.rank == r and c.is_queued and c.parent is not None for c in calls)
            for r in range(4)
        ],
        "bytes that wait": sum(version.waiting.bytes_queued)
        == sum(c.asked.size_bytes for c in calls if c.is_queued),
        "taken ahead and yet a holder": not any(
            call in version.holders for r in state.replicas.values() for call in r.early
        ),
        "nobody looks after its limits": bool(version.timer_ns) == bool(queued),
        "holders": version.holders == holding,
        "blocked": version.blocked == sum(call.below > 0 for call in holding),
        "count of replicas": version.replicas == len(replicas),
    }
    yield from (f"{version.key}: {name}" for name, holds in checks.items() if not holds)


def call_flaws(call: Call) -> Iterator[str]:
    checks = {
        "is neither here nor there": call.is_queued != (call.replica is not None),
        "nobody looks after its deadline": call.timer_ns == call.deadline_ns * call.is_queued,
        "waiting below it": call.below == waiting_below(call),
    }
    yield from (f"call {call.id}: {name}" for name, holds in checks.items() if not holds)


def waiting_below(call: Call) -> int:
    return sum(child.is_queued + waiting_below(child) for child in call.children or ())
