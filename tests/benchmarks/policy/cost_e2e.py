"""What does a fleet cost over weeks, beside one that is always on? 50 endpoints, 11 days, in a fluid mode.

30 endpoints with rates like Twitter's counts (`twitter_like_rates`, a sequence each; mean loads by Zipf, from the worth
of 4 replicas down) and 20 of the long tail with 1 to 20 calls an hour. The real scaler, with its memory, is asked when
its answer may change (`asking`), and `capacity_step` when something happens to nodes, on simulated offers: three zones,
spot at 0.38, 0.42 and 0.50 of on-demand (router.md §3 has 0.34 to 0.68 for types of one GPU), zones that come and go as
`simulation.traces.zones` draws them, EC2's two minutes' notice. Spot starts in 180 s, on-demand in 60 s. Every replica
takes one device; `zero_after` is 5 min, glowplug's default.

Always-on: for each endpoint the fewest on-demand replicas with permits for 99 % of its calls' minutes. KPA: its formula
by the step (concurrency / 70 % of the permits, at most halved) on nodes that start in no time, at the on-demand
price, over the first five days. The bound is perfect packing at the cheapest spot price.
"""

from collections.abc import Sequence
from math import ceil
from random import Random

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.policy.capacity.step import capacity_step
from glowplug_router.policy.capacity.view import CapacityView
from glowplug_router.records.capacity import CapacityMemory, Need, Offer
from glowplug_router.records.observed import Served
from glowplug_router.simulation.market.provider import Market
from glowplug_router.simulation.traces.synthetic import twitter_like_rates
from glowplug_router.simulation.traces.zones import zones
from policy.asking import Ours
from policy.baselines.kpa import TARGET_UTILISATION, clamped
from policy.fluid import STEP_NS, Caller, Pool
from policy.fluid import run as flow
from policy.result import Result
from policy.scenes import OURS

NAME = "cost-e2e"
DAYS = 10  # of router.md's 22: a bound on events, so that the row takes less than a minute
MINUTES = DAYS * 24 * 60
KPA_MINUTES = 5 * 24 * 60
BUSY, TAIL = 30, 20
KPA_KEEP_NS = 90 * SECOND  # stable window and grace period
LARGEST = 4.0  # replicas' worth of load, the mean of the largest endpoint
ON_DEMAND_MICRO_USD = 1_000_000  # of one device; only ratios matter
SPOT_PERMILLE = (380, 420, 500)
SLO = 0.99


def callers(seed: int) -> list[Caller]:
    """Return the fleet."""
    random = Random(seed)
    found = []
    for number in range(BUSY + TAIL):
        permits, service_s = random.choice((4, 8)), random.choice((0.1, 0.3, 1.0))
        served = Served(
            key=f"fleet/e{number}@1",
            policy=Policy(max=200),
            permits=permits,
            permille=1000,
            gpu_count=1,
        )
        if number < BUSY:
            mean = LARGEST / (number + 1) * permits / service_s
            rates: Sequence[float] = [mean * one for one in twitter_like_rates(random, DAYS)]
        else:
            rates = [random.uniform(1, 20) * SECOND / HOUR] * MINUTES
        found.append(Caller(served, service_s, rates))
    return found


def run(seed: int) -> list[Result]:
    """Return what the fleet costs over always-on, with the share of calls that waited no longer than 10 s."""
    fleet = callers(seed)
    scaler, nodes = Ours(), Fleet(seed)
    pools = flow(fleet, scaler, nodes, MINUTES, seed)
    kpa_nodes = OnDemand()
    kpa = flow(fleet, _kpa, kpa_nodes, KPA_MINUTES, seed)
    kept = sum(_always_on(caller) for caller in fleet)
    always = kept * MINUTES / 60
    kpa_ratio = kpa_nodes.hours / (kept * KPA_MINUTES / 60)
    packed = sum(sum(caller.rates) * caller.service_s / caller.served.permits for caller in fleet)
    cost = nodes.market.spent / ON_DEMAND_MICRO_USD
    bound = packed / 60 * min(SPOT_PERMILLE) / 1000
    worst = min(_in_time(pool) for pool in pools[:BUSY])
    tail = _share(pools[BUSY:])
    detail = (
        f"{BUSY} + {TAIL} endpoints, {DAYS} days; device hours at on-demand price: {cost:,.0f}, always-on"
        f" {always:,.0f} ({kept} replicas), bound {bound:,.0f}; worst busy endpoint {worst:.2%}, the tail"
        f" {tail:.2%} within 10 s; {len(nodes.market.lost_at)} spot nodes lost;"
        f" the scaler asked {scaler.asked:,} times, the planner of nodes {nodes.steps:,}"
    )
    return [
        Result(
            figure="fleet_cost_ratio_always_on",
            value=cost / always,
            unit="ratio",
            bound=bound / always,
            peers={OURS: cost / always, "kpa, on-demand": kpa_ratio},
            detail=detail,
        ),
        Result(
            figure="fleet_slo",
            value=_share(pools),
            unit="share",
            bound=1.0,
            peers={OURS: _share(pools), "kpa, on-demand": _share(kpa)},
            detail="all calls; the row's condition",
            at_least=SLO,
        ),
    ]


def _in_time(pool: Pool) -> float:
    return 1 - pool.late / max(1, pool.arrivals)


def _share(pools: Sequence[Pool]) -> float:
    return 1 - sum(pool.late for pool in pools) / max(1, sum(pool.arrivals for pool in pools))


def _always_on(caller: Caller) -> int:
    """Return the fewest replicas with permits for 99 % of the calls' minutes."""
    needed = sorted((ceil(rate / caller.capacity(1)), rate) for rate in caller.rates)
    left = sum(caller.rates) * SLO
    for replicas, rate in needed:
        left -= rate
        if left <= 0:
            return max(1, replicas)
    return max(1, needed[-1][0])


def _kpa(pool: Pool, now_ns: int) -> int:
    minute = now_ns // MINUTE - 2 * STEP_NS // MINUTE  # what it saw in the step before
    load = pool.caller.rates[max(0, minute)] * pool.caller.service_s + pool.queued
    recent_ns = now_ns - pool.last_ns
    if recent_ns > KPA_KEEP_NS or not pool.last_ns:
        return int(pool.queued > 0)
    wanted = ceil(load / (pool.caller.served.permits * TARGET_UTILISATION))
    return min(max(1, clamped(wanted, pool.ready)), pool.caller.served.policy.max)


class OnDemand:
    """Nodes that are there when wanted, at the full price."""

    def __init__(self) -> None:
        self.hours = 0.0

    def __call__(self, units: int, now_ns: int) -> int:
        """Return as many nodes as are wanted."""
        self.hours += units * STEP_NS / HOUR
        return units


class Fleet:
    """Nodes as the real planner of nodes has them, on simulated offers."""

    def __init__(self, seed: int) -> None:
        pools = zones(Random(seed), days=DAYS + 1, machines=200)
        offers: list[Offer] = []
        series = {}
        chosen = [pools[name] for name in sorted(pools)][:: max(1, len(pools) // 3)]
        for number, permille in enumerate(SPOT_PERMILLE):
            spot = _offer(f"z{number}", "spot", ON_DEMAND_MICRO_USD * permille // 1000, 180)
            offers += [spot, _offer(f"z{number}", "on_demand", ON_DEMAND_MICRO_USD, 60)]
            series[spot.id] = chosen[number]
        self.market = Market(tuple(offers), series, Random(seed))
        self._memory = CapacityMemory(seed=seed)
        self._units = 0
        self.steps = 0
        self._due_ns: int | None = None

    def __call__(self, units: int, now_ns: int) -> int:
        """Let the planner of nodes act on what was wanted up to now, then on what is; return how many are ready."""
        while (moment_ns := self._next_ns()) is not None and moment_ns <= now_ns:
            self._plan(moment_ns)
        if units != self._units:
            self._units = units
            self._plan(now_ns)
        self.market.advance(now_ns)
        return self.market.ready()

    def _next_ns(self) -> int | None:
        """Return when something happens to nodes, or something is due."""
        moments = (self.market.next_ns(), self._due_ns)
        return min((one for one in moments if one is not None), default=None)

    def _plan(self, now_ns: int) -> None:
        self.market.advance(now_ns)
        view = CapacityView(
            epoch=1,
            needs=(Need(key="gpu", units_permille=self._units * 1000),),
            offers=self.market.offers,
            nodes=self.market.nodes(),
            tallies=tuple(self.market.tallies.values()),
        )
        plan = capacity_step(view, self._memory, now_ns)
        self._memory, self._due_ns = plan.memory, plan.due_ns
        self.steps += 1
        refused = [action for action in plan.actions if not self.market.apply(action)]
        if refused:
            self._due_ns = now_ns + SECOND  # a refusal is news


def _offer(zone: str, market: str, price_micro_usd: int, start_s: int) -> Offer:
    return Offer(
        id=f"gpu/{zone}/{market}",
        type="gpu",
        zone=zone,
        market="spot" if market == "spot" else "on_demand",
        price_micro_usd=price_micro_usd,
        devices=(("nvidia", 1),),
        launch_p50_ns=start_s * SECOND,
        launch_p90_ns=start_s * SECOND * 113 // 100,
        min_billed_ns=MINUTE,
    )
