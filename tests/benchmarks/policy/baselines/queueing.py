"""What would other ways to order a queue come to? Calls, slots, and an order; lengths may be known or not."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Literal

from glowplug.spec import Class

RANKS: dict[Class, int] = {"critical": 0, "interactive": 1, "standard": 2, "batch": 3}


@dataclass(slots=True)
class Work:
    """A call and what became of it. `deadline_ns` is absolute; 0 = none."""

    at_ns: int
    service_ns: int
    klass: Class = "standard"
    tenant: str = ""
    deadline_ns: int = 0
    sent_ns: int = -1  # -1 = never
    done_ns: int = -1  # -1 = never, or cut off at its deadline

    @property
    def is_on_time(self) -> bool:
        """Say whether it was done by its deadline."""
        return self.done_ns >= 0 and (not self.deadline_ns or self.done_ns <= self.deadline_ns)


# Who is dropped unserved: nobody; whose deadline has passed; who cannot make it, which takes known lengths.
Drops = Literal["never", "expired", "hopeless"]
# Order among those that wait: least first. It is asked once, when a call arrives.
Order = Callable[[Work], Any]


def fifo(work: Work) -> Any:
    """First come, first served."""
    return work.at_ns


def strict(work: Work) -> Any:
    """Serve the higher class first, always."""
    return RANKS[work.klass], work.at_ns


def earliest_deadline(work: Work) -> Any:
    """Serve whose deadline is first."""
    return work.deadline_ns or 1 << 62, work.at_ns


def bands(work: Work) -> Any:
    """Serve by strict bands, inside a band by deadline: llm-d's flow control with its EDF ordering (§1.9)."""
    return RANKS[work.klass], *earliest_deadline(work)


class RoundRobin:
    """Tenants take turns by device time: deficit round robin with the true cost, as a virtual finish time."""

    def __init__(self) -> None:
        self._finish: dict[str, int] = {}
        self._now = 0

    def __call__(self, work: Work) -> Any:
        """Return when the call would be over if all tenants shared the device."""
        begin = max(self._now, self._finish.get(work.tenant, 0))
        self._finish[work.tenant] = begin + work.service_ns
        return self._finish[work.tenant]

    def served(self, finish: int) -> None:
        """Note how far service has come."""
        self._now = max(self._now, finish)


def serve(works: Iterable[Work], slots: int, order: Order, drops: Drops) -> None:
    """Serve in order. Whoever is begun and passes its deadline is cut off there, unless nothing is dropped at all."""
    free = [0] * slots
    waiting: list[tuple[Any, int, Work]] = []
    arrivals = sorted(works, key=lambda work: work.at_ns)
    number = 0
    while number < len(arrivals) or waiting:
        now_ns = free[0]
        if not waiting:
            now_ns = max(now_ns, arrivals[number].at_ns)
        while number < len(arrivals) and arrivals[number].at_ns <= now_ns:
            heappush(waiting, (order(arrivals[number]), number, arrivals[number]))
            number += 1
        key, _, work = heappop(waiting)
        if isinstance(order, RoundRobin):
            order.served(key)
        if not _is_dropped(work, now_ns, drops):
            heappop(free)
            heappush(free, _ended(work, now_ns, drops))


def _is_dropped(work: Work, now_ns: int, drops: Drops) -> bool:
    latest_ns = work.deadline_ns - (work.service_ns if drops == "hopeless" else 1)
    return drops != "never" and work.deadline_ns > 0 and now_ns > latest_ns


def _ended(work: Work, now_ns: int, drops: Drops) -> int:
    work.sent_ns, ends_ns = now_ns, now_ns + work.service_ns
    if drops != "never" and 0 < work.deadline_ns < ends_ns:
        return work.deadline_ns
    work.done_ns = ends_ns
    return ends_ns


def most_on_time(works: Iterable[Work], slots: int, span_ns: int) -> int:
    """Return a bound on the calls that can be on time: the shortest ones that fit into all slots over the span."""
    left_ns, count = slots * span_ns, 0
    for service_ns in sorted(work.service_ns for work in works):
        left_ns -= service_ns
        count += left_ns >= 0
    return count


def most_without_lengths(works: Iterable[Work], slots: int, span_ns: int) -> int:
    """Return a bound on the calls that can be expected to end by who learns a length only when the call ends.

    Such a one can but begin calls, and end each at an age of its choice. Lengths being independent, that is a renewal
    process: with an age limit x it ends F(x) calls in E[min(S, x)] of device time (Wald), and no mixture of limits is
    better than the best one. So: the most of F(x) / E[min(S, x)], over all x, times the device time there is.
    Deadlines are left out, which only makes it larger.
    """
    lengths = sorted(work.service_ns for work in works)
    best, passed_ns = 0.0, 0
    for number, length_ns in enumerate(lengths, 1):
        passed_ns += length_ns
        best = max(best, number / (passed_ns + (len(lengths) - number) * length_ns))
    return min(len(lengths), int(best * slots * span_ns))
