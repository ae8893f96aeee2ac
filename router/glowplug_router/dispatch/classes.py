"""Which class goes next?

The better class goes first, within two bounds.

**Reserved shares.** While calls of a class wait, at least `RESERVED` of the device time that the version gives goes to
that class, whatever the better ones do. All device time that is given out while a class waits earns it its share as
credit; with credit for one call it is its turn (before a critical call: with credit for four). Credit is not hoarded:
it goes when nobody of the class waits, so a share that is not used is lent to the others.

**Hold-back.** Lower classes leave some permits free, so that a call of a better class need not wait for one: at most
70 % of the permits run batch, and 90 % standard and batch together, while a better class has called within the last ten
seconds. One permit may always be used, and a call made from a running one is never held back: its parent holds a permit
meanwhile.

Device time is what replicas report; it is charged as predicted when a call goes out, and corrected when it ends.
"""

from collections.abc import Sequence

from glowplug.clock import MILLISECOND, SECOND
from glowplug.spec import Class

RANK: dict[Class, int] = {"critical": 0, "interactive": 1, "standard": 2, "batch": 3}
RANKS = (0, 1, 2, 3)
INTERACTIVE, STANDARD, BATCH = 1, 2, 3
# Critical is first anyway: at least the other 74 % are its own. Batch is promised 5 %; with one more, the promise holds
# however the time is cut.
RESERVED = (0.0, 0.10, 0.10, 0.06)
CEILING = (100, 100, 90, 70)  # percent of the permits
ACTIVE_NS = 10 * SECOND  # a class that called so recently will call again soon
# What a call is taken to cost while nothing was measured: all cost the same then, so that only the ratio counts.
COST_UNKNOWN_NS = 100.0 * MILLISECOND
# Critical calls come in gaps: who has a share coming waits for one of these, unless it is this many calls behind.
_OVERDUE_CALLS = 4
_CREDIT_CALLS_MAX = 8  # a class that was held back for long must not come out as a flood


class Classes:
    """What the classes of one version use, and what they have coming."""

    __slots__ = ("credit", "flight", "held_until_ns")

    def __init__(self) -> None:
        self.flight = [0, 0, 0, 0]  # calls of each class at replicas
        self.credit = [0.0, 0.0, 0.0, 0.0]  # device time that each class has coming while it waits
        self.held_until_ns = [0, 0, 0, 0]  # the end of hold-back, unless a better class calls again

    def called(self, rank: int, now_ns: int) -> None:
        """Note that a call came: permits are held back from those that are worse."""
        if rank < BATCH:
            self.held_until_ns[BATCH] = now_ns + ACTIVE_NS
            if rank < STANDARD:
                self.held_until_ns[STANDARD] = now_ns + ACTIVE_NS

    def is_held(self, rank: int, permits: int, now_ns: int) -> bool:
        """Say whether the class must leave free permits to better ones; asked while its hold-back lasts."""
        lower = self.flight[STANDARD] + self.flight[BATCH]
        if rank == BATCH and self.flight[BATCH] >= _most(permits, BATCH):
            return True
        return now_ns < self.held_until_ns[STANDARD] and lower >= _most(permits, STANDARD)

    def next(
        self,
        queued: Sequence[int],
        nested: Sequence[int],
        permits: int,
        mean_ns: float,
        now_ns: int,
    ) -> int | None:
        """Return the class whose turn it is, or None when those that wait are all held back.

        `queued` calls of each class wait, `nested` of them made from running ones; a call takes `mean_ns`.
        """
        held_until_ns = self.held_until_ns
        best: int | None = None
        turn_ns = mean_ns * (_OVERDUE_CALLS if queued[0] else 1)
        for rank in RANKS:
            if queued[rank]:
                is_held = now_ns < held_until_ns[rank] and self.is_held(rank, permits, now_ns)
                if is_held and not nested[rank]:
                    continue
                if rank and self.credit[rank] >= turn_ns:
                    return rank
                if best is None:
                    best = rank
        return best

    def charge(self, rank: int, cost_ns: float, queued: Sequence[int], mean_ns: float) -> None:
        """Note device time given to a class: it spends credit, and those that wait earn some."""
        self._earn(cost_ns, queued, mean_ns)
        # What a class got while no better one waited is no debt: it is never more than this call behind.
        self.credit[rank] = max(self.credit[rank] - cost_ns, -cost_ns)

    def correct(self, rank: int, by_ns: float, queued: Sequence[int], mean_ns: float) -> None:
        """Charge more for a call that took longer than was thought, or give back what it did not take."""
        self._earn(by_ns, queued, mean_ns)
        self.credit[rank] -= by_ns

    def _earn(self, cost_ns: float, queued: Sequence[int], mean_ns: float) -> None:
        most_ns = _CREDIT_CALLS_MAX * mean_ns
        for rank in RANKS[1:]:
            if queued[rank]:
                earned_ns = self.credit[rank] + RESERVED[rank] * cost_ns
                self.credit[rank] = earned_ns if earned_ns < most_ns else most_ns

    def emptied(self, rank: int) -> None:
        """Note that nobody of the class waits any more."""
        self.credit[rank] = min(self.credit[rank], 0.0)


def _most(permits: int, rank: int) -> int:
    return max(1, permits * CEILING[rank] // 100)
