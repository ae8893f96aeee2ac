"""When is the real scaler asked in a fluid mode, and what is it told?

It would be asked five times a second. Here it is asked when its answer may be another one: calls wait, replicas became
ready or went, what it named as due is due, or the count of calls has moved by more than a tenth and chance together;
and every four minutes: calls that come after five in which it was not asked are a beginning to it, since a controller
hears of calls as they come. It hears of the last half minute apart, as far as its bins of two seconds reach.
"""

from dataclasses import dataclass
from math import sqrt

from glowplug.clock import MINUTE, SECOND
from glowplug_router.drafting.draft import Draft
from glowplug_router.drafting.targets import target
from glowplug_router.policy.scaling.desired import desired_replicas
from glowplug_router.policy.scaling.measuring import demand_noted
from glowplug_router.records.memory import EndpointMemory, Memory
from glowplug_router.records.observed import Demand, Observed, Replica
from policy.fluid import STEP_NS, Pool

SELDOM_NS = 4 * MINUTE
MOVED = 0.1
CHANCE_SIGMAS = 2
HEARD_NS = 32 * SECOND  # before now: as far as the bins of the scaler reach


@dataclass(frozen=True, slots=True)
class Asked:
    """When the scaler was asked last, on what, and when it wants to be asked again."""

    at_ns: int
    came: int
    ready: int
    due_ns: int | None
    waits: bool  # to let replicas go: what is due then is more than that nobody calls any more


class Ours:
    """The real scaler with its memory."""

    def __init__(self) -> None:
        self._memories: dict[str, EndpointMemory] = {}
        self._asked: dict[str, Asked] = {}
        self.asked = 0  # how often

    def __call__(self, pool: Pool, now_ns: int) -> int:
        """Return what is wanted now."""
        served = pool.caller.served
        if not pool.queued and not _is_news(pool, self._asked.get(served.key), now_ns):
            return pool.wanted
        self.asked += 1
        memory = _heard(self._memories.get(served.key), pool, now_ns)
        observed = Observed(epoch=1, served=(served,), nodes=(), replicas=_replicas(pool))
        known = Memory(versions=(memory,) if memory else ())
        draft = Draft(observed, {served.key: _demand(pool, 0)}, known, now_ns)
        found = target(draft, served, desired_replicas)
        self._memories[served.key] = draft.memories[served.key]
        self._asked[served.key] = Asked(
            now_ns, pool.came, pool.ready, found.due_ns, found.rule == "down_after"
        )
        return found.replicas


def _is_news(pool: Pool, last: Asked | None, now_ns: int) -> bool:
    if last is None:
        return pool.arrivals > 0
    if last.due_ns is not None and now_ns >= last.due_ns and (last.waits or not pool.came):
        return True
    if not pool.wanted and not pool.ready:
        return False
    moved = abs(pool.came - last.came)
    chance = CHANCE_SIGMAS * sqrt(max(1, last.came))
    return (
        pool.ready != last.ready
        or moved > MOVED * last.came + chance
        or now_ns - last.at_ns >= SELDOM_NS
    )


def _heard(memory: EndpointMemory | None, pool: Pool, now_ns: int) -> EndpointMemory | None:
    """Return the memory with what it would have heard half a minute ago."""
    then_ns = now_ns - HEARD_NS
    if memory is None or not pool.came or then_ns <= memory.sampled_ns:
        return memory
    return demand_noted(memory, _demand(pool, HEARD_NS), pool.caller.served, then_ns)


def _replicas(pool: Pool) -> tuple[Replica, ...]:
    key = pool.caller.served.key
    return tuple(
        Replica(
            id=f"{key}/{number}",
            version=key,
            node="",
            state="ready" if number < pool.ready else "starting",
        )
        for number in range(max(pool.ready, pool.wanted))
    )


def _demand(pool: Pool, ago_ns: int) -> Demand:
    """Return the counters as they were so long ago, in the step before: calls come evenly in it."""
    caller = pool.caller
    arrivals = pool.arrivals - pool.came * ago_ns // STEP_NS
    completed = max(0, int(pool.completed - pool.ended * ago_ns / STEP_NS))
    queued = int(pool.queued)
    running = min(pool.ready * caller.served.permits, arrivals - completed - queued)
    return Demand(
        key=caller.served.key,
        arrivals=arrivals,
        completed=completed,
        service_ns=int(completed * caller.service_s * SECOND),
        queued=queued,
        inflight=max(0, running),
        last_arrival_ns=pool.last_ns,
    )
