"""How does a fleet fare over weeks, when its calls are counted and not looked at one by one?

In each step of a minute an endpoint gets a Poisson count of calls. What is ready serves what its permits can; the
rest is carried as a backlog. A call is late when the backlog takes longer than the SLO to drain at the time it comes,
linear inside a step, or when nothing is ready and the first replica is further away than that. Waits inside a pool
that keeps up are left out: with calls of a second or less they are far below an SLO of ten. A replica needs a ready
node, then `LOAD_NS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp
from random import Random

from glowplug.clock import MINUTE, SECOND
from glowplug_router.records.observed import Served

STEP_NS = MINUTE  # rates are given by the minute
LOAD_NS = 30 * SECOND  # a start on a ready node: GenTD26's base models take 23 s in the median
SLO_NS = 10 * SECOND
COUNTED_BY_HAND = 30.0  # above this mean a Poisson count is drawn as a normal one


@dataclass(frozen=True, slots=True)
class Caller:
    """An endpoint and who calls it: calls a second in each minute."""

    served: Served
    service_s: float
    rates: Sequence[float]

    def capacity(self, replicas: float) -> float:
        """Return how many calls a second so many replicas do."""
        return replicas * self.served.permits / self.service_s


@dataclass(slots=True)
class Pool:
    """The replicas of an endpoint, and what became of its calls."""

    caller: Caller
    wanted: int = 0
    ready: int = 0
    loading_ns: list[int] = field(default_factory=list)  # when those that load will be ready
    queued: float = 0.0
    arrivals: int = 0
    came: int = 0  # in the last step
    completed: float = 0.0
    ended: float = 0.0  # in the last step
    late: float = 0.0
    last_ns: int = 0

    @property
    def placed(self) -> int:
        """Return how many replicas have a node."""
        return self.ready + len(self.loading_ns)

    def settle(self, now_ns: int, free: int) -> int:
        """Let replicas become ready, place what is wanted on free nodes, or let go; return the change of placed."""
        before = self.placed
        self.ready += sum(at_ns <= now_ns for at_ns in self.loading_ns)
        self.loading_ns = [at_ns for at_ns in self.loading_ns if at_ns > now_ns]
        self.loading_ns += [now_ns + LOAD_NS] * min(free, max(0, self.wanted - self.placed))
        while self.placed > self.wanted and self.loading_ns:
            self.loading_ns.pop()
        self.ready -= max(0, self.placed - self.wanted)
        return self.placed - before

    def lose_one(self) -> None:
        """Lose a replica with its node."""
        if self.ready:
            self.ready -= 1
        else:
            self.loading_ns.pop()

    def serve(self, count: int, now_ns: int) -> None:
        """Let a step pass in which so many calls come."""
        step_s = STEP_NS / SECOND
        ahead_s = [min(step_s, (at_ns - now_ns) / SECOND) for at_ns in self.loading_ns]
        seconds = self.ready * step_s + sum(step_s - one for one in ahead_s)
        able = self.caller.capacity(seconds)
        before, self.queued = self.queued, max(0.0, self.queued + count - able)
        self.late += count * self._late_share(before, ahead_s, able / step_s)
        self.came, self.ended = count, before + count - self.queued
        self.arrivals += self.came
        self.completed += self.ended
        if count:
            self.last_ns = now_ns

    def _late_share(self, before: float, ahead_s: list[float], rate: float) -> float:
        step_s, slo_s = STEP_NS / SECOND, SLO_NS / SECOND
        if not self.ready:
            # Those that come until the SLO before the first replica is ready wait longer than it.
            until_s = min(ahead_s, default=step_s + slo_s) - slo_s
            return min(1.0, max(0.0, until_s) / step_s)
        limit = rate * slo_s
        low, high = sorted((before, self.queued))
        if high <= limit:
            return 0.0
        return 1.0 if low >= limit else (high - limit) / (high - low)


def drawn(random: Random, mean: float) -> int:
    """Return a Poisson count."""
    if mean > COUNTED_BY_HAND:
        return max(0, round(random.gauss(mean, mean**0.5)))
    count, left = 0, random.random() - (term := exp(-mean))
    while left > 0 and term > 1e-12:
        count += 1
        term *= mean / count
        left -= term
    return count


# wanted(pool, now_ns) -> replicas; nodes(units, now_ns) -> how many nodes are ready
Wanted = Callable[[Pool, int], int]
Nodes = Callable[[int, int], int]


def run(
    callers: Sequence[Caller], wanted: Wanted, nodes: Nodes, minutes: int, seed: int
) -> list[Pool]:
    """Return what became of each endpoint. The same seed brings the same calls, whatever is wanted."""
    random, lots = Random(seed), Random(seed + 1)
    pools = [Pool(caller) for caller in callers]
    for step in range(minutes * MINUTE // STEP_NS):
        now_ns = (step + 1) * STEP_NS  # no time is zero: that is "never"
        for pool in pools:
            pool.wanted = wanted(pool, now_ns)
        ready = nodes(sum(pool.wanted for pool in pools), now_ns)
        placed = sum(pool.placed for pool in pools)
        placed = _lose(pools, placed, ready, lots)
        for pool in sorted(pools, key=lambda one: one.placed):
            placed += pool.settle(now_ns, max(0, ready - placed))
        for pool in pools:
            pool.serve(
                drawn(random, pool.caller.rates[step * STEP_NS // MINUTE] * STEP_NS / SECOND),
                now_ns,
            )
    return pools


def _lose(pools: list[Pool], placed: int, ready: int, lots: Random) -> int:
    """Let replicas go that have no node any more, drawn by lot; those that nobody wants go first."""
    while placed > ready:
        unwanted = [pool for pool in pools if pool.placed > pool.wanted]
        having = unwanted or [pool for pool in pools if pool.placed]
        lots.choice(having).lose_one()
        placed -= 1
    return placed
