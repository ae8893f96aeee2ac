"""Which machines are launched and given back for what is wanted, and who leaves those that go?

Machines that are simply there come first: only what they cannot hold needs launched ones. A replica on a machine that
goes no longer counts as one that works, so another one starts elsewhere; it serves until that is ready, or until the
machine's end is so near that it must finish.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from glowplug.clock import SECOND
from glowplug_router.drafting.draft import Draft
from glowplug_router.drafting.replicas import cheapest_first
from glowplug_router.policy.backoff import is_failed
from glowplug_router.policy.capacity.needs import Wanted, mean_speed, needs_of, shape_of
from glowplug_router.policy.capacity.offers import launch_ns, slots_of, units_of
from glowplug_router.policy.capacity.portfolio import total_needed
from glowplug_router.policy.capacity.step import capacity_step
from glowplug_router.policy.capacity.view import CapacityPlan, CapacityView
from glowplug_router.policy.placement import Rooms, parts_held
from glowplug_router.policy.rollout import max_replicas
from glowplug_router.policy.scaling.following import Target
from glowplug_router.records.capacity import Need
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Observed, Replica, Served

Targets = Sequence[tuple[Served, Target]]

# A replica on a machine with notice takes no more calls when so many of its mean calls, or this long, are left.
LAST_CALLS = 4  # one in 55 takes longer than four times the mean, where lengths are exponential
LAST_NS = (
    5 * SECOND
)  # for the drain itself: the order, the last answers, the end of the process [I]


def with_launch(draft: Draft, served: Served) -> Served:
    """Return the version with its need of machines, and how long one takes where none has room for a replica now."""
    offers = draft.observed.offers
    if not offers:
        return served
    shape = shape_of(served, offers, draft.kinds)
    served = replace(served, need=shape.key)
    if draft.rooms.has_room(served):
        return served
    waits = [launch_ns(offer) for offer in offers if units_of(offer, shape)]
    return replace(served, launch_ns=min(waits, default=0))


def spread(observed: Observed) -> Observed:
    """Return the world with critical versions spread over zones, where machines are launched in several."""
    if len({offer.zone for offer in observed.offers}) < 2:
        return observed
    served = tuple(
        replace(one, is_spread=True) if one.policy.priority == "critical" else one
        for one in observed.served
    )
    return replace(observed, served=served)


def with_reserve(draft: Draft, served: Served, target: Target) -> Target:
    """Return the target with so many more replicas that any zone may be lost: for versions whose calls are critical."""
    critical = target.replicas if served.is_spread and served.policy.priority == "critical" else 0
    zones = {offer.zone for offer in draft.observed.offers}
    total = min(total_needed(critical, critical, len(zones)), max_replicas(served))
    reserve = max(0, total - critical) if critical else 0
    memory = draft.memories[served.key]
    if memory.reserve != reserve:
        draft.memories[served.key] = replace(memory, reserve=reserve)
    return replace(target, replicas=target.replicas + reserve) if reserve else target


def have_machines(draft: Draft, targets: Targets) -> None:
    """Launch and give back machines. Nothing is done where none could be launched and none was."""
    if not draft.observed.offers and not any(node.offer for node in draft.observed.nodes):
        return
    keys, needs = needs_of(_wanted(draft, targets), draft.observed.offers, draft.kinds)
    plan = _planned(draft, keys, needs)
    draft.capacity = plan.memory
    draft.actions.extend(plan.actions)
    given_back = [a.node for a in plan.actions if isinstance(a, Terminate)]
    draft.close([*given_back, *plan.unwanted])
    draft.told_of_machines.extend(plan.explain)
    if plan.due_ns is not None:
        draft.dues_ns.append(plan.due_ns)
    said = {row.subject: row.text for row in plan.explain}
    draft.coming = _coming(draft, plan, {need.key: need for need in needs})
    draft.machines = {version: (key, said[f"capacity/{key}"]) for version, key in keys.items()}


def await_machines(draft: Draft, targets: Targets) -> None:
    """Remember for how many replicas that did not start machines are on their way: they are not asked for again."""
    for served, target in targets:
        memory = draft.memories[served.key]
        key, _ = draft.machines.get(served.key, ("", ""))
        missing = max(0, draft.missing(served, target))
        awaited = min(draft.coming[key], missing)
        draft.coming[key] -= awaited
        if draft.now_ns < memory.retry_at_ns:
            # Whose machine has come is awaited while a start must wait: else the machine is given back meanwhile.
            awaited = max(awaited, min(memory.awaited, missing))
        if memory.awaited != awaited:
            draft.memories[served.key] = replace(memory, awaited=awaited)


def _coming(draft: Draft, plan: CapacityPlan, needs: Mapping[str, Need]) -> Counter[str]:
    """Return for how many replicas of each need machines are on their way."""
    offers = {offer.id: offer for offer in draft.observed.offers}
    on_its_way = {node.id: node.offer for node in draft.nodes if node.state == "launching"}
    on_its_way |= {a.node: a.offer for a in plan.actions if isinstance(a, Launch)}
    coming: Counter[str] = Counter()
    for row in plan.memory.needs:
        for node in row.nodes:
            offer = offers.get(on_its_way.get(node, ""))
            if offer is not None and node not in draft.departing:
                coming[row.key] += slots_of(offer, needs[row.key])
    return coming


def _planned(draft: Draft, keys: Mapping[str, str], needs: Sequence[Need]) -> CapacityPlan:
    observed = draft.observed
    known = {node.id for node in draft.nodes}
    launched = [node for node in observed.nodes if node.offer]
    view = CapacityView(
        epoch=observed.epoch,
        needs=tuple(needs),
        offers=observed.offers,
        nodes=tuple(node for node in launched if node.id in known),
        silent=tuple(node for node in launched if node.id not in known),
        tallies=observed.tallies,
        tenants={r.node: keys[r.version] for r in observed.replicas if r.version in keys},
        occupied=_occupied(observed),
        limits=observed.limits,
    )
    return capacity_step(view, draft.memory.capacity, draft.now_ns)


def _occupied(observed: Observed) -> frozenset[str]:
    running = (replica for replica in observed.replicas if replica.state != "failed")
    nodes = frozenset(node for replica in running for node, _ in parts_held(replica))
    return nodes.union(observed.kept)


def _wanted(draft: Draft, targets: Targets) -> Iterator[Wanted]:
    """Yield what each version wants beyond what machines that are simply there hold or could hold."""
    plain = {node.id: node for node in draft.nodes if not node.offer}
    there = [replica for replica in draft.observed.replicas if replica.node in plain]
    offers = draft.observed.offers  # what could be launched says which devices there are at all
    rooms = Rooms(tuple(plain.values()), there, draft.served, offers) if plain else None
    speeds = _speeds(draft)
    for served, target in targets:
        memory = draft.memories[served.key]
        working = draft.working(served.key)
        # What fails to start gets no machine for another try.
        wanted = target.replicas
        if is_failed(memory):
            wanted = min(wanted, len(working))
        surplus = len(working) - wanted
        # Who is too many goes in this plan, and only its room is left for a while.
        staying = sorted(working, key=cheapest_first)[surplus:] if surplus > 0 else working
        wanted -= sum(replica.node in plain for replica in staying)
        while wanted > 0 and rooms is not None and rooms.place(served) is not None:
            wanted -= 1
        if wanted > 0:
            yield Wanted(
                served=served,
                replicas=wanted,
                reserve=memory.reserve,
                # Where they are ready: there its calls were measured.
                speed_permille=mean_speed(speeds, (r.node for r in working if r.state == "ready")),
                lost_work_ns=memory.mean_service_ns,
            )


def _speeds(draft: Draft) -> dict[str, int]:
    of = {offer.id: offer.speed_permille for offer in draft.observed.offers}
    return {node.id: of[node.offer] for node in draft.nodes if node.offer in of}


# -- who leaves


def leave(draft: Draft, served: Served, target: Target) -> None:
    """Drain replicas on machines that go: those that have not begun, those replaced, and those whose time is up."""
    going = [r for r in draft.departing_of(served.key) if r.state in ("starting", "ready")]
    if not going:
        return
    ready = sum(replica.state == "ready" for replica in draft.working(served.key))
    ready += sum(replica.state == "ready" for replica in going)
    ends = {node.id: node.leaves_ns for node in draft.nodes}
    last_ns = max(LAST_NS, LAST_CALLS * draft.memories[served.key].mean_service_ns)
    going.sort(key=lambda replica: (replica.state, _end_of(replica, ends), replica.id))
    for replica in going:
        end_ns = _end_of(replica, ends)
        if replica.state == "starting" or ready > target.replicas:
            ready -= replica.state == "ready"
            draft.drain(replica, _within(served.drain_ns, end_ns, draft.now_ns), "machine_leaves")
        elif end_ns < NEVER_NS and draft.now_ns >= end_ns - last_ns:
            draft.drain(replica, _within(served.drain_ns, end_ns, draft.now_ns), "notice")
        elif end_ns < NEVER_NS:
            draft.dues_ns.append(end_ns - last_ns)


NEVER_NS = 1 << 62  # a machine that is given back waits for its replicas


def _end_of(replica: Replica, ends: dict[str, int]) -> int:
    """Return when the first machine of a replica is taken away."""
    return min(ends.get(node, 0) or NEVER_NS for node, _ in parts_held(replica))


def _within(drain_ns: int, end_ns: int, now_ns: int) -> int:
    return max(0, min(drain_ns, end_ns - now_ns))
