"""Does everybody who waits get a share? Between the tenants of a class, and between classes.

Counted from outside: what waited, what was sent when, and how long it ran. Only calls that had to wait count; what is
left over when nobody waits is nobody's loss.

Two tenants may differ by what start-time fair queueing promises where D calls run at once: D + 1 of the longest calls
of each (SFQ(D): Jin, Chase and Kaur, SIGMETRICS 2004). With less, who begins to wait while one tenant's calls hold all
permits would seem to be cheated as soon as these end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from glowplug.clock import MILLISECOND
from glowplug.spec import Class
from glowplug_router.dispatch.classes import RANK, RESERVED
from glowplug_router.simulation.facts import Accepted

# In the longest call seen: one for the charge that was too low, one for the call that runs, and as many again.
CLASS_BOUND = 4
Breach = tuple[str, str]  # invariant, what happened
CALL_MIN_NS = 5 * MILLISECOND  # calls shorter than this say little about fairness


@dataclass(slots=True)
class _Queue:
    """One class of one version."""

    waiting: dict[str, int] = field(default_factory=dict)  # tenant -> calls
    given_ns: dict[str, int] = field(
        default_factory=dict
    )  # to those that wait, since nobody waited
    passed_ns: int = 0  # device time of other classes since one of this class was at a replica
    at_replicas: int = 0
    deepest: int = 0  # most calls at replicas at once, since nobody waited

    def begin(self, tenant: str) -> None:
        """Note that a call begins to wait. Who did not wait starts where the poorest of those that do is."""
        if tenant not in self.waiting:
            poorest_ns = min((self.given_ns[other] for other in self.waiting), default=0)
            self.given_ns[tenant] = max(self.given_ns.get(tenant, 0), poorest_ns)
        self.waiting[tenant] = self.waiting.get(tenant, 0) + 1

    def cease(self, tenant: str) -> None:
        """Note that a call waits no more."""
        self.waiting[tenant] -= 1
        if not self.waiting[tenant]:
            del self.waiting[tenant]
        if not self.waiting:
            self.given_ns.clear()
            self.passed_ns = 0
            self.deepest = self.at_replicas

    def tenant_bound_ns(self, longest_ns: int) -> int:
        """Return by how much tenants may differ that wait."""
        return 2 * (self.deepest + 1) * longest_ns


class Sharing:
    """Shares of all versions of one run."""

    def __init__(self) -> None:
        self._queues: dict[tuple[str, Class], _Queue] = {}
        self._calls: dict[int, Accepted] = {}  # open
        self._waits: set[int] = set()
        self._fresh: list[
            int
        ] = []  # came in since the last step: those that are sent at once did not wait
        self._counted: dict[int, Accepted] = {}  # at replicas, after they waited
        self._longest_ns: dict[str, int] = {}

    def accepted(self, fact: Accepted) -> None:
        """Note a call that came."""
        self._calls[fact.call] = fact
        self._fresh.append(fact.call)

    def stepped(self) -> None:
        """Note that what was not sent by now waits."""
        for call in self._fresh:
            if call in self._calls:
                self._begin(call)
        self._fresh.clear()

    def _begin(self, call: int) -> None:
        self._waits.add(call)
        self._queue(self._calls[call]).begin(self._calls[call].tenant)

    def sent(self, call: int) -> None:
        """Note that a call went to a replica."""
        known = self._calls.get(call)
        if known is None:
            return
        queue = self._queue(known)
        queue.at_replicas += 1
        queue.deepest = max(queue.deepest, queue.at_replicas)
        queue.passed_ns = 0
        if call in self._waits:
            self._counted[call] = known
            self._cease(call)
        else:
            self._fresh = [other for other in self._fresh if other != call]

    def _cease(self, call: int) -> None:
        self._waits.discard(call)
        self._queue(self._calls[call]).cease(self._calls[call].tenant)

    def answered(self, call: int) -> None:
        """Note that a call is over for its caller."""
        if call in self._waits:
            self._cease(call)
        self._calls.pop(call, None)

    def freed(self, call: int, known: Accepted | None, service_ns: int) -> Iterator[Breach]:
        """Note that a call is no longer at its replica; return who got less than is due."""
        if known is None:
            return
        queue = self._queue(known)
        queue.at_replicas -= 1
        counted = self._counted.pop(call, None)
        if not service_ns:
            if call in self._calls:
                self._fresh.append(call)  # it waits again, or goes elsewhere at once
            return
        longest_ns = max(self._longest_ns.get(known.version, CALL_MIN_NS), service_ns)
        self._longest_ns[known.version] = longest_ns
        if counted is not None and known.tenant in queue.waiting:
            queue.given_ns[known.tenant] += service_ns
            yield from _unfair(known, queue, queue.tenant_bound_ns(longest_ns))
        yield from self._starved(known, service_ns, CLASS_BOUND * longest_ns)

    def _starved(self, known: Accepted, service_ns: int, bound_ns: int) -> Iterator[Breach]:
        for klass, rank in RANK.items():
            queue = self._queues.get((known.version, klass))
            if klass == known.klass or queue is None or not queue.waiting or queue.at_replicas:
                continue
            queue.passed_ns += service_ns
            if RESERVED[rank] and queue.passed_ns > bound_ns / RESERVED[rank]:
                text = f"{klass} of {known.version} got nothing for {queue.passed_ns / 1e9:.2f} s"
                yield "class_share", text

    def _queue(self, known: Accepted) -> _Queue:
        return self._queues.setdefault((known.version, known.klass), _Queue())


def _unfair(known: Accepted, queue: _Queue, bound_ns: int) -> Iterator[Breach]:
    given_ns = queue.given_ns[known.tenant]
    poorest = min(queue.waiting, key=lambda tenant: queue.given_ns[tenant])
    if given_ns - queue.given_ns[poorest] > bound_ns:
        poorest_ns = queue.given_ns[poorest]
        text = f"{known.tenant} got {given_ns / 1e9:.2f} s, {poorest} {poorest_ns / 1e9:.2f} s"
        yield "tenant_share", f"{known.klass} of {known.version}: {text}"
