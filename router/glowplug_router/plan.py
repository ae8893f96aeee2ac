"""What should be started, drained or forgotten now, and why?

`plan(observed, demand, memory, now_ns) -> Plan` is total and deterministic: same arguments, same answer, for ever.

What the controller owes it:

- `observed.nodes` holds machines as intended: after a `Launch` as "launching", after a `Terminate` not at all.
- `observed.replicas` holds what agents report *and* what is intended but not reported yet: a `Start` as state
  "starting" (with its gpus), a `Drain` as "draining", a `Swap` as "starting" of the new version; a `Forget` takes the
  replica out. Then a plan of the planned state has no actions, and nothing is started twice.
- `demand` has at most one row a version; no row means that nothing was ever asked of it.
- `plan.memory` is given to the next plan. When it is lost, nothing is drained for a full `zero_after`.
- Actions may be carried out twice: their id is the hash of kind, subject and epoch, and that of a replica is used once.

Starting and ready replicas count against `max`; draining ones do not, but hold their room on the node until they end.
What must start now and finds no room has others make way (`policy.eviction`); the room is kept for it meanwhile.
"""

from collections.abc import Sequence

from glowplug_router.drafting.draft import Draft
from glowplug_router.drafting.losses import drain_the_unserved, forget_the_lost
from glowplug_router.drafting.machines import (
    await_machines,
    have_machines,
    leave,
    spread,
    with_launch,
    with_reserve,
)
from glowplug_router.drafting.replicas import grow, shrink, swap
from glowplug_router.drafting.room import make_room
from glowplug_router.drafting.targets import Scaler, target
from glowplug_router.policy.scaling.desired import desired_replicas
from glowplug_router.policy.wishes import in_effect
from glowplug_router.records.decided import Plan
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Observed


def plan(
    observed: Observed,
    demand: Sequence[Demand],
    memory: Memory,
    now_ns: int,
    *,
    scaler: Scaler = desired_replicas,
) -> Plan:
    """Return what to do now, what to remember, why, and when to ask again at the latest."""
    observed = spread(in_effect(observed, now_ns))
    draft = Draft(observed, {row.key: row for row in demand}, memory, now_ns)
    forget_the_lost(draft)
    drain_the_unserved(draft)
    every = [with_launch(draft, served) for served in observed.served]
    targets = [
        (served, with_reserve(draft, served, target(draft, served, scaler))) for served in every
    ]
    have_machines(draft, targets)
    for served, wanted in targets:
        swap(draft, served, wanted)
    for served, wanted in targets:
        leave(draft, served, wanted)
    for served, wanted in targets:
        shrink(draft, served, wanted)
    make_room(draft, targets)
    # Whoever has nothing comes first; a candidate before that, since a deployment waits for it.
    targets.sort(key=lambda pair: (not pair[0].candidate, len(draft.working(pair[0].key)) > 0))
    for served, wanted in targets:
        grow(draft, served, wanted)
    await_machines(draft, targets)
    return draft.finished()
