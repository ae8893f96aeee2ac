"""Which declarations hold for an endpoint, and what becomes of those that have ended?"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from glowplug.clock import HOUR, SECOND
from glowplug.cron import fires, parsed, zone
from glowplug.spec import Policy, WindowSpec
from glowplug_router.control.catalog import Catalog
from glowplug_router.records.stored import Explain
from glowplug_router.records.wishes import Hold, Wish, Wishes

AHEAD_NS = HOUR  # windows that begin within this or the next are told to the planner, which wakes at their edges
WISHES_MAX = 16  # of one endpoint at a time: people make them by hand


def wishes_of(catalog: Catalog, app: str, endpoint: str, now_ns: int, wall_ns: int) -> Wishes:
    """Return what is declared of an endpoint, wall time turned into monotonic time."""
    policy = catalog.policies.get((app, endpoint), Policy())
    spans = (
        Hold(
            kind="window",
            from_ns=monotonic_ns(from_wall_ns, now_ns, wall_ns),
            until_ns=monotonic_ns(until_wall_ns, now_ns, wall_ns),
            min=window.min,
        )
        for window in policy.windows
        for from_wall_ns, until_wall_ns in spans_of(window, wall_ns // AHEAD_NS)
    )
    asked = _of(catalog, app, endpoint)
    return Wishes(holds=(*spans, *(_hold(wish, now_ns, wall_ns) for wish in asked)))


@lru_cache(
    maxsize=4096
)  # of windows of all endpoints; asked for at every plan, another only every hour
def spans_of(window: WindowSpec, hour: int) -> tuple[tuple[int, int], ...]:
    """Return when a window is open: now, and until two hours from the beginning of this one, in wall time.

    What begins within a span goes on with it, so spans never overlap, however often a window begins.
    """
    from_wall_ns = hour * AHEAD_NS
    try:
        cron, where = parsed(window.cron), zone(window.tz)
    except (
        ValueError
    ):  # it was checked when it was stored; a time zone may leave with an update of the system
        return ()
    spans: list[tuple[int, int]] = []
    for at_ns in fires(cron, where, from_wall_ns - window.for_ns, from_wall_ns + 2 * AHEAD_NS):
        if spans and at_ns <= spans[-1][1]:
            spans[-1] = (spans[-1][0], at_ns + window.for_ns)
        else:
            spans.append((at_ns, at_ns + window.for_ns))
    return tuple(spans)


def _hold(wish: Wish, now_ns: int, wall_ns: int) -> Hold:
    return Hold(
        kind=wish.kind,
        from_ns=0,
        until_ns=monotonic_ns(wish.until_wall_ns, now_ns, wall_ns),
        min=wish.min,
        max=wish.max,
    )


def monotonic_ns(at_wall_ns: int, now_ns: int, wall_ns: int) -> int:
    """Return a wall time as monotonic time, to the next whole second.

    Both clocks are read one after the other, so finer digits would be another in each plan, and mean nothing.
    """
    return -(-(now_ns + at_wall_ns - wall_ns) // SECOND) * SECOND


def _of(catalog: Catalog, app: str, endpoint: str) -> Iterable[Wish]:
    return [one for one in catalog.wishes.values() if (one.app, one.endpoint) == (app, endpoint)]


def ended(catalog: Catalog, wall_ns: int) -> tuple[Wish, ...]:
    """Return the declarations whose time is over."""
    return tuple(one for one in catalog.wishes.values() if one.until_wall_ns <= wall_ns)


def farewells(catalog: Catalog, wishes: Iterable[Wish]) -> Iterator[Explain]:
    """Yield for each that has ended what the decision log says of it."""
    for wish in wishes:
        policy = catalog.policies.get((wish.app, wish.endpoint))
        bounds = f"min {policy.min}, max {policy.max}" if policy is not None else "nothing"
        lasted_s = (wish.until_wall_ns - wish.created_wall_ns) // SECOND
        what = ", ".join(
            f"{name} {bound}"
            for name, bound in (("min", wish.min), ("max", wish.max))
            if bound is not None
        )
        yield Explain(
            subject=f"{wish.app}/{wish.endpoint}",
            rule=f"{wish.kind}_ended",
            text=f"{what} held for {lasted_s} s and has ended; its policy holds again: {bounds}",
        )
