"""What does the batcher make of a load? The real policy, in virtual time, against devices whose cost is known.

`python tests/benchmarks/dataplane/batch_sim.py` prints the figures; tests/unit pins the same runs with a tolerance, so
that no change of policy lowers them unnoticed. Everything is seeded: the same numbers on every machine.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from glowplug.clock import MILLISECOND, SECOND
from glowplug.spec import BatchSpec
from glowplug.worker.batcher import NEVER, Batcher, Effect, Failed, Late, Run, WaitUntil

MAX = 32
SLO_NS = 50 * MILLISECOND
CALLS = 40_000
WARM_CALLS = 2_000  # not counted: queue and estimate settle
LENGTHS = (16, 512)  # tokens, lognormal around 80: sentences and the odd page
BAR_MS = (
    60.0  # the 99th percentile at which loads are compared: some ten times what a call alone takes
)


@dataclass(frozen=True, slots=True)
class Device:
    """What a batch really costs."""

    base_ns: int
    per_call_ns: int
    per_unit_ns: int = 0
    noise: float = 0.0  # service times are off by up to this share, either way

    def took_ns(self, size: int, units: int, random: Random) -> int:
        """Return how long a batch takes this time."""
        mean_ns = self.base_ns + self.per_call_ns * size + self.per_unit_ns * units
        return int(mean_ns * (1 + self.noise * random.uniform(-1, 1)))

    def rate(self) -> float:
        """Return how many calls a second it does in batches of the largest size."""
        return MAX / (self.base_ns + self.per_call_ns * MAX) * SECOND


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call."""

    number: int
    at_ns: int
    deadline_ns: int
    weight: int = 1
    rank: int = 0


@dataclass(slots=True)
class Outcome:
    """How the counted calls fared."""

    offered: int = 0
    in_time: int = 0
    refused: int = 0
    waits_ns: list[int] = field(default_factory=list)  # from arrival to answer
    sizes: list[int] = field(default_factory=list)
    longest_of: dict[int, int] = field(default_factory=dict)  # class -> longest wait

    @property
    def goodput(self) -> float:
        """Return the share of all calls that was answered before its deadline."""
        return self.in_time / self.offered

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the waits."""
        waits = sorted(self.waits_ns)
        return waits[min(int(share * len(waits)), len(waits) - 1)] / MILLISECOND


class Policy(Protocol):
    """What the harness drives: the batcher, or something to compare it with."""

    def arrived(
        self, call: Arrival, now_ns: int, *, deadline_ns: int, rank: int, weight: int
    ) -> None:
        """Take a call."""
        ...

    def ended(self, now_ns: int) -> tuple[Effect[Arrival], ...]:
        """Take it that the device is free."""
        ...

    def ticked(self, now_ns: int) -> tuple[Effect[Arrival], ...]:
        """Look again."""
        ...

    def learned(self, run: Run[Arrival], took_ns: int) -> None:
        """See what a batch took."""
        ...


class Ours(Batcher[Arrival]):
    """The real one."""

    def learned(self, run: Run[Arrival], took_ns: int) -> None:
        """See what a batch took, as the driver in the rank does."""
        self.costs.saw(run.size, run.units, took_ns)


class Greedy:
    """Take what waits in order of arrival, pad it to the longest, refuse nobody."""

    def __init__(self) -> None:
        self._queue: list[Arrival] = []
        self._busy = False

    def arrived(
        self, call: Arrival, now_ns: int, *, deadline_ns: int, rank: int, weight: int
    ) -> None:
        """Queue it."""
        self._queue.append(call)

    def ended(self, now_ns: int) -> tuple[Effect[Arrival], ...]:
        """Take the first ones."""
        batch, self._queue = tuple(self._queue[:MAX]), self._queue[MAX:]
        self._busy = bool(batch)
        if not batch:
            return ()
        longest = max(one.weight for one in batch)
        return (Run(batch, len(batch), len(batch) * longest, "idle"),)

    def ticked(self, now_ns: int) -> tuple[Effect[Arrival], ...]:
        """Take what there is, if the device is free."""
        return () if self._busy else self.ended(now_ns)

    def learned(self, run: Run[Arrival], took_ns: int) -> None:
        """Learn nothing."""


def simulate(policy: Policy, device: Device, arrivals: Iterator[Arrival], seed: int = 1) -> Outcome:
    """Drive a policy through the arrivals and until its queue is empty."""
    world = _World(policy, device, Random(seed))
    coming = next(arrivals, None)
    while coming is not None or world.due_ns < NEVER:
        if coming is None or world.due_ns <= coming.at_ns:
            world.happen()
        else:
            world.arrive(coming)
            coming = next(arrivals, None)
    return world.outcome


class _World:
    """One device, and when something happens next on it."""

    def __init__(self, policy: Policy, device: Device, random: Random) -> None:
        self.outcome = Outcome()
        self._policy = policy
        self._device = device
        self._random = random
        self._running: Run[Arrival] | None = None
        self._began_ns = 0
        self._ends_ns = self._tick_ns = NEVER

    @property
    def due_ns(self) -> int:
        """Return when the batch ends or the policy wants to look again."""
        return min(self._ends_ns, self._tick_ns)

    def happen(self) -> None:
        """Let the time of that come."""
        if self._running is None or self._tick_ns < self._ends_ns:
            now_ns, self._tick_ns = self._tick_ns, NEVER
            self._do(self._policy.ticked(now_ns), now_ns)
            return
        run, now_ns = self._running, self._ends_ns
        self._running, self._ends_ns = None, NEVER
        _count(self.outcome, run, now_ns)
        self._policy.learned(run, now_ns - self._began_ns)
        self._do(self._policy.ended(now_ns), now_ns)

    def arrive(self, call: Arrival) -> None:
        """Let a call arrive."""
        self._policy.arrived(
            call, call.at_ns, deadline_ns=call.deadline_ns, rank=call.rank, weight=call.weight
        )
        self._do(self._policy.ticked(call.at_ns), call.at_ns)

    def _do(self, effects: tuple[Effect[Arrival], ...], now_ns: int) -> None:
        for effect in effects:
            match effect:
                case Run():
                    assert self._running is None, "two batches on one device"
                    self._running, self._began_ns, self._tick_ns = effect, now_ns, NEVER
                    took_ns = self._device.took_ns(effect.size, effect.units, self._random)
                    self._ends_ns = now_ns + took_ns
                case Late(call):
                    counts = call.number >= WARM_CALLS
                    self.outcome.offered += counts
                    self.outcome.refused += counts
                case Failed(_, error):
                    raise error
                case WaitUntil(at_ns):
                    self._tick_ns = at_ns


def _count(outcome: Outcome, run: Run[Arrival], now_ns: int) -> None:
    outcome.sizes.append(len(run.calls))
    for call in run.calls:
        if call.number < WARM_CALLS:
            continue
        wait_ns = now_ns - call.at_ns
        outcome.offered += 1
        outcome.in_time += now_ns <= call.deadline_ns
        outcome.waits_ns.append(wait_ns)
        outcome.longest_of[call.rank] = max(outcome.longest_of.get(call.rank, 0), wait_ns)


# -- loads -----------------------------------------------------------------------------------------------


def poisson(
    rate: float, slo_ns: int | None, *, calls: int = CALLS, seed: int = 7, bursts: bool = False
) -> Iterator[Arrival]:
    """Yield calls at a mean rate; in bursts: six times as many for a quarter of the time than in the rest of it."""
    random = Random(seed)
    at = 0.0
    for number in range(calls):
        now_rate = rate
        if bursts:
            # One second in four at 3 x the rate, the others at 1/3: the mean is the rate.
            now_rate = rate * (3.0 if at % 4.0 < 1.0 else 1 / 3)
        at += random.expovariate(now_rate)
        at_ns = int(at * SECOND)
        yield Arrival(number, at_ns, at_ns + slo_ns if slo_ns else NEVER)


def mixed(rate: float, *, calls: int = CALLS, seed: int = 7) -> Iterator[Arrival]:
    """Yield calls of mixed lengths, without deadlines."""
    random = Random(seed)
    at = 0.0
    for number in range(calls):
        at += random.expovariate(rate)
        length = min(max(int(random.lognormvariate(math.log(80), 0.8)), LENGTHS[0]), LENGTHS[1])
        yield Arrival(number, int(at * SECOND), NEVER, length)


# -- figures ---------------------------------------------------------------------------------------------

FLAT = Device(5 * MILLISECOND, MILLISECOND // 5)  # research table: a = 5 ms, b = 0.2 ms
PADDED = Device(4 * MILLISECOND, 0, 1_700)  # 4 ms and 1.7 µs for each padded token


def goodput(load: float, *, noise: float = 0.0, bursts: bool = False, ours: bool = True) -> float:
    """Return the share answered within 50 ms at this multiple of the device's capacity."""
    device = Device(FLAT.base_ns, FLAT.per_call_ns, noise=noise)
    policy: Policy = Ours(BatchSpec(max=MAX)) if ours else Greedy()
    return simulate(policy, device, poisson(load * FLAT.rate(), SLO_NS, bursts=bursts)).goodput


def p50_at_low_load_ms() -> float:
    """Return the median at a twentieth of the capacity; one call alone takes 5.2 ms."""
    policy = Ours(BatchSpec(max=MAX))
    return simulate(policy, FLAT, poisson(0.05 * FLAT.rate(), None)).quantile_ms(0.5)


def mixed_p99_ms(rate: float, make: Callable[[], Policy]) -> float:
    """Return the 99th percentile at this many calls of mixed lengths a second."""
    return simulate(make(), PADDED, mixed(rate)).quantile_ms(0.99)


def weighed() -> Policy:
    """Return our batcher told of the lengths."""
    return Ours(BatchSpec(max=MAX, is_weighed=True))


def load_within_bar(make: Callable[[], Policy]) -> float:
    """Return the most calls of mixed lengths a second whose 99th percentile stays within the bar."""
    low, high = 200.0, 5_000.0
    while high - low > 20:
        middle = (low + high) / 2
        low, high = (middle, high) if mixed_p99_ms(middle, make) <= BAR_MS else (low, middle)
    return low


def mixed_length_load_ratio() -> float:
    """Return how many times the load of padding in order of arrival we carry at the same 99th percentile."""
    return load_within_bar(weighed) / load_within_bar(Greedy)


def figures() -> dict[str, float]:
    """Return what is published."""
    return {
        "goodput_at_1_5x": round(goodput(1.5), 4),
        "mixed_length_load_ratio_fifo": round(mixed_length_load_ratio(), 2),
    }


if __name__ == "__main__":
    for name, value in figures().items():
        print(json.dumps({"figure": name, "value": value}))
