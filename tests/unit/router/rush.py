"""A shop that has more to do than it can: the dispatcher under load, in virtual time."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from glowplug.clock import SECOND
from glowplug.spec import Class
from glowplug_router.dispatch import (
    CallArrived,
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


@dataclass(frozen=True)
class Asked:
    """One call that will come."""

    at_ns: int
    cost_ns: int
    tenant: str = ""
    klass: Class = "standard"
    within_ns: int = 0  # a deadline of its own


@dataclass
class Rush:
    """What came of it."""

    given: Counter[str] = field(default_factory=Counter)  # device time by tenant
    waits: dict[Class, list[int]] = field(default_factory=lambda: defaultdict(list))
    took: dict[Class, list[int]] = field(default_factory=lambda: defaultdict(list))  # wait and run
    codes: Counter[str] = field(default_factory=Counter)
    late: int = 0  # ended after their deadline

    def count(self, one: Asked, now_ns: int, until_ns: int) -> None:
        """Note that a call began to run."""
        end_ns = now_ns + one.cost_ns
        self.waits[one.klass].append(now_ns - one.at_ns)
        self.took[one.klass].append(end_ns - one.at_ns)
        self.given[one.tenant] += min(one.cost_ns, until_ns - now_ns)
        self.late += 0 < one.within_ns < end_ns - one.at_ns


def rush(
    asked: Iterable[Asked], permits: int, until_ns: int, queue: int = 100_000, replicas: int = 1
) -> Rush:
    """Let calls come and run until a time."""
    state, result = DispatchState(), Rush()
    step(state, VersionSet("v", queue, 1000 * SECOND, 1000 * SECOND, permits), 1)
    for number in range(replicas):
        step(state, ReplicaReady(f"r{number}", "v", permits // replicas), 1)
    calls = dict(enumerate(asked, 1))
    todo: list[tuple[int, int, Event]] = []
    for number, one in calls.items():
        deadline_ns = one.at_ns + (one.within_ns or 1000 * SECOND)
        has_deadline = one.within_ns > 0
        event = CallArrived(
            number, "v", deadline_ns, one.tenant, one.klass, has_deadline=has_deadline
        )
        heappush(todo, (one.at_ns, number, event))
    serial = len(calls)
    while todo and todo[0][0] <= until_ns:
        now_ns, _, happened = heappop(todo)
        for effect in step(state, happened, now_ns) + _ticked(state, now_ns):
            if isinstance(effect, Send):
                serial += 1
                end_ns = now_ns + calls[effect.call].cost_ns
                result.count(calls[effect.call], now_ns, until_ns)
                ended = CallEnded(effect.call, effect.replica, calls[effect.call].cost_ns)
                heappush(todo, (end_ns, serial, ended))
            elif isinstance(effect, Refuse):
                result.codes[effect.code] += 1
    return result


def _ticked(state: DispatchState, now_ns: int) -> tuple[Effect, ...]:
    due_ns = state.next_due_ns
    return step(state, Tick(), now_ns) if due_ns is not None and due_ns <= now_ns else ()


def jain(values: Iterable[float]) -> float:
    """Return Jain's index: 1 when all have the same, 1/n when one has all."""
    shares = list(values)
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
