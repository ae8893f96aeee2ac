"""How long does the dispatcher take for a call, in a fleet as large as the planner's?"""

import time
from heapq import heappop, heappush
from random import Random

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.dispatch import (
    CallArrived,
    CallEnded,
    DispatchState,
    ReplicaReady,
    Send,
    VersionSet,
    step,
)

CALLS = 60_000
WARM_UP = 30_000  # at 1,000 endpoints twice the mean time of a call: as many run as the load says
REPLICAS = 5  # of an endpoint
PERMITS = 4
LOAD = 0.7  # of all permits: calls wait now and then
MEAN_NS = 100 * MILLISECOND
START_NS = 1000 * SECOND


def took_us(endpoints: int, seed: int) -> list[float]:
    """Return, sorted, how long `step` took for each call: its arrival and its end, in µs of wall time."""
    random = Random(seed)
    state = DispatchState()
    keys = [f"app{number // 4}/e{number}@1" for number in range(endpoints)]
    for key in keys:
        limits = VersionSet(key, CALLS, 600 * SECOND, 600 * SECOND, REPLICAS * PERMITS)
        step(state, limits, START_NS)
        for replica in range(REPLICAS):
            step(state, ReplicaReady(f"{key}-{replica}", key, PERMITS), START_NS)
    services_ns = [1 + int(random.expovariate(1 / MEAN_NS)) for _ in range(CALLS + 1)]
    took_ns = [0] * (CALLS + 1)
    ends: list[tuple[int, int, str]] = []  # when, which call, where
    now_ns = START_NS
    each_ns = MEAN_NS / (LOAD * endpoints * REPLICAS * PERMITS)
    for call in range(1, CALLS + 1):
        now_ns += int(random.expovariate(1 / each_ns))
        while ends and ends[0][0] <= now_ns:
            at_ns, number, where = heappop(ends)
            ended = CallEnded(number, where, services_ns[number])
            took_ns[number] += _step(state, ended, at_ns, services_ns, ends)
        arrived = CallArrived(call, random.choice(keys), 0, tenant=f"t{call % 8}")
        took_ns[call] += _step(state, arrived, now_ns, services_ns, ends)
    return sorted(each / 1000 for each in took_ns[WARM_UP:])


def _step(
    state: DispatchState,
    event: CallArrived | CallEnded,
    now_ns: int,
    services_ns: list[int],
    ends: list[tuple[int, int, str]],
) -> int:
    begun_ns = time.perf_counter_ns()
    effects = step(state, event, now_ns)
    took_ns = time.perf_counter_ns() - begun_ns
    for effect in effects:
        if isinstance(effect, Send):
            heappush(ends, (now_ns + services_ns[effect.call], effect.call, effect.replica))
    return took_ns
