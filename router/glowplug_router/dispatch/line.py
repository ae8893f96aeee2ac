"""Which call of a tenant goes next?

One order for all: a call goes by its deadline when its caller set one, and else by its arrival plus the queue limit. So
calls without deadline are first come, first served, and one with a short deadline passes them.

Interactive calls turn that around under overload: when the call in front has waited 200 ms, the newest goes first.
Somebody who has waited that long has given up or is about to; serving them in order would serve everybody too late.
Those in front go when the rush is over, or at their limit. A call that comes back from a replica keeps its place.
"""

from typing import TYPE_CHECKING

from glowplug.clock import MILLISECOND
from glowplug_router.dispatch.classes import INTERACTIVE
from glowplug_router.dispatch.ordered import Ordered

if TYPE_CHECKING:
    from glowplug_router.dispatch.state import Call

# The wait that an interactive caller notices (100 ms), exceeded for as long as a burst lasts (100 ms). In a line that
# is served in order, both are over exactly when the call in front has waited for their sum.
LIFO_AFTER_NS = 200 * MILLISECOND
Line = Ordered["tuple[int, int, Call]"]  # by due time, then place


def next_in(line: Line, rank: int, now_ns: int) -> "Call":
    """Return the call to send first; there is one."""
    entry = line.last() if _is_turned(line, rank, now_ns) else line.first()
    assert entry is not None
    return entry[2]


def ahead_in(line: Line, call: "Call", now_ns: int) -> int:
    """Return how many calls of a line go before one that would join it."""
    before = line.before((call.due_ns, call.place))
    return len(line) - before if _is_turned(line, call.rank, now_ns) else before


def _is_turned(line: Line, rank: int, now_ns: int) -> bool:
    if rank != INTERACTIVE:
        return False
    first = line.first()
    return first is not None and now_ns - first[2].since_ns >= LIFO_AFTER_NS
