"""Which replica of a version takes the next call?

The one with most free permits; among equals the one that was sent a call, or ended one, longest ago. Replicas lie in
buckets by free permits, so that choosing and moving cost the same with one replica and with a thousand.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glowplug_router.dispatch.state import Replica

FREE_SHOWN_MAX = 256  # replicas with more free permits than this are equals: bounds the buckets


class Pool:
    """Replicas of one version that can take a call now."""

    __slots__ = ("_buckets", "_most")

    def __init__(self) -> None:
        self._buckets: list[OrderedDict[Replica, None]] = [OrderedDict()]
        self._most = 0

    def first(self) -> "Replica | None":
        """Return the replica to send to, or None when no permit is free."""
        return next(iter(self._buckets[self._most])) if self._most else None

    def settle(self, replica: "Replica") -> None:
        """Put the replica where its free permits say; nowhere when it can take no call."""
        if replica.slot:
            del self._buckets[replica.slot][replica]
        slot = replica.slot = min(replica.free, FREE_SHOWN_MAX) if replica.is_open else 0
        if slot:
            while len(self._buckets) <= slot:
                self._buckets.append(OrderedDict())
            self._buckets[slot][replica] = None
        if slot > self._most:
            self._most = slot
        while self._most and not self._buckets[self._most]:
            self._most -= 1
