"""On which markets are planners of nodes compared?

"bamboo": node counts of AWS g4dn.xlarge and p2.xlarge, Nov 2020 (uclasystem/bamboo, MIT), recorded by somebody who
asked for 12 and 16 nodes, so true capacity was at least that. "tuned zones": synthetic, correlated zones fitted to
router.md §3 (`simulation.market.zones`), looked at while the policy was written. "held-out zones": another generator
fitted to the same facts by somebody else (`simulation.traces.zones`), which nothing was tuned on.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from glowplug.clock import HOUR, SECOND
from glowplug_router.records.capacity import Need, Offer
from glowplug_router.simulation.market.campaign import Campaign
from glowplug_router.simulation.market.series import Series
from glowplug_router.simulation.market.zones import Climate, region
from glowplug_router.simulation.traces.spot import bamboo as recorded
from glowplug_router.simulation.traces.zones import zones as named_zones

ON_DEMAND_MICRO_USD = 526_000  # g4dn.xlarge, us-east-1: only ratios matter
FALLBACK_NS = (
    60 * SECOND
)  # of on-demand that was stopped, for every planner (router.md §4.3, "f60")
SPOT_START_NS = 180 * SECOND  # router.md §4.3
NODES = 4  # router.md §4.3
DAYS = 7
WEEK_NS = DAYS * 24 * HOUR
TRACES = Path(__file__).parent.parent / "traces" / "bamboo"


def campaign(
    name: str,
    pools: dict[str, Series],
    *,
    until_ns: int,
    nodes: int = NODES,
    ratio: float = 3.0,
    start_ns: int = SPOT_START_NS,
    fallback_ns: int = FALLBACK_NS,
    notice_permille: int = 1000,
    critical: int = 0,
) -> Campaign:
    """Return a market with a spot pool for each series, and on-demand in the same zones."""
    offers: list[Offer] = []
    series: dict[str, Series] = {}
    for number, (zone, known) in enumerate(pools.items()):
        # A thousandth apart, so that "the cheapest" means something.
        price = int(ON_DEMAND_MICRO_USD / ratio * (1 + 0.001 * number))
        spot = offer(f"gpu/{zone}/spot", zone, "spot", price, start_ns)
        offers += [
            spot,
            offer(f"gpu/{zone}/od", zone, "on_demand", ON_DEMAND_MICRO_USD, fallback_ns),
        ]
        series[spot.id] = known
    return Campaign(
        name=name,
        offers=tuple(offers),
        series=series,
        need=Need(key="gpu", units_permille=nodes * 1000, critical_permille=critical * 1000),
        until_ns=until_ns,
        notice_permille=notice_permille,
    )


def offer(id: str, zone: str, market: str, price: int, start_ns: int) -> Offer:
    """Return an offer of one reference device; the slowest tenth of starts takes 13 % longer."""
    return Offer(
        id=id,
        type="gpu",
        zone=zone,
        market="spot" if market == "spot" else "on_demand",
        price_micro_usd=price,
        devices=(("nvidia", 1),),
        launch_p50_ns=start_ns,
        launch_p90_ns=start_ns * 113 // 100,
        min_billed_ns=60 * SECOND,  # EC2 bills Linux by the second, a minute at least
    )


def bamboo() -> dict[str, Series]:
    """Return Bamboo's series that change much: two g4dn zones and p2, each repeated for as long as the longest."""
    names = ("g4dn-xlarge-us-east-1c", "g4dn-xlarge-us-east-1d", "p2-xlarge")
    found = {name: recorded(TRACES / f"{name}.csv") for name in names}
    until_ns = max(known.times_ns[-1] for known in found.values())
    return {name: known.repeated(known.times_ns[-1], until_ns) for name, known in found.items()}


# Two regions as they were (router.md §4.3: the cost bounds 0.525 and 0.360 say that some zone was up 71 % and 96 % of
# the time): in the first all zones are often tight together, in the other seldom.
TIGHT = Climate()
CALM = Climate(available_permille=(500, 950), tight_permille=30)
Shape = tuple[tuple[int, Climate], ...]  # zones of each region, and how they behave


def shapes() -> Iterator[tuple[str, Shape]]:
    """Yield the layouts of router.md §4.3: nine zones, four of one region, three of another."""
    yield "9 zones", ((4, TIGHT), (3, CALM), (2, CALM))
    yield "4 tight zones", ((4, TIGHT),)
    yield "3 calm zones", ((3, CALM),)


def zones(seed: int, shape: Shape, until_ns: int, hazard_permille: int = 1000) -> dict[str, Series]:
    """Return synthetic zones; `hazard_permille` makes all that happens so much more frequent."""
    random = Random(seed)
    return {
        f"r{number}z{letter}": known
        for number, (count, climate) in enumerate(shape)
        for letter, known in enumerate(
            region(random, count, 64, until_ns, replace(climate, hazard_permille=hazard_permille))
        )
    }


def markets(seed: int) -> Iterator[tuple[str, dict[str, Series], int, int]]:
    """Yield name, pools, nodes needed and length of each market."""
    known = bamboo()
    g4dn = {name: pool for name, pool in known.items() if "g4dn" in name}
    p2 = {name: pool for name, pool in known.items() if "p2" in name}
    until_ns = max(pool.times_ns[-1] for pool in known.values())
    yield "bamboo all, 4 nodes", known, 4, until_ns
    yield "bamboo all, 12 nodes", known, 12, until_ns
    yield "bamboo g4dn, 4 nodes", g4dn, 4, until_ns
    yield "bamboo g4dn, 8 nodes", g4dn, 8, until_ns
    yield "bamboo p2, 12 nodes", p2, 12, until_ns
    for name, shape in shapes():
        yield f"tuned zones: {name}", zones(seed, shape, WEEK_NS), NODES, WEEK_NS
    held_out = named_zones(Random(seed), days=DAYS, machines=16)
    for region_name in ("us-", "us-east-1", "us-west-2"):
        pools = {name: pool for name, pool in held_out.items() if name.startswith(region_name)}
        yield f"held-out zones: {len(pools)} in {region_name}*", pools, NODES, WEEK_NS


def sweeps(seed: int, notice_permille: int, kinds: int = 2) -> Iterator[Campaign]:
    """Yield markets with other hazards, price ratios and start times than the base case; of so many kinds."""
    nine, tight, _ = shapes()
    for name, shape in (tight, nine)[:kinds]:
        for hazard in (300, 3000):
            pools = zones(seed, shape, WEEK_NS, hazard)
            yield _swept(f"{name}, hazard x{hazard / 1000:g}", pools, notice_permille)
        pools = zones(seed, shape, WEEK_NS)
        for ratio in (1.5, 5.0):
            yield _swept(f"{name}, price ratio {ratio:g}", pools, notice_permille, ratio=ratio)
        for start_s in (60, 300):
            label = f"{name}, spot starts in {start_s} s"
            yield _swept(label, pools, notice_permille, start_ns=start_s * SECOND)


def _swept(
    name: str,
    pools: dict[str, Series],
    notice_permille: int,
    *,
    ratio: float = 3.0,
    start_ns: int = SPOT_START_NS,
) -> Campaign:
    return campaign(
        name,
        pools,
        until_ns=WEEK_NS,
        ratio=ratio,
        start_ns=start_ns,
        notice_permille=notice_permille,
    )
