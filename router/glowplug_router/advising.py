"""What would the planner do, if it were let? Of apps under advice it only says so: nothing of theirs moves by demand.

Their versions with traffic keep the replicas they have, and the room these take. Everybody else is planned for as if
that were so, and nobody makes way for what is only said. A deployment still tries its candidates out, what it replaces
drains, and what has failed is forgotten.
"""

from collections.abc import Collection
from dataclasses import replace

from glowplug_router.control.containment import without
from glowplug_router.recording import Planner
from glowplug_router.records.decided import Forget, Plan
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Observed

ALL = "*"


class Advisor:
    """A planner whose decisions about some apps are only said: their rows are marked `advised`."""

    def __init__(self, planner: Planner, apps: Collection[str]) -> None:
        self._planner = planner
        self._apps = frozenset(apps)

    def __call__(
        self, observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
    ) -> Plan:
        """Plan for those that are not under advice, and add what the others are advised."""
        keys = self._advised(observed)
        if not keys:
            return self._planner(observed, demand, memory, now_ns)
        advice = self._planner(observed, demand, memory, now_ns)
        plan = self._planner(without(observed, keys), demand, memory, now_ns)
        return _joined(plan, advice, keys, {one.id: one.version for one in observed.replicas})

    def _advised(self, observed: Observed) -> frozenset[str]:
        return frozenset(
            one.key
            for one in observed.served
            if not one.candidate
            and not one.leaving
            and not {ALL, one.key.partition("/")[0]}.isdisjoint(self._apps)
        )


def _joined(plan: Plan, advice: Plan, keys: frozenset[str], versions: dict[str, str]) -> Plan:
    """Return a plan with the rows and the memory of what was advised, and of its actions only what forgets."""
    forgets = tuple(
        one
        for one in advice.actions
        if isinstance(one, Forget) and versions.get(one.replica) in keys
    )
    rows = tuple(replace(row, advised=True) for row in advice.explain if row.subject in keys)
    learned = tuple(one for one in advice.memory.versions if one.key in keys)
    wakes = [at_ns for at_ns in (plan.wake_ns, advice.wake_ns) if at_ns is not None]
    return Plan(
        actions=(*plan.actions, *forgets),
        memory=replace(plan.memory, versions=(*plan.memory.versions, *learned)),
        explain=(*plan.explain, *rows),
        wake_ns=min(wakes, default=None),
    )
