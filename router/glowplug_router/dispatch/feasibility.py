"""Can a call still be answered by the deadline that its caller set?

A call that must wait is let in when nine of ten like it would make it:

    now + wait + longest run ≤ deadline

`wait` is the work that goes out before it, divided by the permits: half a call that runs, every call of better
classes, those of its own tenant that are more urgent, and of the other tenants of its class as many as take turns with
those; all of it times how wrong such waits were lately (`bias`). `longest run` is what nine of ten calls stay below (of
a long tail, twice the mean). While no replica is ready, what is left of a usual start comes first.

A call for which a permit is free, or that has waited and is next, is refused only when nine of ten would be late:

    now + shortest run > deadline

So nobody is let in to be disappointed, and nobody is turned away who would probably have made it. What is not known yet
(fewer than eight calls, no start seen) is no reason to refuse.
"""

from glowplug_router.dispatch.drain import RETRY_MAX_NS, RETRY_MIN_NS
from glowplug_router.dispatch.events import Refuse
from glowplug_router.dispatch.line import ahead_in
from glowplug_router.dispatch.state import Call, Version

HALF = 0.5  # of a call that runs is still to come, on average


def is_too_late(call: Call, now_ns: int) -> bool:
    """Say whether a call would be late although it is its turn."""
    service = call.version.service
    return (
        call.has_deadline and service.is_learned and now_ns + service.shortest_ns > call.deadline_ns
    )


def is_infeasible(call: Call, now_ns: int) -> bool:
    """Foretell the wait of an arriving call and say whether it would be late."""
    if not call.has_deadline:
        return False
    version = call.version
    mean_ns = version.service.mean_ns if version.service.is_learned else 0.0
    if version.is_ready:
        if not version.permits:
            return False  # nobody knows when there are some
        call.expected_ns = (_ahead(call, now_ns) + HALF) * mean_ns / version.permits
        wait_ns = call.expected_ns * version.bias.factor(call.rank, now_ns)
    else:
        wait_ns = float(start_ns(version, now_ns))
        wait_ns += _ahead(call, now_ns) // version.permits_each * mean_ns
    longest_ns = version.service.longest_ns if mean_ns else 0.0
    return now_ns + wait_ns + longest_ns > call.deadline_ns


def start_ns(version: Version, now_ns: int) -> int:
    """Return how much of a usual start is left; nothing when none was seen, or this one takes longer."""
    begun_ns = version.wanted_ns or now_ns
    return max(0, begun_ns + int(version.starting_mean_ns) - now_ns)


def _ahead(call: Call, now_ns: int) -> int:
    """Return how many waiting calls go out before an arriving one."""
    waiting, rank = call.version.waiting, call.rank
    tenants = waiting.classes[rank]
    line = tenants.line_of(call.asked.tenant)
    own = ahead_in(line, call, now_ns) if line is not None else 0
    others = waiting.queued[rank] - (len(line) if line is not None else 0)
    in_turn = (own + 1) * (len(tenants) - (line is not None))
    return sum(waiting.queued[:rank]) + own + min(others, in_turn)


def came_true(call: Call, now_ns: int) -> None:
    """Learn from a call that was foretold a wait and waits no more."""
    if call.expected_ns:
        call.version.bias.note(call.rank, call.expected_ns, now_ns - call.since_ns, now_ns)
        call.expected_ns = 0.0


def refusal(call: Call, now_ns: int) -> Refuse:
    """Return the refusal of a call that would be late, with the time after which the same wish could be met."""
    version = call.version
    wish_ns = call.deadline_ns - now_ns
    if version.service.is_learned and version.service.mean_ns > wish_ns:
        return Refuse(call.id, "infeasible")  # it would be late even if nobody waited
    if version.is_ready:
        wait_ns = version.drain.wait_ns(version.waiting.count + 1, now_ns)
    else:
        wait_ns = start_ns(version, now_ns)
    return Refuse(call.id, "infeasible", min(max(wait_ns, RETRY_MIN_NS), RETRY_MAX_NS))
