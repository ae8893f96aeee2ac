"""What do others do with the idle gaps of one model? Each is told a gap when it has ended, and pays for it.

Fixed keep-alives (Knative 90 s, Ray Serve 10 min, SkyServe 20 min); the hybrid histogram of Serverless in the Wild
(ATC'20) by its rules as in router.md §1.6: bins of a minute over four hours, a replica from the 5th percentile of idle
times to the 99th with margins of a tenth, and the standard four hours where that is not representative (their ARIMA).
"""

from dataclasses import dataclass, field
from typing import Protocol

from glowplug.clock import HOUR, MINUTE


@dataclass(frozen=True, slots=True)
class Paid:
    """What a gap came to: device time, host memory as device time, and from which level the call was answered."""

    device_ns: int
    parked_ns: int = 0
    wait_ns: int = 0
    is_cold: bool = False


class Keeper(Protocol):
    """Whoever decides for one model."""

    def meet(self, idle_ns: int, call_ns: int) -> Paid:
        """Pay for the gap between two moments, and learn from it."""
        ...


@dataclass(frozen=True, slots=True)
class FixedKeep:
    """Keep the replica for so long."""

    keep_ns: int
    start_ns: int

    def meet(self, idle_ns: int, call_ns: int) -> Paid:
        """Pay for a gap."""
        return windowed(call_ns - idle_ns, self.keep_ns, 0, 0, self.start_ns)


@dataclass(slots=True)
class HybridHistogram:
    """Serverless in the Wild's policy for one application."""

    start_ns: int
    counts: list[int] = field(default_factory=lambda: [0] * (4 * 60))
    beyond: int = 0

    def meet(self, idle_ns: int, call_ns: int) -> Paid:
        """Pay for a gap, and count it."""
        gap_ns = call_ns - idle_ns
        keep_ns, from_ns, to_ns = self._window()
        paid = windowed(gap_ns, keep_ns, from_ns, to_ns, self.start_ns)
        minute = gap_ns // MINUTE
        if minute < len(self.counts):
            self.counts[minute] += 1
        else:
            self.beyond += 1
        return paid

    def _window(self) -> tuple[int, int, int]:
        """Return how long to keep, and from when to when to have a replica again."""
        total, mean = sum(self.counts), sum(self.counts) / len(self.counts)
        variance = sum((count - mean) ** 2 for count in self.counts) / len(self.counts)
        if total < 10 or total <= self.beyond or variance < 4 * mean * mean:
            return 4 * HOUR, 0, 0
        head_ns, tail_ns = self._minute(0.05) * MINUTE, (self._minute(0.99) + 1) * MINUTE
        if head_ns <= MINUTE:  # too soon to go and come back: it stays
            return tail_ns * 11 // 10, 0, 0
        return 0, head_ns * 9 // 10, tail_ns * 11 // 10

    def _minute(self, share: float) -> int:
        wanted, seen = share * sum(self.counts), 0
        for minute, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return minute
        return len(self.counts) - 1


def windowed(gap_ns: int, keep_ns: int, from_ns: int, to_ns: int, start_ns: int) -> Paid:
    """Return what a gap costs that is kept for, and expected again from `from_ns` to `to_ns`: the start counts."""
    if gap_ns <= keep_ns:
        return Paid(gap_ns)
    if to_ns > from_ns and gap_ns > from_ns:
        held_ns = max(start_ns, min(gap_ns, to_ns) - from_ns)
        if gap_ns <= to_ns:
            wait_ns = max(0, start_ns - (gap_ns - from_ns))
            return Paid(keep_ns + held_ns, wait_ns=wait_ns, is_cold=wait_ns == start_ns)
        return Paid(keep_ns + held_ns + start_ns, wait_ns=start_ns, is_cold=True)
    return Paid(keep_ns + start_ns, wait_ns=start_ns, is_cold=True)


def clairvoyant_ns(gaps_ns: list[int], colds: int, start_ns: int) -> int:
    """Return the least device time in gaps with at most so many cold starts and none ahead: keep the shortest."""
    shortest = sorted(gaps_ns)
    kept = max(0, len(shortest) - colds)
    return sum(shortest[:kept]) + (len(shortest) - kept) * start_ns
