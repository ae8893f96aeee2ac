"""Which waiting call goes next?

Within a class: first come, first served, and a call that a replica refused keeps its place. Between classes: each class
yields to the better ones for a fixed part of the queue limit (`CLASS_LAG`), then its age wins. So a batch call waits at
most half of its limit for its class alone, and a flood of critical calls cannot starve it. Fairness between tenants
will take the place of the heap inside a class; nothing else needs to know.
"""

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from glowplug.spec import Class

if TYPE_CHECKING:
    from glowplug_router.dispatch.state import Call

RANK: dict[Class, int] = {"critical": 0, "interactive": 1, "standard": 2, "batch": 3}
CLASS_LAG = (0, 1, 4, 8)  # sixteenths of the queue limit
COMPACT_MIN = 64  # entries below which stale ones are not worth throwing out


class Waiting:
    """The queue of one version. Leaving it is O(1); the heaps drop stale entries when they surface."""

    __slots__ = ("_heaps", "_live", "count")

    def __init__(self) -> None:
        self._heaps: list[list[tuple[int, Call]]] = [[] for _ in CLASS_LAG]
        self._live = [0 for _ in CLASS_LAG]
        self.count = 0

    def push(self, call: "Call") -> None:
        """Let the call wait at the place its arrival gave it."""
        call.is_queued = True
        heappush(self._heaps[call.rank], (call.place, call))
        self._live[call.rank] += 1
        self.count += 1

    def remove(self, call: "Call") -> None:
        """Let a waiting call go."""
        call.is_queued = False
        rank = call.rank
        self._live[rank] -= 1
        self.count -= 1
        heap = self._heaps[rank]
        if len(heap) > 2 * self._live[rank] + COMPACT_MIN:
            heap[:] = [entry for entry in heap if entry[1].is_queued]
            heapify(heap)

    def next(self, queue_ns: int) -> "Call | None":
        """Return the call to send first."""
        best: Call | None = None
        best_key = 0
        for rank, lag in enumerate(CLASS_LAG):
            head = self._head(rank)
            if head is not None:
                key = head.since_ns + queue_ns * lag // 16
                if best is None or key < best_key:
                    best, best_key = head, key
        return best

    def oldest(self) -> "Call | None":
        """Return the call that has waited longest: the first that a limit can end."""
        heads = [head for rank in range(len(CLASS_LAG)) if (head := self._head(rank)) is not None]
        return min(heads, key=_place, default=None)

    def _head(self, rank: int) -> "Call | None":
        heap = self._heaps[rank]
        while heap and not heap[0][1].is_queued:
            heappop(heap)
        return heap[0][1] if heap else None


def _place(call: "Call") -> int:
    return call.place
