"""Who makes way for a gang that must start now, and finds room on no number of nodes together?

All or none: nobody goes unless the gang has all its places once they are gone. Of those that may go (`eviction`), so
many as it takes, the cheapest first; then whoever is not where the gang will lie stays, and of the rest, the dearest
first, whoever frees nothing that it needs.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from glowplug_router.policy.eviction import IDLE, OWN_IDLE, Holder, Holders, Way
from glowplug_router.policy.placement import Place, Rooms, parts_held
from glowplug_router.records.observed import Served


def way_for_gang(
    served: Served, rooms: Rooms, others: Holders, own: Sequence[Holder]
) -> Way | None:
    """Return who makes way for a gang over several nodes; None when nobody can, or when it is no such gang."""
    if not any(needs.over_nodes for needs in rooms.asked(served)):
        return None

    def fits(holders: Sequence[Holder]) -> bool:
        return _place(served, rooms, holders) is not None

    ranked = _ranked(others, own)
    # Who goes frees room and takes none, so that the gang fits from some number on.
    count = bisect_left(range(len(ranked)), 1, key=lambda n: fits(ranked[:n]))
    spot = _place(served, rooms, ranked[:count])
    if spot is None:
        return None
    nodes = {part.node for part in spot.all_parts}
    chosen = [
        one for one in ranked[:count] if any(node in nodes for node, _ in parts_held(one.replica))
    ]
    for holder in chosen[::-1]:
        fewer = [other for other in chosen if other is not holder]
        found = _place(served, rooms, fewer)
        if found is not None:
            chosen, spot = fewer, found
    kind = max((one.kind for one in chosen), default=OWN_IDLE)
    return Way(spot, tuple(one.replica for one in chosen), kind)


def _place(served: Served, rooms: Rooms, holders: Sequence[Holder]) -> Place | None:
    return rooms.gang_without(served, (holder.replica for holder in holders))


def _ranked(others: Holders, own: Sequence[Holder]) -> list[Holder]:
    """Return who may go, the cheapest first, and of each version no more than may."""
    found = {one.replica.id: one for there in others.by_node.values() for one in there}
    found |= {one.replica.id: one for one in own}
    return _spared(sorted(found.values(), key=lambda one: one.rank), others.spare)


def _spared(ranked: Sequence[Holder], spare: Mapping[str, int]) -> list[Holder]:
    left = dict(spare)
    chosen: list[Holder] = []
    for one in ranked:
        version = one.replica.version
        if one.kind == IDLE:
            left[version] -= 1
        if one.kind != IDLE or left[version] >= 0:
            chosen.append(one)
    return chosen
