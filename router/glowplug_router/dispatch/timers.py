"""When must something be looked at again?

Timers lie in slots of 17 ms, unsorted: most are cleared long before they are due, and setting or clearing one costs the
same with ten and with ten thousand. A slot is put in order when its time has come, so no step sweeps up after others.
"""

from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

SLOT_BITS = 24  # 16.8 ms: of ten thousand calls a second one slot holds 170, and ten minutes are 36,000 slots


class Timed(Protocol):
    """Something with one timer. Both are the timers' own; 0 = not set."""

    timer_ns: int
    timer_serial: int


T = TypeVar("T", bound=Timed)


class Timers(Generic[T]):
    """The timers of many targets, at most one each."""

    __slots__ = ("_count", "_current", "_numbers", "_serial", "_slot", "_slots", "first_ns")

    def __init__(self) -> None:
        self._slots: dict[int, dict[T, None]] = {}
        self._numbers: list[int] = []  # of the slots: a heap
        self._slot = 0  # the last one that was put in order
        self._current: list[
            tuple[int, int, T]
        ] = []  # what was in there: a heap; some may be cleared
        self._serial = 0  # breaks ties in the order of setting: replays stay equal
        self._count = 0
        # No timer is set for before this; None = none is set. Exact once that time has come.
        self.first_ns: int | None = None

    def __len__(self) -> int:
        return self._count

    def set(self, target: T, due_ns: int) -> None:
        """Set the target's timer, whatever it was."""
        if target.timer_ns:
            self.clear(target)
        self._count += 1
        self._serial = serial = self._serial + 1
        target.timer_ns, target.timer_serial = due_ns, serial
        number = due_ns >> SLOT_BITS
        if number <= self._slot:
            heappush(self._current, (due_ns, serial, target))
        else:
            slot = self._slots.get(number)
            if slot is None:
                slot = self._slots[number] = {}
                heappush(self._numbers, number)
            slot[target] = None
        if self.first_ns is None or due_ns < self.first_ns:
            self.first_ns = due_ns

    def set_no_later(self, target: T, due_ns: int) -> None:
        """Set the target's timer unless an earlier one stands: looking too early is harmless."""
        if not target.timer_ns or due_ns < target.timer_ns:
            self.set(target, due_ns)

    def clear(self, target: T) -> None:
        """Forget the target's timer, if it is set."""
        if target.timer_ns:
            slot = self._slots.get(target.timer_ns >> SLOT_BITS)
            if slot is not None:
                del slot[target]
            self._drop(target)

    def _drop(self, target: T) -> None:
        target.timer_ns = 0
        self._count -= 1
        if not self._count:
            self.first_ns = None
            self._slots.clear()
            self._numbers.clear()
            self._current.clear()

    def pop(self, now_ns: int) -> T | None:
        """Return the target that is due longest, its timer cleared, or None."""
        if self.first_ns is None or now_ns < self.first_ns:
            return None
        self._tidy()
        while not self._current and self._numbers[0] << SLOT_BITS <= now_ns:
            self._open()
        if not self._current:
            self.first_ns = min(target.timer_ns for target in self._slots[self._numbers[0]])
            return None
        due_ns, _, target = self._current[0]
        if due_ns > now_ns:
            self.first_ns = due_ns
            return None
        heappop(self._current)
        self._drop(target)
        return target

    def _open(self) -> None:
        """Put the next slot in order. Somewhere a timer is set, so there is one."""
        self._slot = heappop(self._numbers)
        slot = self._slots.pop(self._slot)
        self._current = [(target.timer_ns, target.timer_serial, target) for target in slot]
        heapify(self._current)
        self._skip_empty()

    def _tidy(self) -> None:
        """Throw out what was cleared in the current slot, and slots in which nothing is left."""
        while self._current and self._is_stale(self._current[0]):
            heappop(self._current)
        if not self._current:
            self._skip_empty()

    def _skip_empty(self) -> None:
        while self._numbers and not self._slots[self._numbers[0]]:
            del self._slots[heappop(self._numbers)]

    @staticmethod
    def _is_stale(entry: tuple[int, int, T]) -> bool:
        return entry[2].timer_ns != entry[0] or entry[2].timer_serial != entry[1]
