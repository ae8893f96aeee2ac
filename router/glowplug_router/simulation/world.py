"""What happens next? Virtual time: a heap of things to do, one source of chance, one digest of all that happened."""

from collections.abc import Callable
from hashlib import sha256
from heapq import heappop, heappush
from random import Random

from glowplug.clock import SECOND, ManualClock

EVENTS_MAX = 200_000  # a run that goes on so long goes in circles
_DIGEST_EVERY = 64  # facts hashed at once


class World:
    """Time, chance and the record of one run. Same seed, same run."""

    def __init__(self, seed: int, events_max: int = EVENTS_MAX) -> None:
        self.random = Random(seed)
        self._events_max = events_max
        self.clock = ManualClock(start_ns=SECOND)
        self.now_ns = self.clock.now_ns()
        self.events = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0
        self._hash = sha256()
        self._facts: list[str] = []

    def after(self, delay_ns: int, act: Callable[[], None]) -> None:
        """Have something done later; equal times keep their order."""
        self._serial += 1
        heappush(self._heap, (self.now_ns + max(0, delay_ns), self._serial, act))

    def at(self, due_ns: int, act: Callable[[], None]) -> None:
        """Have something done at a time; what is past is done next."""
        self.after(due_ns - self.now_ns, act)

    def run(self, until_ns: int) -> None:
        """Do everything that is due up to a time."""
        while self._heap and self._heap[0][0] <= until_ns:
            self.turn()
        self.clock.advance(max(0, until_ns - self.now_ns))
        self.now_ns = self.clock.now_ns()

    def turn(self) -> bool:
        """Do the next thing, whenever it is due; say whether there was one."""
        if not self._heap:
            return False
        due_ns, _, act = heappop(self._heap)
        self.clock.advance(due_ns - self.now_ns)
        self.now_ns = due_ns
        self.events += 1
        assert self.events <= self._events_max, (
            f"{self.events} events by {self.now_ns} ns: going in circles"
        )
        act()
        return True

    def record(self, fact: str) -> None:
        """Add a fact to the digest."""
        self._facts.append(f"{self.now_ns} {fact}")
        if len(self._facts) >= _DIGEST_EVERY:
            self._flush()

    @property
    def digest(self) -> str:
        """Return the digest of all that was recorded."""
        self._flush()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        self._hash.update("\n".join(self._facts).encode())
        self._facts.clear()
