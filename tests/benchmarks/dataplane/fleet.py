"""How does the real dispatcher behave in virtual time? Replicas that take as long as a script says."""

# The gateway's loop is modelled too: each event it handles keeps it busy for `loop_ns`, and events that come
# meanwhile wait, so a flood on one endpoint delays the others just as it would in a process with one thread.

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from glowplug.clock import SECOND
from glowplug.spec import Class
from glowplug_router.dispatch import (
    CallArrived,
    CallEnded,
    DispatchState,
    Event,
    Lost,
    Refuse,
    ReplicaReady,
    Send,
    Tick,
    VersionSet,
    step,
)

EPOCH_NS = 1000 * SECOND  # no event happens at zero, which means "not set" in places


@dataclass(slots=True)
class Job:
    """One call of a script, and what became of it."""

    at_ns: int
    version: str
    service_ns: int
    klass: Class = "standard"
    tenant: str = ""
    deadline_ns: int = 0  # after its arrival; 0 = none
    sent_ns: int = 0
    done_ns: int = 0
    refused: str = ""

    @property
    def latency_ns(self) -> int:
        """Return how long its caller waited for the answer."""
        return self.done_ns - self.at_ns


@dataclass(slots=True)
class Fleet:
    """One gateway and its replicas."""

    loop_ns: int = 0  # the gateway's own time for one event
    state: DispatchState = field(default_factory=DispatchState)
    jobs: dict[int, Job] = field(default_factory=dict)
    _heap: list[tuple[int, int, Any]] = field(default_factory=list)
    _inbox: "deque[Event]" = field(default_factory=deque)
    _serial: int = 0
    _free_ns: int = 0  # when the loop has time for the next event
    _tick_ns: int = 0

    def version(
        self, key: str, *, replicas: int, permits: int = 1, hold: int = 100, queue_s: float = 60
    ) -> None:
        """Add a version with ready replicas."""
        limits = VersionSet(
            key, hold, int(queue_s * SECOND), 600 * SECOND, max(replicas, 1) * permits
        )
        step(self.state, limits, EPOCH_NS)
        for number in range(replicas):
            step(self.state, ReplicaReady(f"{key}#{number}", key, permits), EPOCH_NS)

    def start(self, key: str, at_ns: int, permits: int = 1) -> None:
        """Have a replica of a version become ready at a time."""
        self._push(EPOCH_NS + at_ns, ReplicaReady(f"{key}#{at_ns}", key, permits))

    def add(self, job: Job) -> None:
        """Have a call arrive at its time."""
        number = len(self.jobs) + 1
        self.jobs[number] = job
        self._push(EPOCH_NS + job.at_ns, number)

    def run(self) -> list[Job]:
        """Let everything happen and return the calls in the order of `add`."""
        while self._heap:
            at_ns, _, what = heappop(self._heap)
            self._take(what, at_ns)
        return list(self.jobs.values())

    def _take(self, what: Any, at_ns: int) -> None:
        if isinstance(what, int):
            job = self.jobs[what]
            deadline_ns = at_ns + job.deadline_ns if job.deadline_ns else 0
            self._hand_in(
                CallArrived(
                    what, job.version, deadline_ns, job.tenant, job.klass,
                    has_deadline=bool(deadline_ns),
                ),
                at_ns,
            )  # fmt: skip
        elif what == "loop":
            self._handle(at_ns)
        elif isinstance(what, Tick):
            self._tick_ns = 0
            self._hand_in(what, at_ns)
        else:
            self._hand_in(what, at_ns)

    def _hand_in(self, event: Event, at_ns: int) -> None:
        """Put an event before the loop, which takes them one after the other."""
        self._inbox.append(event)
        if len(self._inbox) == 1:
            self._push(max(at_ns, self._free_ns), "loop")

    def _handle(self, now_ns: int) -> None:
        event = self._inbox.popleft()
        done_ns = self._free_ns = now_ns + self.loop_ns
        for effect in step(self.state, event, now_ns):
            match effect:
                case Send():
                    job = self.jobs[effect.call]
                    job.sent_ns = done_ns - EPOCH_NS
                    ended = CallEnded(effect.call, effect.replica, job.service_ns)
                    self._push(done_ns + job.service_ns, ended)
                case Refuse():
                    job = self.jobs[effect.call]
                    job.refused, job.done_ns = effect.code, done_ns - EPOCH_NS
                case Lost():
                    raise AssertionError(effect)
                case _:
                    pass
        if isinstance(event, CallEnded):
            self.jobs[event.call].done_ns = done_ns - EPOCH_NS
        if self._inbox:
            self._push(done_ns, "loop")
        self._arm(done_ns)

    def _arm(self, now_ns: int) -> None:
        due_ns = self.state.next_due_ns
        if due_ns is not None and (not self._tick_ns or due_ns < self._tick_ns):
            self._tick_ns = max(due_ns, now_ns)
            self._push(self._tick_ns, Tick())

    def _push(self, at_ns: int, what: Any) -> None:
        self._serial += 1
        heappush(self._heap, (at_ns, self._serial, what))


def percentile(values: list[int], share: float) -> int:
    """Return the value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
