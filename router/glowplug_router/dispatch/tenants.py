"""Which tenant of a class goes next?

Start-time fair queueing in device time. Each tenant has a counter of the device time it was given while others waited;
the lowest goes first. A call is charged what its tenant's calls usually cost when it goes out, and what it did cost
when it ends, so a tenant with dear calls gets fewer of them. Who begins to wait starts at the lowest counter of those
that wait: time in which one did not call is not saved up. When nobody waits, there is nothing to share or to remember.

Before any call has ended nobody knows what one costs. Then each is charged next to nothing, so that tenants take turns,
and all of it when it ends: who came meanwhile would begin beside a charge that is given back to the others.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from glowplug_router.dispatch.levels import Levels, level_of
from glowplug_router.dispatch.line import Line, next_in
from glowplug_router.dispatch.ordered import Ordered

if TYPE_CHECKING:
    from glowplug_router.dispatch.state import Call

IDLE_MAX = 256  # tenants remembered that do not wait while others do; the one that ceased first is forgotten
TURN_NS = 1.0  # the least that counts: what a call is charged while nothing was measured
_LEARNS = 4  # a quarter of what a tenant's call cost tells what its next one will


class Tenant:
    """The calls of one tenant that wait in one class, and what it was given."""

    __slots__ = ("counter", "level", "line", "mean_ns", "name", "owed_ns")

    def __init__(self, name: str, counter: float) -> None:
        self.name = name
        self.counter = counter
        self.line = Line()
        self.mean_ns = 0.0  # what its calls cost; 0 = not known
        self.owed_ns = 0.0  # what its calls cost beyond what was charged: moving it costs, so this may wait a little
        self.level = 0  # where it stands among the longest lines; the class's own

    def learn(self, service_ns: int) -> None:
        """Note what a call took."""
        mean_ns = self.mean_ns
        self.mean_ns = mean_ns + (service_ns - mean_ns) / _LEARNS if mean_ns else service_ns


class Tenants:
    """The tenants of one class."""

    __slots__ = ("_idle", "_lengths", "_order", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[str, Tenant] = {}
        self._order: Ordered[tuple[float, str, Tenant]] = Ordered()  # those that wait, by counter
        self._lengths: Levels[Tenant] = Levels()  # those that wait, by length of line
        self._idle: dict[str, Tenant] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, call: "Call") -> None:
        """Let a call wait."""
        name = call.asked.tenant
        tenant = self._waiting.get(name) or self._begin(name)
        tenant.line.add((call.due_ns, call.place, call))
        self._measure(tenant)

    def remove(self, call: "Call") -> None:
        """Let a waiting call go."""
        tenant = self._waiting[call.asked.tenant]
        tenant.line.remove((call.due_ns, call.place))
        self._measure(tenant)
        if not tenant.line:
            self._cease(tenant)

    def next(self, rank: int, now_ns: int) -> "Call":
        """Return the call to send first; there is one."""
        first = self._order.first()
        assert first is not None
        return next_in(first[2].line, rank, now_ns)

    def charge(self, call: "Call", mean_ns: float) -> float:
        """Charge a waiting call that is about to go out to its tenant; return what it is taken to cost, 0 = not known.

        `mean_ns` is what calls of the version take; 0 = none has ended.
        """
        payer = call.payer = self._waiting[call.asked.tenant]
        cost_ns = call.paid_ns = payer.mean_ns or mean_ns
        self._move(payer, cost_ns or TURN_NS)
        return cost_ns

    def correct(self, tenant: Tenant, by_ns: float) -> None:
        """Charge a tenant more for a call, or less: with its next one, at once when it waits for no reason."""
        tenant.owed_ns += by_ns
        if tenant.owed_ns < -tenant.mean_ns and self._waiting.get(tenant.name) is tenant:
            self._move(tenant, 0.0)

    def _move(self, tenant: Tenant, cost_ns: float) -> None:
        self._order.remove((tenant.counter, tenant.name))
        tenant.counter += cost_ns + tenant.owed_ns
        tenant.owed_ns = 0.0
        self._order.add((tenant.counter, tenant.name, tenant))

    def line_of(self, name: str) -> Line | None:
        """Return a tenant's line, or None when it has no call waiting."""
        tenant = self._waiting.get(name)
        return tenant.line if tenant is not None else None

    def longest(self) -> Line:
        """Return (one of) the longest lines; somebody waits."""
        tenant = self._lengths.highest()
        assert tenant is not None
        return tenant.line

    def from_last(self) -> "Iterator[Call]":
        """Return the calls of all lines, the last of each line first."""
        for tenant in self._waiting.values():
            for _, _, call in reversed(tenant.line):
                yield call

    def _begin(self, name: str) -> Tenant:
        """Let a tenant wait that did not."""
        first = self._order.first()
        lowest = first[0] if first is not None else 0.0
        tenant = self._idle.pop(name, None) or Tenant(name, lowest)
        tenant.counter = max(tenant.counter + tenant.owed_ns, lowest)
        tenant.owed_ns = 0.0
        self._waiting[name] = tenant
        self._order.add((tenant.counter, name, tenant))
        return tenant

    def _cease(self, tenant: Tenant) -> None:
        """Let a tenant go that waits no more; remember for a while what it was given."""
        del self._waiting[tenant.name]
        self._order.remove((tenant.counter, tenant.name))
        if not self._waiting:
            self._idle.clear()
            return
        self._idle[tenant.name] = tenant
        if len(self._idle) > IDLE_MAX:
            del self._idle[next(iter(self._idle))]

    def _measure(self, tenant: Tenant) -> None:
        """Put a tenant where the length of its line says."""
        level = level_of(len(tenant.line))
        if level != tenant.level:
            if tenant.level:
                self._lengths.take(tenant, tenant.level)
            if level:
                self._lengths.put(tenant, level)
            tenant.level = level
