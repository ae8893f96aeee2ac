"""On which machines is traffic replayed, when they are lent? A region with three zones, each with both markets.

How spot capacity comes and goes is drawn from what was measured (`zones`); prices and start times are the user's.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from random import Random

from glowplug.clock import HOUR, SECOND
from glowplug_router.records.capacity import Limits, Market, Offer
from glowplug_router.simulation.market import provider
from glowplug_router.simulation.market.zones import Climate, region

ZONES = 3  # what a region has at least (AWS: "a minimum of three")
SPOT_PERMILLE = 330  # of the price on demand: the median of GPU offers in router.md §3
LAUNCH_P50_NS = 60 * SECOND  # an instance with its image on the disk (router.md §5.4: 40-90 s)
LAUNCH_P90_NS = 90 * SECOND
MIN_BILLED_NS = 60 * SECOND  # EC2 bills a minute at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Lending:
    """Machines that can be had by the hour, priced by their GPUs."""

    price_micro_usd: int  # of a GPU for an hour on demand
    limits: Limits = field(default_factory=Limits)
    spot_micro_usd: int = 0  # 0 = `SPOT_PERMILLE` of the price
    launch_p50_ns: int = LAUNCH_P50_NS
    launch_p90_ns: int = LAUNCH_P90_NS


def offers_of(lending: Lending, sizes: Collection[int]) -> tuple[Offer, ...]:
    """Return what could be launched: in each zone and market, machines with so many GPUs."""
    spot = lending.spot_micro_usd or lending.price_micro_usd * SPOT_PERMILLE // 1000
    prices: dict[Market, int] = {"spot": spot, "on_demand": lending.price_micro_usd}
    return tuple(
        Offer(
            id=f"gpu{size}/zone{zone}/{market}",
            type=f"gpu{size}",
            zone=f"zone{zone}",
            market=market,
            price_micro_usd=price * size,
            devices=(("nvidia", size),),
            model="gpu",
            cpu_milli=1_000_000,  # room is not the question
            memory_bytes=1 << 40,
            launch_p50_ns=lending.launch_p50_ns,
            launch_p90_ns=lending.launch_p90_ns,
            min_billed_ns=MIN_BILLED_NS,
        )
        for size in sorted(sizes)
        for zone in range(1, ZONES + 1)
        for market, price in prices.items()
    )


def market_of(
    lending: Lending, sizes: Collection[int], machines: int, until_ns: int, random: Random
) -> provider.Market:
    """Return a market; a zone has so many spot machines of each size while it has any."""
    # Of its own, so that two setups with one seed meet the same weather.
    weather = Random(random.getrandbits(64))
    zones = region(weather, ZONES, max(1, machines), until_ns + HOUR, Climate())
    offers = offers_of(lending, sizes)
    capacity = {
        offer.id: zones[int(offer.zone.removeprefix("zone")) - 1]
        for offer in offers
        if offer.market == "spot"
    }
    return provider.Market(offers, capacity, random)
