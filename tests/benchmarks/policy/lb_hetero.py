"""How long do calls take on unlike replicas, one of them sick? The real dispatcher in virtual time, beside others.

Nine replicas of three speeds and one that has become five times slower than its kind. Everybody's view of what runs
where is a second old for the rivals that poll it, as behind several gateways; ours counts its own permits. Calls beyond
a replica's permits wait in line there for the rivals, and in the dispatcher for ours.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import Any

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.dispatch import (
    CallArrived,
    CallEnded,
    DispatchState,
    Refuse,
    ReplicaReady,
    Send,
    Tick,
    VersionSet,
    step,
)
from policy.result import Result

NAME = "lb-hetero"
KEY = "app/e@1"
SPEEDS = (1000, 1000, 1000, 1500, 1500, 1500, 2000, 2000, 2000)  # permille
SICK, SICK_FACTOR = 3, 5  # router.md §7: one slow replica at 5x
PERMITS = 4
MEAN_NS = 100 * MILLISECOND  # at speed 1000
STALE_NS = SECOND  # router.md §7
LOADS = (0.5, 0.7, 0.9)  # of all that they can do, the sick one as it is; router.md §6
CALLS = 30_000
WARM_UP = 2000
START_NS = 1000 * SECOND


def run(seed: int) -> list[Result]:
    """Return the worst ratio of p99 to power-of-two-choices over the loads, and the figures of each load."""
    found = {load: _compared(load, seed) for load in LOADS}
    worst = max(LOADS, key=lambda load: found[load]["ours"] / found[load]["p2c"])
    results = [
        Result(
            figure="lb_hetero_p99_ratio_p2c",
            value=found[worst]["ours"] / found[worst]["p2c"],
            unit="ratio",
            detail=f"worst of loads {LOADS}: {worst}; 3 speeds, one at 1/{SICK_FACTOR}, stale 1 s",
        )
    ]
    fresh = max(p99["ours"] / p99["p2c_fresh"] for p99 in found.values())
    results.append(
        Result(
            figure="lb_hetero_p99_ratio_p2c_fresh",
            value=fresh,
            unit="ratio",
            detail="the same, beside power-of-two-choices that knows at once what runs where",
        )
    )
    for load, p99 in found.items():
        peers = {name: value for name, value in p99.items() if name not in ("ours", "bound")}
        results.append(
            Result(
                figure=f"lb_hetero_p99_ms_at_{load}",
                value=p99["ours"],
                unit="ms",
                bound=p99["bound"],
                peers=peers,
                detail="bound: shortest expected delay that knows the speeds, with no delay of news",
            )
        )
    return results


def _compared(load: float, seed: int) -> dict[str, float]:
    calls = _calls(load, seed)
    names: dict[str, Callable[[list[Server], Random, int], int]] = {
        "round_robin": _round_robin,
        "p2c": _two_choices,
        "p2c_fresh": _two_fresh_choices,
        "least_request": _least_request,
        "bound": _shortest_delay,
    }
    p99 = {name: _p99_ms(_Lines(choice, Random(seed)).run(calls)) for name, choice in names.items()}
    return {"ours": _p99_ms(_Ours().run(calls)), **p99}


def _calls(load: float, seed: int) -> list[tuple[int, int]]:
    """Return when each call comes and how long it would take at speed 1000, both in ns."""
    random = Random(seed)
    capacity = sum(_speed(number) for number in range(len(SPEEDS))) / 1000 * PERMITS / MEAN_NS
    at, calls = 0.0, []
    for _ in range(CALLS):
        at += random.expovariate(load * capacity)
        calls.append((int(at), int(random.expovariate(1 / MEAN_NS)) + 1))
    return calls


def _speed(number: int) -> float:
    return SPEEDS[number] / (SICK_FACTOR if number == SICK else 1)


def _p99_ms(took_ns: list[int]) -> float:
    ordered = sorted(took_ns[WARM_UP:])
    return ordered[int(0.99 * len(ordered))] / MILLISECOND


class _Ours:
    """The dispatcher: it learns speeds from the calls that end."""

    def __init__(self) -> None:
        self.state = DispatchState()
        self._heap: list[tuple[int, int, Any]] = []
        self._serial = 0

    def run(self, calls: list[tuple[int, int]]) -> list[int]:
        """Return how long each call took, in ns."""
        limits = VersionSet(KEY, CALLS, 600 * SECOND, 600 * SECOND, len(SPEEDS) * PERMITS)
        step(self.state, limits, START_NS)
        for number in range(len(SPEEDS)):
            step(self.state, ReplicaReady(str(number), KEY, PERMITS), START_NS)
        for number, (at_ns, _) in enumerate(calls):
            self._push(START_NS + at_ns, CallArrived(number + 1, KEY, 0))
        took = [0] * len(calls)
        while self._heap:
            now_ns, _, event = heappop(self._heap)
            if isinstance(event, CallEnded):
                took[event.call - 1] = now_ns - START_NS - calls[event.call - 1][0]
            for effect in step(self.state, event, now_ns):
                assert not isinstance(effect, Refuse), effect
                if isinstance(effect, Send):
                    service_ns = int(calls[effect.call - 1][1] * 1000 / _speed(int(effect.replica)))
                    ended = CallEnded(effect.call, effect.replica, service_ns)
                    self._push(now_ns + service_ns, ended)
            due_ns = self.state.next_due_ns
            if due_ns is not None and (not self._heap or due_ns < self._heap[0][0]):
                self._push(max(due_ns, now_ns + 1), Tick())
        return took

    def _push(self, at_ns: int, event: Any) -> None:
        self._serial += 1
        heappush(self._heap, (at_ns, self._serial, event))


@dataclass(slots=True)
class Server:
    """A replica with its own line, and what was last heard of it."""

    speed: float
    waiting: deque[int] = field(default_factory=deque)
    running: int = 0
    heard: int = 0  # calls there when it was last asked

    @property
    def there(self) -> int:
        """Return how many calls it really has."""
        return self.running + len(self.waiting)


class _Lines:
    """A rival: it chooses a replica at arrival, and the call waits there."""

    def __init__(self, choice: Callable[[list[Server], Random, int], int], random: Random) -> None:
        self._choice, self._random = choice, random
        self._servers = [Server(_speed(number)) for number in range(len(SPEEDS))]
        self._ends: list[tuple[int, int, int]] = []
        self._heard_ns = 0

    def run(self, calls: list[tuple[int, int]]) -> list[int]:
        """Return how long each call took, in ns."""
        took = [0] * len(calls)
        for number, (at_ns, _) in enumerate(calls):
            self._end_until(at_ns, calls, took)
            if at_ns >= self._heard_ns + STALE_NS:
                self._heard_ns = at_ns
                for server in self._servers:
                    server.heard = server.there
            chosen = self._choice(self._servers, self._random, number)
            self._servers[chosen].waiting.append(number)
            self._begin(chosen, at_ns, calls)
        self._end_until(1 << 62, calls, took)
        return took

    def _end_until(self, at_ns: int, calls: list[tuple[int, int]], took: list[int]) -> None:
        while self._ends and self._ends[0][0] <= at_ns:
            end_ns, number, chosen = heappop(self._ends)
            took[number] = end_ns - calls[number][0]
            self._servers[chosen].running -= 1
            self._begin(chosen, end_ns, calls)

    def _begin(self, chosen: int, now_ns: int, calls: list[tuple[int, int]]) -> None:
        server = self._servers[chosen]
        if server.waiting and server.running < PERMITS:
            number = server.waiting.popleft()
            server.running += 1
            end_ns = now_ns + int(calls[number][1] * 1000 / server.speed)
            heappush(self._ends, (end_ns, number, chosen))


def _round_robin(servers: list[Server], random: Random, number: int) -> int:
    return number % len(servers)


def _two_choices(servers: list[Server], random: Random, number: int) -> int:
    """Of two at random, the one that was heard to have fewer calls."""
    return min(random.sample(range(len(servers)), 2), key=lambda one: servers[one].heard)


def _two_fresh_choices(servers: list[Server], random: Random, number: int) -> int:
    """Of two at random, the one that has fewer calls now: a single gateway that counts its own."""
    return min(random.sample(range(len(servers)), 2), key=lambda one: servers[one].there)


def _least_request(servers: list[Server], random: Random, number: int) -> int:
    """Of all, the one that was heard to have the fewest calls; of several, any."""
    fewest = min(server.heard for server in servers)
    return random.choice([n for n, server in enumerate(servers) if server.heard == fewest])


def _shortest_delay(servers: list[Server], random: Random, number: int) -> int:
    """Know everything at once: the bound."""
    return min(
        range(len(servers)),
        key=lambda one: max(1, (servers[one].there + 1) / PERMITS) / servers[one].speed,
    )
