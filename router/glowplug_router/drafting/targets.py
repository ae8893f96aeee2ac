"""How many replicas should each version have, and what is remembered of what led there?"""

from dataclasses import replace

from glowplug_router.drafting.draft import Draft
from glowplug_router.policy.backoff import outcomes_noted
from glowplug_router.policy.rollout import fixed_replicas
from glowplug_router.policy.scale import Target, demand_noted, desired_replicas
from glowplug_router.records import Demand, EndpointMemory, Served


def target(draft: Draft, served: Served) -> Target:
    """Return how many replicas the version should have, and remember what led there."""
    replicas = draft.replicas.get(served.key, ())
    memory = outcomes_noted(
        draft.memories.get(served.key, EndpointMemory(key=served.key)), replicas, draft.now_ns
    )
    demand = draft.demand.get(served.key, Demand(key=served.key))
    memory = demand_noted(memory, demand, draft.now_ns)
    fixed = fixed_replicas(served)
    if fixed is None:
        states = [replica.state for replica in draft.working(served.key)]
        ready = states.count("ready")
        found = desired_replicas(served, demand, memory, ready, len(states) - ready, draft.now_ns)
    else:
        found = _fixed(fixed, memory, draft.now_ns)
    draft.memories[served.key] = found.memory
    if found.due_ns is not None:
        draft.dues_ns.append(found.due_ns)
    return found


def _fixed(replicas: int, memory: EndpointMemory, now_ns: int) -> Target:
    if not replicas:
        return Target(0, "leaving", "traffic has moved on; all replicas drain", memory)
    # A candidate that becomes live has its patience before it.
    memory = replace(memory, busy_ns=now_ns)
    return Target(replicas, "candidate", "one replica, to be tried out", memory)
