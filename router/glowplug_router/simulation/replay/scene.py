"""What is replayed: which endpoints, on which machines, and who calls them when?"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import exp, log
from random import Random
from typing import Protocol

from msgspec import Struct

from glowplug.clock import MILLISECOND, MINUTE, SECOND
from glowplug.spec import BatchSpec, Class
from glowplug_router.records.capacity import Limits
from glowplug_router.records.observed import Node, Served
from glowplug_router.simulation.faults import Rates
from glowplug_router.simulation.replay.market import Market

NORMAL_P90 = 1.2815515655446004  # the standard normal's ninth decile
EVENTS_MAX = (
    50_000_000  # some five to a call, so ten million calls: a quarter of an hour of wall time
)
# Nodes of a replay never fall silent unless a fault says so: far beyond the end of any trace, so that the planner
# need not look every fifteen seconds whether they did.
ALWAYS_NS = 100 * 365 * 24 * 60 * MINUTE


class Request(Struct, frozen=True, gc=False):
    """A call that will come. Times are from the start of the traffic; a deadline is from the arrival."""

    at_ns: int
    endpoint: str  # "app/endpoint"
    service_ns: int  # on a device of speed 1000 permille
    klass: Class = "standard"
    tenant: str = ""
    deadline_ns: int = 0  # 0 = none
    affinity: str = ""
    size: int = 1  # its weight in a batch


@dataclass(frozen=True, slots=True)
class StartTime:
    """How long a replica takes from its order to being ready: log-normal through two quantiles, or fixed."""

    p50_ns: int
    p90_ns: int = 0  # 0 or p50 = always the same

    def drawn(self, random: Random) -> int:
        """Return one start, in ns."""
        if self.p90_ns <= self.p50_ns or self.p50_ns <= 0:
            return self.p50_ns
        sigma = log(self.p90_ns / self.p50_ns) / NORMAL_P90
        return int(self.p50_ns * exp(random.gauss(0.0, sigma)))


class Cost(Protocol):
    """What a batch takes on a device of speed 1000. The worker's learned `Costs` are one."""

    def expected_ns(self, size: int, units: int = 0) -> int:
        """Return how long a batch of so many calls and units takes."""
        ...


@dataclass(frozen=True, slots=True)
class Affine:
    """A batch takes a fixed time, and more for each call and each unit of weight."""

    base_ns: int
    call_ns: int = 0
    unit_ns: int = 0

    def expected_ns(self, size: int, units: int = 0) -> int:
        """Return how long a batch of so many calls and units takes."""
        return self.base_ns + self.call_ns * size + self.unit_ns * units


@dataclass(frozen=True, slots=True)
class Batch:
    """How an endpoint takes batches, and what one costs."""

    spec: BatchSpec
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint as it behaves. Its name is `served.key` without the version."""

    served: Served
    start: StartTime
    start_fails: float = 0.0  # chance of one
    queue_ns: int = MINUTE  # the default of `Timeouts`
    start_limit_ns: int = 10 * MINUTE  # likewise
    ahead: int = 0  # calls that a replica takes beyond its permits
    retry_safe: bool = False
    batch: Batch | None = (
        None  # a replica runs calls together; their own service times say nothing then
    )

    @property
    def name(self) -> str:
        """Return "app/endpoint"."""
        return self.served.key.partition("@")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What there is to run on: machines that are simply there, and a market where others can be had."""

    nodes: tuple[Node, ...] = ()
    price_micro_usd: int = 0  # a device held for an hour, on machines that are simply there
    speeds: tuple[tuple[str, int], ...] = ()  # node -> permille; others have 1000
    market: Callable[[Random], Market] | None = None  # a new one for each run
    limits: Limits = field(
        default_factory=Limits
    )  # of what is had on the market; what was spent is filled in


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything of a replay but planner and seed. `traffic` is in the order of time, and iterated once a run."""

    endpoints: tuple[Endpoint, ...]
    traffic: Iterable[Request]
    fleet: Fleet
    lead_ns: int = 0  # before the traffic starts, not metered: what is kept anyway can be ready
    until_ns: int = 0  # metered at least so long; 0 = until the last call is over
    plan_every_ns: int = 100 * MILLISECOND  # the least time between two plans, as the controller
    report_every_ns: int = 200 * MILLISECOND  # demand, as gateways do (gateway/reporter.py)
    bucket_ns: int = SECOND  # of the timeline; doubled until it has few enough
    faults: Rates | None = None
    calm_ns: int = 0  # faults end here
    audit_every: int = 64  # of so many plans and dispatcher steps one is checked; 0 = none
    events_max: int = EVENTS_MAX


def devices(number: int, *, per_node: int = 1, price_micro_usd: int = 0) -> Fleet:
    """Return machines with so many devices in all and enough of everything else: where room is not the question."""
    nodes = tuple(
        Node(
            id=f"node{first // per_node}",
            cpu_milli=1_000_000,
            memory_bytes=1 << 40,
            gpus=tuple((f"gpu-{at}", "gpu") for at in range(first, min(first + per_node, number))),
            seen_ns=ALWAYS_NS,
        )
        for first in range(0, number, per_node)
    )
    return Fleet(nodes=nodes, price_micro_usd=price_micro_usd)
