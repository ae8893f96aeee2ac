"""What waits for a version, and what goes next?

Classes take turns (`classes`), within a class its tenants (`tenants`), and of a tenant its most urgent call (`line`).
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

from glowplug_router.dispatch.classes import RANKS
from glowplug_router.dispatch.ordered import Ordered
from glowplug_router.dispatch.tenants import Tenants

if TYPE_CHECKING:
    from glowplug_router.dispatch.state import Call


class Waiting:
    """The queue of one version."""

    __slots__ = ("_arrived", "_returned", "bytes_queued", "classes", "count", "nested", "queued")

    def __init__(self) -> None:
        self.count = 0
        self.queued = [0, 0, 0, 0]  # calls of each class
        self.nested = [0, 0, 0, 0]  # of those: made from running ones
        self.bytes_queued = [0, 0, 0, 0]
        self.classes = tuple(Tenants() for _ in RANKS)
        self._arrived: OrderedDict[Call, None] = OrderedDict()  # in the order of their places
        self._returned: Ordered[tuple[int, Call]] = (
            Ordered()
        )  # those that came back, by their places

    def push(self, call: "Call") -> None:
        """Let a call wait, at the place that its arrival gave it."""
        call.is_queued = True
        self._count(call, 1)
        if call.attempt > 1 or call.was_handed_back:
            self._returned.add((call.place, call))
        else:
            self._arrived[call] = None
        self.classes[call.rank].push(call)

    def remove(self, call: "Call") -> None:
        """Let a waiting call go."""
        call.is_queued = False
        self._count(call, -1)
        if call in self._arrived:
            del self._arrived[call]
        else:
            self._returned.remove((call.place,))
        self.classes[call.rank].remove(call)

    def orphaned(self, call: "Call") -> None:
        """Note that a waiting call is no longer nested: the one it was made from is over."""
        self.nested[call.rank] -= 1

    def next(self, rank: int, now_ns: int) -> "Call":
        """Return the call of a class to send first; there is one."""
        return self.classes[rank].next(rank, now_ns)

    def oldest(self) -> "Call | None":
        """Return the call that has waited longest: the first that a limit can end."""
        first = next(iter(self._arrived)) if self._arrived else None
        back = self._returned.first()
        if back is not None and (first is None or back[0] < first.place):
            return back[1]
        return first

    def _count(self, call: "Call", by: int) -> None:
        self.count += by
        self.queued[call.rank] += by
        self.nested[call.rank] += by * call.is_nested
        self.bytes_queued[call.rank] += by * call.asked.size_bytes
