"""Which replica of a version takes the next call?

The one from which the answer is expected soonest: (calls there + 1) × what its calls take / its permits. Delays lie on
a ladder with rungs a fifth apart; on one rung, the replica that was sent a call, or ended one, longest ago is next. A
replica of which nothing was learned yet is taken to be like the others.

When every permit is taken, a call may go *ahead* to a replica that takes some beyond its permits: where fewest are.
"""

from bisect import insort
from math import log2
from typing import TYPE_CHECKING

from glowplug_router.dispatch.affinity import preferred, seed_of
from glowplug_router.dispatch.levels import Levels

if TYPE_CHECKING:
    from glowplug_router.dispatch.state import Replica

RUNGS = 4  # to a doubling of the delay
AFFINITY_MAX = 2.0  # times the shortest delay: what a warm cache may cost in waiting
NOWHERE = -1
SOLE = 0  # the level of a replica that has no other beside it: there is nothing to choose


class Pool:
    """Replicas of one version that can take a call now."""

    __slots__ = ("early", "free", "ring")

    def __init__(self) -> None:
        self.free: Levels[Replica] = Levels()  # those with a permit to use, by delay
        self.early: Levels[Replica] = (
            Levels()
        )  # those that take a call ahead, by how many they have
        self.ring: list[tuple[int, str, Replica]] = []  # all that do not leave, by seed

    @property
    def is_free(self) -> bool:
        """Say whether some permit is free and may be used."""
        return self.free.mask != 0

    def first(self, affinity: str = "") -> "Replica | None":
        """Return the replica to send to, or None when no permit is free."""
        best = self.free.lowest()
        if affinity and best is not None:
            liked = preferred(self.ring, affinity)
            if liked.level != NOWHERE and delay_ns(liked) <= AFFINITY_MAX * delay_ns(best):
                return liked
        return best

    def first_early(self) -> "Replica | None":
        """Return the replica that takes a call beyond its permits, or None."""
        return self.early.lowest()

    def join(self, replica: "Replica") -> None:
        """Take in a replica."""
        replica.seed = seed_of(replica.id)
        insort(self.ring, (replica.seed, replica.id, replica))
        if len(self.ring) == 2:
            for _, _, one in self.ring:
                if one is not replica:  # it was alone: from now on its delay counts
                    self.settle(one)

    def part(self, replica: "Replica") -> None:
        """Let a replica go that may be sent nothing more."""
        self.ring.remove((replica.seed, replica.id, replica))
        self.settle(replica)

    def settle(self, replica: "Replica") -> None:
        """Put the replica where its calls and permits say; nowhere when it can take no call."""
        before = replica.level
        running = len(replica.calls) - len(replica.early)
        if running < replica.usable:
            if len(self.ring) == 1 and before == SOLE:
                return
            mean_ns = replica.mean_ns or replica.version.mean_ns
            # As in `delay_ns`: every call comes by here twice, and a call of a function shows.
            level = SOLE
            if len(self.ring) > 1:
                level = int(RUNGS * log2((running + 1) * mean_ns / replica.permits + 1.0))
            replica.level = level
            if before == level:
                self.free.renew(replica, level)
                return
            self.free.put(replica, level)
        else:
            replica.level = NOWHERE
        if before != NOWHERE:
            self.free.take(replica, before)
        if replica.ahead or replica.early_level != NOWHERE:
            self._settle_early(replica, running)

    def _settle_early(self, replica: "Replica", running: int) -> None:
        if replica.early_level != NOWHERE:
            self.early.take(replica, replica.early_level)
            replica.early_level = NOWHERE
        is_full = 0 < replica.usable == replica.permits <= running
        if is_full and not replica.is_on_trial and len(replica.early) < replica.ahead:
            replica.early_level = len(replica.early)
            self.early.put(replica, replica.early_level)


def delay_ns(replica: "Replica") -> float:
    """Return how long a call sent now is expected to take there, with those that are there."""
    mean_ns = replica.mean_ns or replica.version.mean_ns
    return (len(replica.calls) - len(replica.early) + 1) * mean_ns / replica.permits + 1.0
