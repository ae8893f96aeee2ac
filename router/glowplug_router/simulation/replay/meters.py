"""What did it come to? Every call's wait, every replica's time, what it cost, and what was done how often."""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from glowplug.clock import HOUR
from glowplug.spec import Class
from glowplug_router.dispatch.classes import RANK
from glowplug_router.simulation.checkers import Violation
from glowplug_router.simulation.replay.timeline import Timeline

OPEN, DONE, LATE, REFUSED, LOST = range(5)
CODES = ("open", "done", "late", "refused", "lost")
NEVER = -1  # wait of a call that never began


class Calls:
    """All calls in columns: a row is 30 bytes, so ten million fit."""

    def __init__(self) -> None:
        self.at_ns = array("q")  # from the start of the traffic
        self.wait_ns = array("q")  # arrival to start of service
        self.end_ns = array("q")  # arrival to the end of service; NEVER = it did not end well
        self.code = array("b")
        self.klass = array("b")  # rank: 0 is critical
        self.is_cold = array("b")
        self.endpoint = array("H")
        self.tenant = array("I")
        self.endpoints: dict[str, int] = {}
        self.tenants: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.at_ns)

    def add(self, at_ns: int, endpoint: str, klass: Class, tenant: str) -> int:
        """Add a call that arrived; return its row."""
        self.at_ns.append(at_ns)
        self.wait_ns.append(NEVER)
        self.end_ns.append(NEVER)
        self.code.append(OPEN)
        self.klass.append(RANK[klass])
        self.is_cold.append(0)
        self.endpoint.append(self.endpoints.setdefault(endpoint, len(self.endpoints)))
        self.tenant.append(self.tenants.setdefault(tenant, len(self.tenants)))
        return len(self.at_ns) - 1

    def rows(
        self, endpoint: str = "", klass: Class | None = None, tenant: str | None = None
    ) -> Iterator[int]:
        """Return the rows of an endpoint, a class and a tenant; of all where they are left out."""
        rows = iter(range(len(self)))
        if endpoint:
            number = self.endpoints.get(endpoint, -1)
            rows = iter([row for row in rows if self.endpoint[row] == number])
        if klass is not None:
            rows = iter([row for row in rows if self.klass[row] == RANK[klass]])
        if tenant is not None:
            number = self.tenants.get(tenant, -1)
            rows = iter([row for row in rows if self.tenant[row] == number])
        return rows

    def waits(
        self, endpoint: str = "", klass: Class | None = None, tenant: str | None = None
    ) -> "Waits":
        """Return the waits of these calls."""
        chosen = [self.wait_ns[row] for row in self.rows(endpoint, klass, tenant)]
        begun = sorted(wait_ns for wait_ns in chosen if wait_ns != NEVER)
        return Waits(begun, len(chosen))


@dataclass(frozen=True, slots=True)
class Waits:
    """Waits in order, and how many calls there were; those that never began waited longer than all others."""

    begun_ns: list[int]
    calls: int

    def quantile_ns(self, permille: int) -> int | None:
        """Return the wait that so many thousandths of all calls did not exceed; None when they did not begin."""
        if not self.calls:
            return 0
        at = max(0, -(-self.calls * permille // 1000) - 1)
        return self.begun_ns[at] if at < len(self.begun_ns) else None

    def share_within(self, limit_ns: int) -> float:
        """Return the share of all calls that began within a time."""
        return bisect_right(self.begun_ns, limit_ns) / self.calls if self.calls else 1.0


@dataclass(slots=True)
class Use:
    """What one endpoint used."""

    calls: int = 0
    cold: int = 0  # no replica was ready when it came
    busy_ns: int = 0  # summed service of its calls; of those that run together, once
    batches: int = 0
    batched: int = 0  # calls in them
    replica_ns: int = 0  # summed over replicas, from their order to their end
    device_ns: int = 0  # the same, times the devices that each held
    starts: int = 0
    drains: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a replay came to."""

    calls: Calls
    uses: Mapping[str, Use]  # by endpoint
    timeline: Timeline
    refusals: Mapping[str, int]  # by code
    micro_usd: int
    span_ns: int  # metered: from the start of the traffic
    events: int
    plans: int
    digest: str
    violations: tuple[Violation, ...]
    launched: int = 0  # machines of the market
    reclaimed: int = 0  # of them taken away
    faults: Mapping[str, int] = field(default_factory=dict)  # how often each was met

    @property
    def cold(self) -> int:
        """Return how many calls found no replica ready."""
        return sum(use.cold for use in self.uses.values())

    @property
    def replica_ns(self) -> int:
        """Return the time of all replicas, from their orders to their ends."""
        return sum(use.replica_ns for use in self.uses.values())

    @property
    def device_ns(self) -> int:
        """Return the device time that they held."""
        return sum(use.device_ns for use in self.uses.values())

    @property
    def busy_ns(self) -> int:
        """Return the summed service of all calls."""
        return sum(use.busy_ns for use in self.uses.values())

    @property
    def scale_operations(self) -> int:
        """Return how many replicas were started or drained."""
        return sum(use.starts + use.drains for use in self.uses.values())

    @property
    def device_hours(self) -> float:
        """Return `device_ns` in hours, for tables."""
        return self.device_ns / HOUR

    def codes(self) -> Mapping[str, int]:
        """Return how many calls ended in which way."""
        counted = Counter(self.calls.code)
        return {name: counted[code] for code, name in enumerate(CODES)}


@dataclass(slots=True)
class Meters:
    """The meters of a run that goes on."""

    timeline: Timeline
    calls: Calls = field(default_factory=Calls)
    uses: dict[str, Use] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    ready: int = 0
    starting: int = 0

    def waiting(self, by: int, now_ns: int) -> None:
        """Note that a call began or ceased to wait."""
        bucket = self.timeline.at(now_ns)
        queued = self.timeline.queued = self.timeline.queued + by
        if queued > bucket.queued_max:
            bucket.queued_max = queued

    def replicas(self, ready: int, starting: int, now_ns: int) -> None:
        """Note that the number of replicas changed."""
        self.ready += ready
        self.starting += starting
        self.timeline.count(self.ready, self.starting, now_ns)
