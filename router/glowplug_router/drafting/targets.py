"""How many replicas should each version have, and what is remembered of what led there?"""

from collections.abc import Callable
from dataclasses import replace

from glowplug.clock import SECOND
from glowplug_router.drafting.draft import Draft
from glowplug_router.policy.backoff import outcomes_noted
from glowplug_router.policy.rollout import fixed_replicas, max_replicas
from glowplug_router.policy.scaling.following import Target
from glowplug_router.policy.scaling.measuring import demand_noted
from glowplug_router.policy.scaling.starts import starts_noted
from glowplug_router.policy.warmth.keeping import gaps_noted
from glowplug_router.policy.warmth.preheat import preheat_window
from glowplug_router.policy.warmth.residency import heat_noted
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Served

# desired_replicas(served, demand, memory, ready, starting, now_ns): ours, or another one that it is compared with.
Scaler = Callable[[Served, Demand, EndpointMemory, int, int, int], Target]


def target(draft: Draft, served: Served, scaler: Scaler) -> Target:
    """Return how many replicas the version should have, and remember what led there."""
    replicas = draft.replicas.get(served.key, ())
    known = draft.memories.get(served.key) or EndpointMemory(key=served.key)
    memory = outcomes_noted(known, replicas, draft.now_ns)
    demand = draft.demand.get(served.key) or Demand(key=served.key)
    memory = starts_noted(memory, served, replicas)
    memory = gaps_noted(memory, served, demand, draft.now_ns)
    memory = heat_noted(memory, demand, draft.now_ns)
    memory = demand_noted(memory, demand, served, draft.now_ns)
    fixed = fixed_replicas(served)
    if fixed is None:
        states = [replica.state for replica in draft.working(served.key)]
        ready = states.count("ready") + _to_replace(draft, memory, len(states))
        starting = len(states) - states.count("ready") + memory.awaited
        # What is only there for the loss of a zone is not asked whether the load is worth it.
        ready = max(0, ready - max(0, memory.reserve - starting))
        starting = max(0, starting - memory.reserve)
        found = _lasting(scaler, served, demand, memory, (ready, starting), draft.now_ns)
        found = preheated(served, demand, memory, found, draft.now_ns)
    else:
        found = _fixed(fixed, memory, draft.now_ns)
    wanted = found.replicas
    known = found.memory
    draft.memories[served.key] = known if known.wanted == wanted else replace(known, wanted=wanted)
    if found.due_ns is not None:
        draft.dues_ns.append(found.due_ns)
    return found


def _to_replace(draft: Draft, memory: EndpointMemory, working: int) -> int:
    """Return how many that are wanted go with their machines and have no successor yet.

    They count as there: else one machine that goes would lower what is held, and so take the next one along.
    """
    going = [r for r in draft.departing_of(memory.key) if r.state in ("starting", "ready")]
    return max(0, min(len(going), memory.wanted - working - memory.awaited))


def _lasting(
    scaler: Scaler,
    served: Served,
    demand: Demand,
    memory: EndpointMemory,
    there: tuple[int, int],
    now_ns: int,
) -> Target:
    """Return what the scaler wants of `(ready, starting)` replicas, if it will still want that once it is done.

    Who would be wanted back at once does not go. And where nothing is there, no more are wanted than when the first of
    them starts: the others may find no room, and what was launched for them would be given back.
    """
    ready, starting = there
    found = scaler(served, demand, memory, ready, starting, now_ns)
    have = ready + starting
    if not have and found.replicas > 1:
        first = scaler(served, demand, found.memory, 0, 1, now_ns)
        return first if first.replicas < found.replicas else found
    if found.replicas >= have:
        return found
    starts = max(0, starting - (have - found.replicas))  # what starts goes first
    again = scaler(served, demand, found.memory, found.replicas - starts, starts, now_ns)
    if again.replicas <= found.replicas:
        return found
    return replace(found, replicas=have, rule=again.rule, text=again.text)


def preheated(
    served: Served, demand: Demand, memory: EndpointMemory, found: Target, now_ns: int
) -> Target:
    """Return the target with one replica where it has none, and the next call is expected soon."""
    window = preheat_window(demand, memory, now_ns)
    if window is None or found.replicas or not max_replicas(served):
        return found
    begin_ns, end_ns = window
    due_ns = end_ns if now_ns >= begin_ns else begin_ns
    due_ns = due_ns if found.due_ns is None else min(due_ns, found.due_ns)
    if now_ns < begin_ns:
        return replace(found, due_ns=due_ns)
    text = f"the next call is expected within {(end_ns - now_ns) / SECOND:.0f} s; {found.text}"
    return replace(found, replicas=1, rule="preheat", text=text, due_ns=due_ns)


def _fixed(replicas: int, memory: EndpointMemory, now_ns: int) -> Target:
    if not replicas:
        return Target(0, "leaving", "traffic has moved on; all replicas drain", memory)
    # A candidate that becomes live has its patience before it.
    memory = replace(memory, busy_ns=now_ns)
    return Target(replicas, "candidate", "one replica, to be tried out", memory)
