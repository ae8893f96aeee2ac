"""On which machines is traffic replayed, when they are lent? A region with three zones, each with both markets.

How spot capacity comes and goes is drawn from what was measured (`zones`); prices and start times are the user's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from glowplug.clock import HOUR, SECOND
from glowplug_router.records.capacity import Degrade, Limits, Market, Offer
from glowplug_router.simulation.market import provider
from glowplug_router.simulation.market.zones import Climate, region

ZONES = 3  # what a region has at least (AWS: "a minimum of three")
SPOT_PERMILLE = 330  # of the price on demand, where nobody says: the median of GPU offers in router.md §3
LAUNCH_P50_NS = 60 * SECOND  # an instance with its image on the disk (router.md §5.4: 40-90 s)
LAUNCH_P90_NS = 90 * SECOND
MIN_BILLED_NS = 60 * SECOND  # EC2 bills a minute at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Lending:
    """Machines with one GPU each."""

    markets: tuple[Market, ...] = ("spot", "on_demand")
    price_micro_usd: int = 1_000_000  # an hour on demand
    spot_micro_usd: int = 0  # 0 = `SPOT_PERMILLE` of it
    launch_p50_ns: int = LAUNCH_P50_NS
    launch_p90_ns: int = LAUNCH_P90_NS
    notice_permille: int = 1000  # of losses that are told two minutes before
    price_cap_micro_usd: int = 0
    budget_micro_usd: int = 0  # a month
    degrade: Degrade = "warn"

    @property
    def limits(self) -> Limits:
        """Return what is allowed of it."""
        return Limits(
            markets=self.markets,
            price_cap_micro_usd=self.price_cap_micro_usd,
            budget_micro_usd=self.budget_micro_usd,
            degrade=self.degrade,
        )


def offers_of(lending: Lending) -> tuple[Offer, ...]:
    """Return what could be launched."""
    spot = lending.spot_micro_usd or lending.price_micro_usd * SPOT_PERMILLE // 1000
    prices: dict[Market, int] = {"spot": spot, "on_demand": lending.price_micro_usd}
    return tuple(
        Offer(
            id=f"gpu/zone{zone}/{market}",
            type="gpu",
            zone=f"zone{zone}",
            market=market,
            price_micro_usd=prices[market],
            devices=(("nvidia", 1),),
            model="gpu",
            cpu_milli=1_000_000,  # room is not the question
            memory_bytes=1 << 40,
            launch_p50_ns=lending.launch_p50_ns,
            launch_p90_ns=lending.launch_p90_ns,
            min_billed_ns=MIN_BILLED_NS,
        )
        for zone in range(1, ZONES + 1)
        for market in lending.markets
    )


def market_of(
    lending: Lending, machines: int, until_ns: int
) -> Callable[[Random], provider.Market]:
    """Return how to make the market: each zone has so many spot machines while it has any."""
    offers = offers_of(lending)
    spot = [offer.id for offer in offers if offer.market == "spot"]

    def made(random: Random) -> provider.Market:
        # Of its own, so that two setups with one seed meet the same market.
        weather = Random(random.getrandbits(64))
        zones = region(weather, ZONES, max(1, machines), until_ns + HOUR, Climate())
        capacity = dict(zip(spot, zones, strict=False))
        return provider.Market(
            offers, capacity, random, notice_permille=lending.notice_permille
        )

    return made
