"""What is the least that any autoscaler could spend, had it known all arrivals?

Two bounds. Perfect packing: every permit busy all the time that a replica is held. The schedule: whole replicas in
whole steps, enough in every step for the work that comes in it, each start paid for; by dynamic programming over the
number of replicas. The schedule looks at the load of a step, not at queues inside it, so it is a bound, not a policy.
"""

from collections.abc import Iterable, Sequence

from glowplug.clock import HOUR
from glowplug_router.simulation.replay import Request


def packed_hours(traffic: Iterable[Request], permits: int) -> float:
    """Return the device hours of perfect packing."""
    return sum(request.service_ns for request in traffic) / permits / HOUR


def needs(traffic: Iterable[Request], permits: int, step_ns: int) -> list[int]:
    """Return how many replicas each step needs if all calls start at once: the work that came, over what one can do."""
    work: list[int] = []
    for request in traffic:
        begin_ns, left_ns = request.at_ns, request.service_ns
        while left_ns > 0:
            step, into_ns = divmod(begin_ns, step_ns)
            part_ns = min(left_ns, step_ns - into_ns)
            work += [0] * (step + 1 - len(work))
            work[step] += part_ns
            begin_ns, left_ns = begin_ns + part_ns, left_ns - part_ns
    return [-(-one // (permits * step_ns)) for one in work]


def scheduled_steps(needed: Sequence[int], start_steps: int) -> int:
    """Return the fewest replica steps, starts included, that meet every need. A start lasts `start_steps`.

    Keeping a replica over a gap costs its length, letting it go costs a start: cost(step, n) is the least up to a step
    that ends with n replicas.
    """
    most = max(needed, default=0)
    costs = [n * start_steps for n in range(most + 1)]
    for need in needed:
        lowest_above = _cheapest_from_above(costs)
        costs = _cheapest_from_below(lowest_above, start_steps)
        costs = [
            cost + n if n >= need else _never(needed, start_steps) for n, cost in enumerate(costs)
        ]
    return min(costs, default=0)


def _cheapest_from_above(costs: Sequence[int]) -> list[int]:
    """Return for each number the least cost of any number at or above it: going down is free."""
    found, least = [], costs[-1]
    for cost in reversed(costs):
        least = min(least, cost)
        found.append(least)
    return found[::-1]


def _cheapest_from_below(costs: Sequence[int], start_steps: int) -> list[int]:
    """Return for each number the least cost when going up by one costs a start."""
    found: list[int] = []
    for cost in costs:
        found.append(min(cost, found[-1] + start_steps) if found else cost)
    return found


def _never(needed: Sequence[int], start_steps: int) -> int:
    return (len(needed) + start_steps + 1) * (max(needed) + 1) * (start_steps + 2)
