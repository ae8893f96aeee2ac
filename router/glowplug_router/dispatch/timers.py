"""When must something be looked at again?

A heap with lazy deletion. An entry counts only while its target still carries the same time, so that setting or
clearing a timer is one assignment and nothing is ever searched.
"""

from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

COMPACT_MIN = 1024  # entries below which stale ones are not worth throwing out


class Timed(Protocol):
    """Something with one timer; 0 = not set."""

    timer_ns: int


T = TypeVar("T", bound=Timed)


class Timers(Generic[T]):
    """The timers of many targets, at most one each."""

    __slots__ = ("_compact_at", "_heap", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []
        self._serial = 0  # breaks ties in the order of setting: replays stay equal
        self._compact_at = COMPACT_MIN

    def set(self, target: T, due_ns: int) -> None:
        """Set the target's timer, whatever it was."""
        if len(self._heap) >= self._compact_at:
            self._compact()
        target.timer_ns = due_ns
        self._serial += 1
        heappush(self._heap, (due_ns, self._serial, target))

    def set_no_later(self, target: T, due_ns: int) -> None:
        """Set the target's timer unless an earlier one stands: looking too early is harmless."""
        if not target.timer_ns or due_ns < target.timer_ns:
            self.set(target, due_ns)

    @property
    def first_ns(self) -> int | None:
        """Return the earliest time set, or None."""
        heap = self._heap
        while heap:
            due_ns, _, target = heap[0]
            if target.timer_ns == due_ns:
                return due_ns
            heappop(heap)
        return None

    def is_due(self, now_ns: int) -> bool:
        """Say, in a hurry, whether anything may be due: stale entries count."""
        return bool(self._heap) and self._heap[0][0] <= now_ns

    def pop(self, now_ns: int) -> T | None:
        """Return the target that is due longest, its timer cleared, or None."""
        heap = self._heap
        while heap and heap[0][0] <= now_ns:
            due_ns, _, target = heappop(heap)
            if target.timer_ns == due_ns:
                target.timer_ns = 0
                return target
        return None

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].timer_ns == entry[0]]
        heapify(self._heap)
        self._compact_at = max(COMPACT_MIN, 2 * len(self._heap))
