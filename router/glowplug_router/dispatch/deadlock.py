"""Does a waiting call wait for itself?

A call that runs holds a permit and may wait for calls it made. It is *stuck* when one of its descendants waits for a
version that is *clogged*: at full scale, with every permit held by a stuck call. Both words define each other, so the
answer is the greatest fixpoint: suspect every version that could be clogged, and acquit until nobody is left to acquit.
This covers an endpoint that calls itself, A → B → A, and two chains that block each other. The newest call closes the
circle, and it is the one that is refused.

Each holder counts the waiting calls below it, so that the usual answer (somebody there simply works) costs two
comparisons.
"""

from glowplug_router.dispatch.state import Call, Version


def adopt(call: Call) -> None:
    """Tie a call to the one it was made from."""
    if call.parent is not None:
        if call.parent.children is None:
            call.parent.children = {}
        call.parent.children[call] = None


def hold(call: Call) -> None:
    """Note that a call took a permit."""
    call.version.holders.add(call)
    if call.below:  # one that was taken ahead began earlier than we heard
        call.version.blocked += 1


def unhold(call: Call) -> None:
    """Note that nobody can be stuck behind this call: it ends by itself, or its permit is no longer for others."""
    if call in call.version.holders:
        call.version.holders.remove(call)
        if call.below:
            call.version.blocked -= 1


def shift_below(call: Call, by: int) -> None:
    """Add to the count of waiting descendants of everybody above; a chain is at most CHAIN_MAX long."""
    above = call.parent
    while above is not None:
        was = above.below
        above.below = was + by
        if above in above.version.holders:
            above.version.blocked += (above.below > 0) - (was > 0)
        above = above.parent


def leave_flight(call: Call) -> None:
    """Untie a call that no longer runs from the calls it made: nobody waits for them now."""
    unhold(call)
    if call.below:
        shift_below(call, -call.below)
        call.below = 0
    for child in call.children or ():
        child.parent = None
        if child.is_queued:
            child.version.waiting.orphaned(child)
        child.is_nested = False
    call.children = None


def orphan(call: Call) -> None:
    """Untie a call that is over from the one it was made from."""
    if call.parent is not None and call.parent.children is not None:
        call.parent.children.pop(call, None)


def waits_for_itself(call: Call) -> bool:
    """Say whether `call`, which waits, can only wait for permits of calls that are stuck."""
    suspects = _suspects(call.version)
    while call.version in suspects:
        acquitted = [
            v
            for v, holders in suspects.items()
            if any(suspects.keys().isdisjoint(h) for h in holders)
        ]
        if not acquitted:
            return True
        for version in acquitted:
            del suspects[version]
    return False


def _suspects(version: Version) -> dict[Version, list[set[Version]]]:
    """Return the versions that may be clogged, from `version` on: for each of its holders, what that waits for."""
    suspects: dict[Version, list[set[Version]]] = {}
    to_visit = [version]
    while to_visit:
        version = to_visit.pop()
        if version in suspects or not _may_be_clogged(version):
            continue
        awaited = [_awaited(holder) for holder in version.holders]
        suspects[version] = awaited
        to_visit.extend(set().union(*awaited))
    return suspects


def _may_be_clogged(version: Version) -> bool:
    return (
        0 < version.blocked == len(version.holders) >= version.max_permits
        and version.pool.first() is None
    )


def _awaited(holder: Call) -> set[Version]:
    """Return the versions for which descendants of a holder wait."""
    awaited: set[Version] = set()
    to_visit = [holder]
    while to_visit:
        for child in to_visit.pop().children or ():
            if child.is_queued:
                awaited.add(child.version)
            else:
                to_visit.append(child)
    return awaited
