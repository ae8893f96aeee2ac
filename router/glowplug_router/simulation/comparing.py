"""What would another scale have made of the same traffic? A replay for each, and the figures that one compares."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from glowplug.clock import HOUR, MILLISECOND, SECOND
from glowplug.spec import Policy
from glowplug_router.records.observed import Served
from glowplug_router.simulation.market.lending import Lending, market_of
from glowplug_router.simulation.replay import (
    Batch,
    Endpoint,
    Fleet,
    Market,
    Outcome,
    Provided,
    Request,
    Scene,
    StartTime,
    replay,
    replay_apart,
)
from glowplug_router.simulation.replay.scene import devices

GPUS_PER_NODE = (
    8  # what the largest machines of one host have; room is not what a comparison is about
)
COLUMNS = (
    512  # of a plot: half of what a timeline keeps, since the last call may end long after it came
)
BUCKET_MIN_NS = 10 * MILLISECOND  # below, there is a call in a bucket or none
PERCENTILES = (500, 950, 990)
Watch = Callable[[Iterable[Request]], Iterator[Request]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How an endpoint is scaled, and how its replicas behave."""

    policy: Policy
    concurrency: int = 1
    gpus: int = 1  # of one replica
    start: StartTime
    batch: Batch | None = None
    run_ns: int = HOUR  # how long a replica that drains may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One side of a comparison: how endpoints behave, those that are named in a way of their own."""

    name: str
    usual: Behaviour
    named: Mapping[str, Behaviour] = field(default_factory=dict)
    price_micro_usd: int = 0  # a device held for an hour; 0 = not known
    lending: Lending | None = None  # None: machines are simply there

    def of(self, endpoint: str) -> Behaviour:
        """Return how an endpoint behaves."""
        return self.named.get(endpoint, self.usual)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of one setup. A wait of None: so many calls never began."""

    name: str
    calls: int
    cold: int
    waits_ns: tuple[int | None, ...]  # at PERCENTILES
    share_in_time: float  # began within the limit that was asked for
    refused: int
    lost: int
    gpu_hours: float
    dollars: float | None
    starts: int
    drains: int
    launched: int | None  # machines; None where they are simply there
    reclaimed: int | None  # of them taken away by the market
    batch: float | None  # calls in one, on average; None where nothing runs together

    def record(self) -> dict[str, Any]:
        """Return the figures for programs."""
        seconds = [None if wait is None else wait / SECOND for wait in self.waits_ns]
        waits = {f"wait_p{p / 10:g}_s": s for p, s in zip(PERCENTILES, seconds, strict=True)}
        return {
            "name": self.name,
            "calls": self.calls,
            "cold": self.cold,
            **waits,
            "share_in_time": self.share_in_time,
            "refused": self.refused,
            "lost": self.lost,
            "gpu_hours": self.gpu_hours,
            "dollars": self.dollars,
            "starts": self.starts,
            "drains": self.drains,
            "launched": self.launched,
            "reclaimed": self.reclaimed,
            "batch": self.batch,
        }


def replayed(
    setup: Setup, traffic: Sequence[Request], seed: int = 0, *, over: Watch = iter
) -> Outcome:
    """Return what the real planner, dispatcher and batcher make of the traffic under a setup.

    `over` sees the calls as they arrive; it yields what it is given.
    """
    names = sorted({request.endpoint for request in traffic})
    slowest_ns = max(max(one.start.p50_ns, one.start.p90_ns) for one in map(setup.of, names))
    lending = setup.lending
    if lending is not None:
        slowest_ns += lending.launch_p90_ns
    scene = Scene(
        endpoints=tuple(_endpoint(setup.of(name), name) for name in names),
        traffic=over(traffic) if lending is not None else traffic,
        fleet=Fleet(),
        # What `min` keeps has been there for long when a trace begins.
        lead_ns=2 * slowest_ns + SECOND,
        bucket_ns=max(BUCKET_MIN_NS, min(SECOND, traffic[-1].at_ns // COLUMNS)),
    )
    if lending is not None:  # machines are shared: together
        until_ns = scene.lead_ns + traffic[-1].at_ns
        return replay(replace(scene, fleet=_lent(setup, lending, names, until_ns)), seed=seed)
    return replay_apart(scene, lambda endpoint: _fleet(setup, endpoint), seed=seed, over=over)


def _lent(setup: Setup, lending: Lending, names: Sequence[str], until_ns: int) -> Fleet:
    """Return a market with room for all that the endpoints may have."""
    all = [setup.of(name) for name in names]
    sizes = {one.gpus for one in all}
    machines = sum(max(1, one.policy.max) for one in all)

    def market(random: Random) -> Market:
        return Provided(market_of(lending, sizes, machines, until_ns, random))

    return Fleet(market=market, limits=lending.limits)


def _fleet(setup: Setup, endpoint: Endpoint) -> Fleet:
    """Return room for all that an endpoint may have."""
    served = endpoint.served
    per_node = max(GPUS_PER_NODE // served.gpu_count, 1) * served.gpu_count
    count = max(1, served.policy.max) * served.gpu_count
    return devices(count, per_node=per_node, price_micro_usd=setup.price_micro_usd)


def _endpoint(behaviour: Behaviour, name: str) -> Endpoint:
    served = Served(
        key=f"{name}@1",
        policy=behaviour.policy,
        permits=behaviour.concurrency,
        permille=1000,
        gpu_count=behaviour.gpus,
        drain_ns=behaviour.run_ns,
    )
    return Endpoint(served=served, start=behaviour.start, batch=behaviour.batch)


def packed_ns(setup: Setup, outcome: Outcome) -> int:
    """Return the device time that the calls would have taken without a gap between them; batches as they were cut."""
    return sum(
        use.busy_ns * one.gpus // (1 if one.batch else one.concurrency)
        for use, one in ((use, setup.of(name)) for name, use in outcome.uses.items())
    )


def summary(setup: Setup, outcome: Outcome, limit_ns: int) -> Summary:
    """Return the figures of a replay; `limit_ns` is what counts as in time."""
    waits, codes = outcome.calls.waits(), outcome.codes()
    uses = outcome.uses.values()
    batches = sum(use.batches for use in uses)
    return Summary(
        name=setup.name,
        calls=len(outcome.calls),
        cold=outcome.cold,
        waits_ns=tuple(waits.quantile_ns(permille) for permille in PERCENTILES),
        share_in_time=waits.share_within(limit_ns),
        refused=codes["refused"],
        lost=codes["lost"] + codes["open"],
        gpu_hours=outcome.device_hours,
        dollars=outcome.micro_usd / 1e6 if setup.price_micro_usd else None,
        starts=sum(use.starts for use in uses),
        drains=sum(use.drains for use in uses),
        launched=outcome.launched if setup.lending else None,
        reclaimed=outcome.reclaimed if setup.lending else None,
        batch=sum(use.batched for use in uses) / batches if batches else None,
    )
