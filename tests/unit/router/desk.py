"""A dispatcher at hand: time moves when told, every step is checked against what must always hold."""

from collections.abc import Iterator

from glowplug.clock import MINUTE, SECOND
from glowplug.spec import Class
from glowplug_router.dispatch import (
    CallArrived,
    CallEnded,
    DispatchState,
    Effect,
    Event,
    ReplicaReady,
    Send,
    Tick,
    VersionSet,
    step,
)
from glowplug_router.dispatch.state import Call, Version


class Desk:
    """One dispatcher and its clock."""

    def __init__(self) -> None:
        self.state = DispatchState()
        self.now_ns = SECOND
        self.last_call = 0

    def feed(self, event: Event) -> tuple[Effect, ...]:
        effects = step(self.state, event, self.now_ns)
        problems = flaws(self.state)
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
    ) -> tuple[Effect, ...]:
        return self.feed(VersionSet(version, hold, queue_ns, start_ns, max_permits, failed))

    def ready(self, replica: str, permits: int = 1, version: str = "v") -> tuple[Effect, ...]:
        return self.feed(ReplicaReady(replica, version, permits))

    def call(
        self,
        version: str = "v",
        *,
        deadline_ns: int = 0,
        klass: Class = "standard",
        parent: int = 0,
    ) -> tuple[Effect, ...]:
        self.last_call += 1
        event = CallArrived(self.last_call, version, deadline_ns, klass=klass, parent=parent)
        return self.feed(event)

    def end(self, call: int, replica: str) -> tuple[Effect, ...]:
        return self.feed(CallEnded(call, replica))


def sent(effects: tuple[Effect, ...]) -> list[tuple[int, str]]:
    return [(effect.call, effect.replica) for effect in effects if isinstance(effect, Send)]


def flaws(state: DispatchState) -> list[str]:
    """Return what does not hold although it always must."""
    found = [flaw for version in state.versions.values() for flaw in version_flaws(state, version)]
    found += [flaw for call in state.calls.values() for flaw in call_flaws(call)]
    found += [
        f"{replica.id}: holds a call that is elsewhere"
        for replica in state.replicas.values()
        if any(call.replica is not replica for call in replica.calls.values())
    ]
    return found


def version_flaws(state: DispatchState, version: Version) -> Iterator[str]:
    calls = [call for call in state.calls.values() if call.version is version]
    queued = sum(call.is_queued for call in calls)
    holding = {c for c in calls if c.replica and not c.is_cancelled and c in version.holders}
    replicas = [r for r in state.replicas.values() if r.version is version and not r.is_leaving]
    checks = {
        "counts of calls": (version.waiting.count, version.running)
        == (queued, len(calls) - queued),
        "a call waits while a permit is free": not queued or version.pool.first() is None,
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
