"""May one more call wait, and who makes way for it?

A queue is bounded in calls and in bytes. Of a full one, each class keeps its share of the places (`QUEUE_SHARE`);
beyond the shares a better class takes the place of a worse one, and within a class a tenant with few waiting calls
takes one of whoever has most. So a flood keeps out its own author and nobody else. The last of a line makes way. For
bytes, calls of worse classes make way; a class has no share of these.
"""

from itertools import chain, islice

from glowplug_router.dispatch.classes import RANKS
from glowplug_router.dispatch.state import Call, Version

# What one permit gets done within the default queue limit when a call takes 0.6 s.
QUEUE_PER_PERMIT = 100
# The usual call has some KiB; of those that carry more, a queue holds what a small machine can spare.
QUEUE_BYTES_MAX = 128 << 20
QUEUE_SHARE = (40, 25, 20, 10)  # percent of the places that a class keeps whoever comes
DISPLACED_MAX = 64  # calls that are looked at, and make way, for the bytes of one


def code_of(version: Version) -> str:
    """Return the code of a refusal for want of room."""
    return "overloaded" if version.is_ready else "hold_full"


def displaced(call: Call) -> tuple[Call, ...] | None:
    """Return the calls that must make way for an arriving one; None when it may not wait itself."""
    too_many_bytes = _too_many_bytes(call)
    if too_many_bytes > 0:
        return _lighter(call, too_many_bytes)  # and each of them leaves its place
    places = _places(call.version)
    if call.version.waiting.count < places:
        return ()
    victim = _victim(call, places)
    return (victim,) if victim is not None else None


def _too_many_bytes(call: Call) -> int:
    size_bytes, queued_bytes = call.asked.size_bytes, sum(call.version.waiting.bytes_queued)
    # A call that finds none waiting may wait, however large it is; and one without a body weighs nothing.
    return queued_bytes + size_bytes - QUEUE_BYTES_MAX if size_bytes and queued_bytes else 0


def _places(version: Version) -> int:
    if not version.is_ready:
        return version.hold
    return max(version.hold, QUEUE_PER_PERMIT * version.max_permits)


def _victim(call: Call, places: int) -> Call | None:
    """Return the call whose place an arriving one takes in a full queue, or None."""
    waiting, own = call.version.waiting, call.rank
    is_short = waiting.queued[own] < _share(places, own)
    for rank in reversed(RANKS):
        if rank == own:
            line = waiting.classes[own].line_of(call.asked.tenant)
            own_count = len(line) if line is not None else 0
            if waiting.queued[own] and len(waiting.classes[own].longest()) > own_count + 1:
                return _last(call.version, rank)
        elif (rank > own or is_short) and waiting.queued[rank] > _share(places, rank):
            return _last(call.version, rank)
    return None


def _share(places: int, rank: int) -> int:
    return places * QUEUE_SHARE[rank] // 100


def _last(version: Version, rank: int) -> Call:
    entry = version.waiting.classes[rank].longest().last()
    assert entry is not None
    return entry[2]


def _lighter(call: Call, too_many_bytes: int) -> tuple[Call, ...] | None:
    """Return calls of worse classes that weigh as much as is too much, or None when there are not enough."""
    waiting = call.version.waiting
    if sum(waiting.bytes_queued[call.rank + 1 :]) < too_many_bytes:
        return None
    worst_first = (waiting.classes[rank].from_last() for rank in reversed(RANKS[call.rank + 1 :]))
    chosen: list[Call] = []
    for victim in islice(chain.from_iterable(worst_first), DISPLACED_MAX):
        if victim.asked.size_bytes:
            chosen.append(victim)
        too_many_bytes -= victim.asked.size_bytes
        if too_many_bytes <= 0:
            return tuple(chosen)
    return None
