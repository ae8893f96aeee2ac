"""Which machines come and go in a run whose controller launches them? A market, its faults, agents on what is ready.

The market is that of `simulation.market`, its times cut to those of a run: machines come within seconds, and notice is
shorter. It loses zones, runs out of capacity, takes spot machines away with and without notice, and takes no order
while it throttles. Some machines are never heard of: their image is broken.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random

from glowplug.clock import SECOND
from glowplug_router.records.capacity import Limits, Offer
from glowplug_router.records.decided import OnMachine
from glowplug_router.records.observed import Machines, Served
from glowplug_router.simulation import scenario
from glowplug_router.simulation.faults import Post
from glowplug_router.simulation.market.provider import Market, Outage
from glowplug_router.simulation.market.series import Series, series
from glowplug_router.simulation.node import SimNode
from glowplug_router.simulation.world import World

SHARE = 0.2  # of all runs: enough to meet each fault in a hundred of them
PLAIN = 0.3  # of those: there are also machines that are simply there
ZONES = ("az1", "az2")
NOTICE_NS = (
    8 * SECOND
)  # longer than the drains of a run and than the last calls of `drafting.machines`
MEMORY_BYTES = 16 << 30  # of a replica that does not say: four on a machine
MONTH_MICRO_USD = 1_000_000_000
Place = Callable[[scenario.Machine], SimNode]


@dataclass(frozen=True, slots=True)
class Terms:
    """What can be hired, and what people allow."""

    offers: tuple[Offer, ...]
    series: dict[str, Series]
    outages: tuple[Outage, ...]
    limits: Limits
    notice_permille: int
    mute: float  # share of machines whose agent never comes
    throttled: float  # share of orders that find the provider throttling


def with_terms(
    drawn: scenario.Scenario, seed: int, calm_ns: int
) -> tuple[scenario.Scenario, Terms | None]:
    """Return the scenario with what can be hired in it; its own stream of chance leaves the other runs as they are."""
    random = Random(f"hired {seed}")
    if random.random() >= SHARE:
        return drawn, None
    has_gpus = any(machine.gpus for machine in drawn.machines)
    offers = tuple(_offers(random, has_gpus))
    terms = Terms(
        offers=offers,
        series={o.id: _capacity(random, calm_ns) for o in offers if o.market == "spot"},
        outages=_outages(random, calm_ns),
        limits=_limits(random),
        notice_permille=random.choice((0, 500, 1000)),
        mute=random.choice((0.0, 0.0, 0.1)),
        throttled=random.choice((0.0, 0.0, 0.3)),
    )
    machines = drawn.machines if random.random() < PLAIN else ()
    shape = random.choice(drawn.endpoints).served
    endpoints = tuple(_of_shape(endpoint, shape) for endpoint in drawn.endpoints)
    return replace(drawn, machines=machines, endpoints=endpoints), terms


def _of_shape(endpoint: scenario.Endpoint, shape: Served) -> scenario.Endpoint:
    """Return the endpoint with the needs of another: machines are launched for one shape, and held by it alone."""
    memory_bytes = shape.memory_bytes or MEMORY_BYTES  # who says nothing counts for a whole machine
    served = replace(endpoint.served, gpu_count=shape.gpu_count, memory_bytes=memory_bytes)
    return replace(endpoint, served=served)


def _offers(random: Random, has_gpus: bool) -> Iterable[Offer]:
    """Yield one type in both markets and two zones. One that can be stopped is not kept for longer than a run."""
    devices = (("nvidia", random.choice((1, 2))),) if has_gpus else ()
    launch_ns = random.choice((1, 2)) * SECOND
    restart_ns = random.choice((0, 0, SECOND // 2))
    for zone in ZONES:
        for market, price in (("spot", 300_000), ("on_demand", 1_000_000)):
            yield Offer(
                id=f"g6/{zone}/{market}",
                type="g6",
                zone=zone,
                market="spot" if market == "spot" else "on_demand",
                price_micro_usd=price,
                devices=devices,
                model="NVIDIA L4",
                cpu_milli=8000,
                memory_bytes=64 << 30,
                launch_p50_ns=launch_ns,
                launch_p90_ns=launch_ns * 3 // 2,
                quota=random.choice((0, 1, 3)),
                restart_p90_ns=restart_ns,
                stopped_micro_usd=price // 10,
            )


def _capacity(random: Random, calm_ns: int) -> Series:
    points = [
        (random.randrange(calm_ns), random.randint(0, 3)) for _ in range(random.randint(0, 4))
    ]
    return series([(0, random.randint(0, 4)), *points])


def _outages(random: Random, calm_ns: int) -> tuple[Outage, ...]:
    if random.random() < 0.7:
        return ()
    from_ns = random.randrange(SECOND, calm_ns)
    until_ns = from_ns + random.randrange(SECOND, 20 * SECOND)
    return (Outage(zone=random.choice(ZONES), from_ns=from_ns, until_ns=until_ns),)


def _limits(random: Random) -> Limits:
    return random.choice(
        (
            Limits(),
            Limits(),
            Limits(markets=("on_demand",)),
            Limits(price_cap_micro_usd=500_000),
            Limits(
                budget_micro_usd=MONTH_MICRO_USD, spent_micro_usd=MONTH_MICRO_USD, degrade="cap"
            ),
            Limits(
                budget_micro_usd=MONTH_MICRO_USD,
                spent_micro_usd=MONTH_MICRO_USD // 2,
                month_passed_permille=100,
                degrade="spot_only",
            ),
        )
    )


class Hired:
    """The provider of a run, and the agents on its machines."""

    def __init__(self, world: World, post: Post, terms: Terms) -> None:
        self._world, self._post, self._terms = world, post, terms
        self.market = Market(
            terms.offers,
            terms.series,
            world.random,
            terms.notice_permille,
            terms.outages,
            NOTICE_NS,
            world.now_ns,
        )
        self._nodes: dict[str, SimNode] = {}
        self._place: Place | None = None
        self._tell: Callable[[], None] = lambda: None
        self._due_ns = 0
        self._retry_ns = 0  # until then no order is taken
        self._agents: set[str] = set()
        self._mute: set[str] = set()
        self.gone_ns: dict[str, int] = {}  # machines that are gone or stopped, and since when
        world.after(0, self._advance)

    def join(self, nodes: dict[str, SimNode], place: Place, tell: Callable[[], None]) -> None:
        """Have agents among all `nodes` as `place` makes them, and `tell` the controller when something happens."""
        self._nodes, self._place, self._tell = nodes, place, tell

    def said(self) -> Machines:
        """Return what the provider says."""
        return Machines(
            offers=self.market.offers,
            nodes=self.market.nodes(),
            tallies=tuple(self.market.tallies.values()),
            limits=self._terms.limits,
        )

    def order(self, action: OnMachine) -> bool:
        """Take an order; False when orders are throttled, or there is no capacity."""
        now_ns = self._world.now_ns
        if now_ns < self._retry_ns or self._is_throttled():
            return False
        self._advance()
        is_taken = self.market.apply(action)
        self._post.happened["no_capacity"] += not is_taken
        self._advance()
        return is_taken

    def _is_throttled(self) -> bool:
        if not self._post.is_throttled(self._terms.throttled):
            return False
        self._retry_ns = self._world.now_ns + self._world.random.randrange(SECOND)
        return True

    def _advance(self) -> None:
        """Let the market's time be the world's; agents come and go with their machines."""
        market, now_ns = self.market, self._world.now_ns
        before = len(market.lost_at), sum(tally.noticed for tally in market.tallies.values())
        market.advance(now_ns)
        after = len(market.lost_at), sum(tally.noticed for tally in market.tallies.values())
        self._post.happened["machines_lost"] += after[0] - before[0]
        self._post.happened["notices"] += after[1] - before[1]
        up = {name for name, one in market.machines.items() if one.state == "ready"} - self._mute
        if before != after or up != self._agents:
            self._world.record(f"machines {sorted(up)}")
            self._post.send(self._tell)
        for name in sorted(self._agents - up):
            self.gone_ns[name] = now_ns
            self._nodes[name].end()
        for name in sorted(up - self._agents):
            self._begin(name)
        self._agents = up - self._mute
        due_ns = market.next_ns()
        if due_ns is not None and (due_ns < self._due_ns or self._due_ns <= now_ns):
            self._due_ns = due_ns
            self._world.at(due_ns, self._advance)

    def _begin(self, name: str) -> None:
        """Have an agent on a machine that is ready, or none if its image is broken."""
        self.gone_ns.pop(name, None)
        if name in self._nodes:
            self._nodes[name].begin()
        elif self._place is None or self._world.random.random() < self._terms.mute:
            self._mute.add(name)
            self._post.happened["mute"] += 1
        else:
            offer = self.market.machines[name].offer
            count = dict(offer.devices).get("nvidia", 0)
            gpus = tuple((f"{name}/{number}", offer.model) for number in range(count))
            self._nodes[name] = self._place(scenario.Machine(name, offer.memory_bytes, gpus))
