"""Which replicas become another version, which go, and which come?"""

from glowplug_router.drafting.draft import Draft
from glowplug_router.policy.reasons import no_room_text
from glowplug_router.policy.rollout import swappable
from glowplug_router.policy.scaling.following import Target
from glowplug_router.records.observed import Replica, Served


def swap(draft: Draft, served: Served, target: Target) -> None:
    """Let replicas of the version before become this one, before anybody drains them."""
    draft.explain(served, target, target.rule, target.text)
    for _ in range(target.replicas - len(draft.working(served.key)) if not draft.is_blind else 0):
        other = swappable(served, draft.replicas)
        if other is None:
            return
        draft.swap(other, served)


def shrink(draft: Draft, served: Served, target: Target) -> None:
    """Drain what is too much."""
    have = draft.working(served.key)
    surplus = len(have) - target.replicas
    if surplus > 0 and not draft.is_blind:
        for replica in sorted(have, key=cheapest_first)[:surplus]:
            draft.drain(replica, served.drain_ns, target.rule)


def grow(draft: Draft, served: Served, target: Target) -> None:
    """Start what is missing."""
    missing = draft.missing(served, target)
    if missing <= 0 or draft.is_held_back(served, target) or served.key in draft.rooms.held:
        return
    for number in range(missing):
        if not draft.start(served):
            _explain_no_room(draft, served, target, missing - number)
            return


def _explain_no_room(draft: Draft, served: Served, target: Target, missing: int) -> None:
    if served.key in draft.makes_way:
        return  # this has been said already, and for whom
    text = no_room_text(served, missing, draft.rooms.left.values())
    if served.key in draft.machines:
        _, said = draft.machines[served.key]
        draft.explain(served, target, "machine", f"{missing} more wait for a machine: {said}")
        return
    winner = "" if served.candidate else _winner(draft, served)
    text = f"{winner} has its room; {text}" if winner else text
    draft.explain(served, target, "makes_way" if winner else "no_room", text)


def _winner(draft: Draft, served: Served) -> str:
    """Return the candidate that is tried out in this version's place, or who waits for what it leaves; else ""."""
    tried = [other.key for other in draft.endpoint_of(served) if other.candidate]
    draining = [r for r in draft.replicas.get(served.key, ()) if r.state == "draining"]
    nodes = {replica.node for replica in draining}
    waiting = [
        key
        for key, spot in draft.rooms.held.items()
        if any(part.node in nodes for part in spot.all_parts)
    ]
    return next(iter(tried + waiting), "")


def cheapest_first(replica: Replica) -> tuple[bool, int, str]:
    """Order by what draining costs: starting ones serve nobody yet; of the others the youngest has the least warmth."""
    return (replica.state != "starting", -replica.since_ns, replica.id)
