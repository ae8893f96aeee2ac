"""Which of K models makes way for one more? LRU, LFU, Greedy-Dual-Size-Frequency and Belady; sizes and costs alike."""

from collections import defaultdict
from collections.abc import Sequence


class Lru:
    """The one called longest ago."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._clock = 0

    def called(self, key: str, now_ns: int) -> None:
        """Note a call."""
        self._clock += 1
        self._last[key] = self._clock

    def victim(self, held: set[str], now_ns: int) -> str:
        """Return who makes way."""
        return min(held, key=lambda key: (self._last[key], key))

    def evicted(self, key: str) -> None:
        """Note that it went."""


class Lfu(Lru):
    """The one called least often of all time."""

    def __init__(self) -> None:
        super().__init__()
        self._count: dict[str, int] = defaultdict(int)

    def called(self, key: str, now_ns: int) -> None:
        """Note a call."""
        super().called(key, now_ns)
        self._count[key] += 1

    def victim(self, held: set[str], now_ns: int) -> str:
        """Return who makes way."""
        return min(held, key=lambda key: (self._count[key], self._last[key], key))


class Gdsf(Lru):
    """Greedy-Dual (FaasCache): clock + calls, the clock being the priority of who went last.

    `keeps` says whether the count of calls outlives its model's eviction: literature has it both ways.
    """

    def __init__(self, *, keeps: bool) -> None:
        super().__init__()
        self._keeps = keeps
        self._count: dict[str, int] = defaultdict(int)
        self._priority: dict[str, int] = {}
        self._floor = 0

    def called(self, key: str, now_ns: int) -> None:
        """Note a call."""
        super().called(key, now_ns)
        self._count[key] += 1
        self._priority[key] = self._floor + self._count[key]

    def victim(self, held: set[str], now_ns: int) -> str:
        """Return who makes way."""
        return min(held, key=lambda key: (self._priority[key], self._last[key], key))

    def evicted(self, key: str) -> None:
        """Note that it went."""
        self._floor = self._priority[key]
        if not self._keeps:
            self._count[key] = 0


def belady_misses(keys: Sequence[str], slots: int) -> int:
    """Return the fewest misses anybody can have: who is called last from now makes way."""
    never = len(keys)
    following = [never] * never
    seen: dict[str, int] = {}
    for at in range(never - 1, -1, -1):
        following[at] = seen.get(keys[at], never)
        seen[keys[at]] = at
    held: dict[str, int] = {}
    misses = 0
    for at, key in enumerate(keys):
        if key not in held:
            misses += 1
            if len(held) >= slots:
                del held[max(held, key=lambda one: (held[one], one))]
        held[key] = following[at]
    return misses
