"""Does a replay keep what we promise? The checkers' invariants, by sampling: checking every event costs too much."""

from collections.abc import Mapping, Sequence

from glowplug_router.dispatch import DispatchState
from glowplug_router.dispatch.flight import whose_turn
from glowplug_router.records.decided import Plan
from glowplug_router.records.observed import Demand, Observed
from glowplug_router.simulation.checkers import KEPT_MAX, Checkers, Violation
from glowplug_router.simulation.controller import Planner
from glowplug_router.simulation.facts import Planned
from glowplug_router.simulation.replay.ranks import Call, Rank
from glowplug_router.simulation.world import World

ROOM_MAX_NS = 1 << 62  # in a replay, drains take as long as the calls of a trace


class Audit:
    """Looks at one in so many plans and steps."""

    def __init__(self, world: World, planner: Planner, every: int) -> None:
        self._world, self._every = world, every
        self._checkers = Checkers(world, planner, room_max_ns=ROOM_MAX_NS)
        self._plans = self._steps = self._last_ns = 0

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Return what was found."""
        return tuple(self._checkers.violations)

    def sent(self, rank: Rank) -> None:
        """Check, for every call, that it goes to a replica that takes calls and has room for it."""
        room = rank.record.permits + rank.endpoint.ahead
        there = len(rank.running) + len(rank.early)
        if rank.record.state != "ready" or there >= room:
            name = "permits" if rank.record.state == "ready" else "no_dispatch_to_leaving"
            self._found(name, f"{rank.id} is {rank.record.state}, {there} of {room} are there")

    def planned(self, observed: Observed, demand: Sequence[Demand], plan: Plan) -> None:
        """Check a plan: max, room, and that a plan of the planned state is empty."""
        self._plans += 1
        if self._every and self._plans % self._every == 0:
            self._checkers.observe(Planned(observed, tuple(demand), plan))

    def stepped(self, state: DispatchState, open: Mapping[int, Call], now_ns: int) -> None:
        """Check that every open call is in the dispatcher, once, and that none waits where it need not."""
        self._steps += 1
        if now_ns < self._last_ns:
            self._found("monotone_time", f"{now_ns} ns comes after {self._last_ns}")
        self._last_ns = now_ns
        # Looking costs as much as there are open calls: with a long queue it is done less often.
        if not self._every or self._steps < self._every + len(open):
            return
        self._steps = 0
        queued = running = 0
        for version in state.versions.values():
            queued += version.waiting.count
            running += version.running
            may_go = version.waiting.count and version.pool.is_free
            if may_go and whose_turn(version, now_ns) is not None:
                self._found("no_idle_permit", f"{version.waiting.count} of {version.key} wait")
        if queued + running != len(state.calls) or not open.keys() >= state.calls.keys():
            text = f"{len(open)} open, {queued} queued, {running} in flight"
            self._found("conservation", f"{len(state.calls)} calls: {text}")

    def billed(self, billed_ns: int, held_ns: int) -> None:
        """Check that no replica was there for nothing: what is billed covers what was seen to start or be ready."""
        if billed_ns < held_ns:
            self._found("billing", f"{billed_ns} ns are billed of {held_ns} that were held")

    def asked_too_soon(self, order: str, until_ns: int) -> None:
        """Note that a provider was asked again before the time that it had said."""
        self._found("throttled", f"{order}: not before {until_ns} ns")

    def _found(self, invariant: str, text: str) -> None:
        if len(self._checkers.violations) < KEPT_MAX:
            self._checkers.violations.append(Violation(invariant, self._world.now_ns, text))
