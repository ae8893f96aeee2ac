"""Which calls run together now, which wait, and which are too late? One batch at a time, on one device.

Pure: it is told what happened and answers with effects (`Run`, `Late`, `WaitUntil`); whoever holds it has the clock.

- **Greedy.** A device that is free takes what waits. Batches size themselves: what arrives while one runs is the next.
  Waiting for more buys no throughput on a device of one's own, so `wait` is 0 unless the code asks for it.
- **Max-rate.** Calls queue by class, then deadline. Of every size k, those calls are left out that would end late in a
  batch of k; the size with the most calls in time per second of device wins. Without deadlines at risk that is simply
  the largest, so nothing is worked out. Whoever is left out is refused before it ran.
- **Late binding.** A batch is cut when the device is free and not before: until then a call may leave, a more urgent
  one may come, and neither costs anything.
- **Alike.** The first in the queue picks the key, and of all ways to cut what waits into batches of like lengths the
  cheapest is taken: the first one's group runs. Measured against power-of-two buckets: `docs/benchmarks.md`.
- **A share for the lowest.** After SHARE calls went ahead of a lower class, the oldest call passed over goes first.
"""

from bisect import bisect_left, insort
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

from glowplug.clock import SECOND
from glowplug.spec import BatchSpec, BatchTuning
from glowplug.worker.costs import Costs
from glowplug.worker.lengths import group_of

Flush = Literal["full", "idle", "wait", "key", "deadline"]
C = TypeVar("C", bound=Hashable)

SHARE = 16  # one call in so many is of a class that was passed over: 6 %, above the 5 % promised to `batch`
PATIENCE_NS = SECOND  # calls due later than this after their arrival queue in order of arrival: none waits for ever
PROBE_AFTER = 16  # refusals in a row after which one is tried all the same: a wrong estimate is found out by running
LOOK = 4  # batches' worth of calls that are looked at for like lengths; a replica has permits for two unless told
NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Run(Generic[C]):
    """Run these together. `size` is what the engine was built for: at least as many as there are calls."""

    calls: tuple[C, ...]
    size: int
    units: int
    reason: Flush


@dataclass(frozen=True, slots=True)
class Late(Generic[C]):
    """Refuse the call, which has not run: it would end after its deadline."""

    call: C


@dataclass(frozen=True, slots=True)
class Failed(Generic[C]):
    """Fail the call, which has not run: its key could not be compared."""

    call: C
    error: Exception


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Say `ticked` at this time, unless something happens before."""

    at_ns: int


class Waiting(NamedTuple):
    """A call in the queue; sorts as it is served."""

    rank: int  # of its class, 0 first
    order_ns: int
    number: int
    deadline_ns: int
    arrived_ns: int
    weight: int
    key: Hashable
    call: Hashable


class Batcher(Generic[C]):
    """The queue in front of one device, and what is known of it."""

    def __init__(self, spec: BatchSpec, costs: Costs | None = None) -> None:
        self.costs = costs or Costs()
        self._spec = spec
        self._max = spec.max
        self._wait_ns = spec.wait_ns
        self._queue: list[Waiting] = []
        self._places: dict[Hashable, Waiting] = {}
        self._numbers = 0
        self._busy = False
        self._passed_over = 0  # calls that went ahead of a lower class since one of such went first
        self._refused = 0  # in a row
        # Bounds of what waits, looked at before each call of it: no deadline is before one, no weight over the other.
        self._soonest_ns = NEVER
        self._heaviest = 1

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_busy(self) -> bool:
        """Say whether a batch is on the device."""
        return self._busy

    # -- what happens ----------------------------------------------------------------------------------

    def arrived(
        self,
        call: C,
        now_ns: int,
        *,
        deadline_ns: int = NEVER,
        rank: int = 0,
        weight: int = 1,
        key: Hashable = None,
    ) -> None:
        """Queue a call. Say `ticked` when all that came with it is queued: a free device takes them together."""
        self._numbers += 1
        order_ns = min(deadline_ns, now_ns + PATIENCE_NS)
        weight = weight if weight > 1 else 1
        place = Waiting(rank, order_ns, self._numbers, deadline_ns, now_ns, weight, key, call)
        queue = self._queue
        if not queue:
            self._soonest_ns, self._heaviest = deadline_ns, weight
        elif deadline_ns < self._soonest_ns:
            self._soonest_ns = deadline_ns
        if weight > self._heaviest:
            self._heaviest = weight
        if not queue or place > queue[-1]:  # nearly always: no search
            queue.append(place)
        else:
            insort(queue, place)
        self._places[call] = place

    def cancelled(self, call: C) -> bool:
        """Forget a call; False if it is in a batch already, or was never here."""
        place = self._places.pop(call, None)
        if place is None:
            return False
        del self._queue[bisect_left(self._queue, place)]
        return True

    def ended(self, now_ns: int) -> "tuple[Effect[C], ...]":
        """Take it that the device is free again."""
        self._busy = False
        return self._cut(now_ns)

    def ticked(self, now_ns: int) -> "tuple[Effect[C], ...]":
        """Look again: calls have arrived, or the time of a `WaitUntil` has come."""
        return () if self._busy else self._cut(now_ns)

    def tuned(self, tuning: BatchTuning, now_ns: int) -> "tuple[Effect[C], ...]":
        """Use other bounds from the next batch on; what the tuning leaves open is as the code says."""
        spec = self._spec
        self._max = spec.max if tuning.max is None else max(1, min(tuning.max, spec.max))
        self._wait_ns = spec.wait_ns if tuning.wait_ns is None else tuning.wait_ns
        return self.ticked(now_ns)

    # -- the cut -----------------------------------------------------------------------------------------

    def _cut(self, now_ns: int) -> "tuple[Effect[C], ...]":
        """Make the next batch of what waits, for a device that is free."""
        effects: list[Effect[C]] = []
        try:
            self._make(now_ns, effects)
        except (
            Exception
        ) as error:  # a user's key may raise anything when it is compared with another
            effects += [Failed(one.call, error) for one in self._queue]  # type: ignore[arg-type]  # what was put in is a C
            self._queue.clear()
            self._places.clear()
        return tuple(effects)

    def _make(self, now_ns: int, effects: "list[Effect[C]]") -> None:
        doomed = self._doomed(now_ns)
        if len(doomed) == len(self._queue) and doomed and self._refused >= PROBE_AFTER:
            probe = max(doomed, key=_deadline)
            doomed.remove(probe)
            effects += [self._refuse(one) for one in doomed]
            effects.append(self._run(probe, [probe], "deadline"))
            return
        effects += [self._refuse(one) for one in doomed]
        if not self._queue:
            return
        head = self._head()
        alike, others = self._alike(head)
        chosen, skipped = self._chosen(alike, now_ns)
        reason = "deadline" if skipped else self._reason(chosen, alike, others=others)
        if reason == "idle" and self._wait_ns:
            until_ns, reason = self._held(chosen, now_ns)
            if now_ns < until_ns:
                # Said at every look: a timer counts milliseconds, may have come early, and nothing else would look.
                effects.append(WaitUntil(until_ns))
                return
        effects += [self._refuse(one) for one in skipped]
        effects.append(self._run(head, chosen, reason))

    def _doomed(self, now_ns: int) -> list[Waiting]:
        """Return those that would be late even in a batch of their own."""
        if not self._queue:
            return []
        limit_ns = now_ns + self._alone_ns(self._heaviest)
        if self._soonest_ns >= limit_ns:
            return []
        self._soonest_ns = min(one.deadline_ns for one in self._queue)
        self._heaviest = max(one.weight for one in self._queue)
        limit_ns = now_ns + self._alone_ns(self._heaviest)
        return [
            one
            for one in self._queue
            if one.deadline_ns < limit_ns and one.deadline_ns < now_ns + self._alone_ns(one.weight)
        ]

    def _alone_ns(self, weight: int) -> int:
        size = self.padded(1)
        return self.costs.expected_ns(size, size * weight if self._spec.is_weighed else 0)

    def _refuse(self, place: Waiting) -> "Effect[C]":
        self._refused += 1
        self.cancelled(place.call)  # type: ignore[arg-type]  # what was put in is a C
        return Late(place.call)  # type: ignore[arg-type]  # as above

    def _head(self) -> Waiting:
        """Return the call that the batch is made around."""
        first = self._queue[0]
        if self._passed_over >= SHARE:
            lower = [one for one in self._queue if one.rank > first.rank]
            if lower:
                return min(lower, key=_arrival)
        return first

    def _alike(self, head: Waiting) -> tuple[list[Waiting], bool]:
        """Return those that may run with `head`, it first; and whether there are others."""
        queue, spec = self._queue, self._spec
        if spec.is_keyed or head.key is not None:
            alike = [one for one in queue if one.key == head.key]
        else:
            alike = [one for one in queue if one.key is None]
        if spec.is_weighed and not spec.packed and len(alike) > 1:
            alike = self._of_like_length(alike, head)
        if alike[0] is not head:
            alike.remove(head)
            alike.insert(0, head)
        return alike, len(alike) < len(queue)

    def _of_like_length(self, alike: list[Waiting], head: Waiting) -> list[Waiting]:
        """Return those whose padding costs less than they would in a batch of their own."""
        batch_units = self.costs.batch_units
        if not batch_units:
            return alike
        near = alike[: LOOK * self._max]
        if head not in near:
            near[-1] = head
        near.sort(key=_weight)
        lengths = [one.weight for one in near]
        begin, end = group_of(
            near.index(head), lengths, self._max, self._spec.weight_max, batch_units
        )
        return sorted(near[begin:end])

    def _chosen(self, alike: list[Waiting], now_ns: int) -> tuple[list[Waiting], list[Waiting]]:
        """Return the batch, and those that are left out because they would be late in it."""
        most = self._fitting(alike)
        whole_ns = now_ns + self._expected_ns(alike[:most])
        adaptive = self._spec.adaptive and self.costs.is_known
        if not adaptive or (
            not self._spec.buckets
            and (self._soonest_ns >= whole_ns or all(one.deadline_ns >= whole_ns for one in alike))
        ):
            return alike[:most], []
        best: list[Waiting] = []
        best_rate = 0.0
        end_ns = 0
        for size in range(1, most + 1):
            limit_ns = now_ns + self._expected_ns(alike[:size])
            timely = [one for one in alike if one.deadline_ns >= limit_ns][:size]
            rate = len(timely) / max(self._expected_ns(timely), 1)
            if rate > best_rate:
                best, best_rate, end_ns = timely, rate, limit_ns
        return best, [one for one in alike if one.deadline_ns < end_ns]

    def _fitting(self, alike: Sequence[Waiting]) -> int:
        """Return how many of the first ones one batch holds."""
        most = min(len(alike), self._max)
        bound = self._spec.weight_max
        if not bound:
            return most
        longest = total = 0
        for number, one in enumerate(alike[:most]):
            longest, total = max(longest, one.weight), total + one.weight
            cost = total if self._spec.packed else (number + 1) * longest
            if cost > bound and number:
                return number
        return most

    def _expected_ns(self, batch: Sequence[Waiting]) -> int:
        return self.costs.expected_ns(self.padded(len(batch)), self._units(batch))

    def _units(self, batch: Sequence[Waiting]) -> int:
        spec = self._spec
        if not spec.is_weighed:
            return 0
        if spec.packed:
            return sum(one.weight for one in batch)
        return self.padded(len(batch)) * max((one.weight for one in batch), default=0)

    def padded(self, size: int) -> int:
        """Return the engine's size for so many calls."""
        buckets = self._spec.buckets
        at = bisect_left(buckets, size)
        return buckets[at] if at < len(buckets) else size

    def _reason(
        self, chosen: Sequence[Waiting], alike: Sequence[Waiting], *, others: bool
    ) -> Flush:
        size = len(chosen)
        if size >= self._max:
            return "full"
        if size < len(alike):
            # It holds no more, or it fills an engine's size; else a smaller one was taken for those that are urgent.
            is_whole = size == self._fitting(alike) or size in self._spec.buckets
            return "full" if is_whole else "deadline"
        return "key" if others else "idle"

    def _held(self, chosen: Sequence[Waiting], now_ns: int) -> tuple[int, Flush]:
        """Return how long a batch that is not full may be held, and what ends that."""
        patient_ns = min(one.arrived_ns for one in chosen) + self._wait_ns
        safe_ns = min(one.deadline_ns for one in chosen) - self._expected_ns(chosen)
        return (patient_ns, "wait") if patient_ns <= safe_ns else (safe_ns, "deadline")

    def _run(self, head: Waiting, chosen: list[Waiting], reason: Flush) -> Run[C]:
        units = self._units(chosen)
        if chosen == self._queue[: len(chosen)]:
            del self._queue[: len(chosen)]
        else:
            taken = {one.number for one in chosen}
            self._queue = [one for one in self._queue if one.number not in taken]
        for one in chosen:
            del self._places[one.call]
        self._busy = True
        self._refused = 0
        self._count_passed(head, len(chosen))
        calls: tuple[C, ...] = tuple(one.call for one in chosen)  # type: ignore[misc]  # what was put in is a C
        return Run(calls, self.padded(len(calls)), units, reason)

    def _count_passed(self, head: Waiting, size: int) -> None:
        if self._queue and self._queue[-1].rank > head.rank:
            self._passed_over += size
        else:
            self._passed_over = 0


def _deadline(one: Waiting) -> int:
    return one.deadline_ns


def _weight(one: Waiting) -> int:
    return one.weight


def _arrival(one: Waiting) -> int:
    return one.arrived_ns


Effect = Run[C] | Late[C] | Failed[C] | WaitUntil
