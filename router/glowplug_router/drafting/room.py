"""Who must start now, and where is room kept or made for it?"""

from collections.abc import Sequence

from glowplug_router.drafting.draft import Draft
from glowplug_router.policy.eviction import SURE_NS, WAITING_MAX, Crowd, Way, needed_now, way_for
from glowplug_router.policy.gang_eviction import way_for_gang
from glowplug_router.policy.placement import Place
from glowplug_router.policy.reasons import needs_text, waits_text
from glowplug_router.policy.scaling.following import Target
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Served

Targets = Sequence[tuple[Served, Target]]


def make_room(draft: Draft, targets: Targets) -> None:
    """Start what must start now, and where it finds no room, keep or make some for it."""
    urgent = [served for served, _ in _urgent(draft, targets)]
    tried = {served.key.rpartition("@")[0] for served in urgent if served.candidate}
    for served in urgent:
        # What was kept for a version that now has a candidate is the candidate's, if it wants it.
        if served.candidate or served.key.rpartition("@")[0] not in tried:
            draft.rooms.keep(served, _kept(draft.memories[served.key]))
    # Room that is made or given back may do for another one: a second plan must find nothing left to do.
    has_changed = True
    while has_changed:
        has_changed = False
        for served, needed in _urgent(draft, targets):
            has_changed |= _settle(draft, served, needed)
    _explain_room(draft, targets)


def _kept(known: EndpointMemory) -> Place:
    return Place(known.room_node, known.room_gpus, known.room_parts)


def _explain_room(draft: Draft, targets: Targets) -> None:
    for served, target in targets:
        if served.key in draft.makes_way:
            draft.explain(served, target, "makes_way", draft.makes_way[served.key])
        if served.key in draft.rooms.held:
            draft.explain(served, target, "waits_for_room", waits_text(served, draft.rooms))


def _urgent(draft: Draft, targets: Targets) -> list[tuple[Served, int]]:
    """Return who cannot wait, with how many: candidates first, then whoever has nothing."""
    found: list[tuple[bool, bool, Served, int]] = []
    for served, target in targets:
        missing = draft.missing(served, target)
        if missing > 0:
            working = target.replicas - missing
            needed = needed_now(served, draft.demand.get(served.key), working)
            if needed > 0 and not draft.is_held_back(served, target):
                rank = (not served.candidate, working > 0)
                found.append((*rank, served, min(needed, missing)))
    return [(served, needed) for _, _, served, needed in sorted(found, key=lambda f: f[:2])]


def _settle(draft: Draft, served: Served, needed: int) -> bool:
    """Start a version or keep room for it; say whether that changed what others find."""
    spot = draft.rooms.release(served)
    started = 0
    while started < needed and draft.start(served):
        started += 1
    if started == needed:
        return True
    if spot is not None and draft.rooms.keep(served, spot):
        return started > 0
    spot = _room_to_come(draft, served)
    return (spot is not None and draft.rooms.keep(served, spot)) or started > 0


def _room_to_come(draft: Draft, served: Served) -> Place | None:
    """Return the room a version can wait for: what drains already, or else what is made for it."""
    if len(draft.rooms.held) >= WAITING_MAX:
        return None
    if spot := draft.rooms.place_to_come(served):
        return spot
    need, _ = draft.machines.get(served.key, ("", ""))
    if draft.coming[need]:
        return None  # who serves goes on: a machine is on its way
    crowd = Crowd(draft.demand, draft.memories, draft.working, draft.rooms, draft.now_ns)
    if draft.holders is None:
        draft.holders = crowd.idle(draft.observed.served)
        draft.dues_ns.extend(known.first_seen_ns + SURE_NS for known in draft.memories.values())
    own = crowd.followed(served, draft.endpoint_of(served)) if served.candidate else ()
    alone = way_for(served, draft.rooms, draft.holders, own)
    wide = way_for_gang(served, draft.rooms, draft.holders, own)
    ways = [way for way in (alone, wide) if way is not None]
    way = min(ways, default=None, key=lambda way: way.kind)
    return None if way is None else _made(draft, served, way)


def _made(draft: Draft, served: Served, way: Way) -> Place:
    assert draft.holders is not None, way
    for replica in way.victims:
        draft.holders.gone(replica)
        draft.drain(replica, draft.served[replica.version].drain_ns, "makes_way")
        text = f"{replica.id} drains: {served.key} must start and needs {needs_text(served)}"
        draft.makes_way[replica.version] = text
    return way.spot
