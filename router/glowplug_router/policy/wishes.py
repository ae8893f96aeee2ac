"""Which bounds hold now, of all that people declared over time?

An override takes the place of the policy's `min` and `max` while it lasts; of several the newest wins, bound by bound.
A lease and a window are floors: the highest wins, and never goes over `max`. When one ends, the rest is as it was.
"""

from collections.abc import Iterable
from dataclasses import replace

from glowplug.clock import SECOND
from glowplug_router.records.observed import Observed, Served
from glowplug_router.records.stored import Explain
from glowplug_router.records.wishes import Hold, HoldKind, Wishes

# Rules whose count a floor can be the reason of; the others (a failure, no room …) say more than a wish would.
_YIELDING = frozenset({"idle", "load", "steady", "min", "found"})
_WORDS: dict[HoldKind, str] = {
    "window": "a window of its schedule",
    "lease": "`glowplug preheat`",
    "override": "`glowplug scale --for`",
}


def in_effect(observed: Observed, now_ns: int) -> Observed:
    """Return the world with the bounds that hold now in each policy."""
    if not any(served.wishes.holds for served in observed.served):
        return observed
    return replace(observed, served=tuple(_bounded(served, now_ns) for served in observed.served))


def _bounded(served: Served, now_ns: int) -> Served:
    holding = current(served.wishes, now_ns)
    if not holding:
        return served
    policy = served.policy
    lowest, highest = policy.min, policy.max
    for hold in holding:
        if hold.kind == "override":
            lowest = lowest if hold.min is None else hold.min
            highest = highest if hold.max is None else hold.max
    floors = (hold.min or 0 for hold in holding if hold.kind != "override")
    lowest = min(max(lowest, *floors, 0), highest)
    return replace(served, policy=replace(policy, min=lowest, max=highest))


def current(wishes: Wishes, now_ns: int) -> tuple[Hold, ...]:
    """Return what holds now."""
    return tuple(hold for hold in wishes.holds if hold.from_ns <= now_ns < hold.until_ns)


def due_ns(wishes: Wishes, now_ns: int) -> int | None:
    """Return when a bound begins or ends to hold next, None when none will."""
    edges = (edge for hold in wishes.holds for edge in (hold.from_ns, hold.until_ns))
    return min((edge for edge in edges if edge > now_ns), default=None)


def told(row: Explain, served: Served, now_ns: int) -> Explain:
    """Return a decision with what was declared beside it; what alone explains the count gives the rule its name."""
    holding = current(served.wishes, now_ns) if served.wishes.holds else ()
    if not holding:
        return row
    text = f"{row.text}; {'; '.join(_words(hold, now_ns) for hold in holding)}"
    decides = _deciding(holding, served.policy.min)
    is_floor = row.replicas_wanted == served.policy.min and row.rule in _YIELDING
    rule = decides if decides is not None and is_floor else row.rule
    return replace(row, rule=rule, text=text)


def _deciding(holding: Iterable[Hold], lowest: int) -> HoldKind | None:
    """Return whose floor is the one that holds, the newest of those that say the same."""
    found: HoldKind | None = None
    for hold in holding:
        if hold.min is not None and hold.min >= lowest:
            found = hold.kind
    return found


def _words(hold: Hold, now_ns: int) -> str:
    bounds = [
        f"{name} {bound}"
        for name, bound in (("min", hold.min), ("max", hold.max))
        if bound is not None
    ]
    left_s = -(-(hold.until_ns - now_ns) // SECOND)
    return f"{_WORDS[hold.kind]} says {', '.join(bounds)} for {left_s} s more"
