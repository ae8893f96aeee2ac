"""What does a unit of capacity cost, with all that comes with the offer: its speed, and its being taken away?"""

from dataclasses import dataclass

from glowplug.clock import HOUR, SECOND
from glowplug_router.policy.packing.ranking import cpus_of
from glowplug_router.policy.placement import is_model
from glowplug_router.records.capacity import Need, Offer

NOTICE_NS = 120 * SECOND  # EC2 gives two minutes
# What it costs to be a replica short for an hour, in hours of that replica, where nobody said: the newsvendor's price
# of 95 %, 0.95 / (1 - 0.95) (router.md §5.3: q = c_miss / (c_miss + price)).
MISS_FACTOR = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What the loss of one unit (1000) costs, whatever the offer."""

    short_ns: int  # expected time without it
    miss_micro_usd: int  # an hour without it
    restart_micro_usd: int  # an hour of the machine that stands in
    lost_work_ns: int = 0
    replace_ns: int = 0  # how long its replacement takes, notice or not

    def micro_usd(self, launch_ns: int, price_micro_usd: int) -> int:
        """Return what it costs that a node of this price and start time is lost, for each of its units."""
        restart = launch_ns * self.restart_micro_usd
        work = self.lost_work_ns * price_micro_usd
        return (restart + work + self.short_ns * self.miss_micro_usd) // HOUR


def units_of(offer: Offer, need: Need) -> int:
    """Return the capacity of a node for this need, in thousandths of a replica on the reference device; 0 = none."""
    return slots_of(offer, need) * (offer.speed_permille if need.count else 1000)


def slots_of(offer: Offer, need: Need) -> int:
    """Return how many replicas of this need a node can hold, whatever their speed."""
    devices = dict(offer.devices).get(need.kind, 0)
    if need.count and not (devices >= need.count and _is_right(offer, need)):
        return 0
    bounds = [devices // need.count] if need.count else []
    if need.memory_bytes:
        bounds.append(offer.memory_bytes // need.memory_bytes)
    if need.cpu_milli and offer.cpu_milli < need.cpu_milli:
        return 0  # beside devices CPUs are shared: a node must have them at all, as `policy.packing` has it
    if not need.count:
        bounds.append(max(1, offer.cpu_milli // cpus_of(need.cpu_milli)))
    return min(bounds)


def _is_right(offer: Offer, need: Need) -> bool:
    if offer.device_memory_bytes < need.device_memory_bytes:
        return False
    return not need.models or any(is_model(offer.model, name) for name in need.models)


def miss_micro_usd(need: Need, unit_micro_usd: int) -> int:
    """Return what an hour of one missing unit costs: as the owner says, else `MISS_FACTOR` hours of it."""
    return need.miss_micro_usd or MISS_FACTOR * unit_micro_usd


def unit_price(price_micro_usd: int, units: int) -> int:
    """Return the price of one unit (1000) where `units` cost so much."""
    return price_micro_usd * 1000 // max(1, units)


def risk_price(offer: Offer, units: int, hazard: int, loss: Loss) -> int:
    """Return what an hour of one unit (1000) costs, with the expected cost of losing it, in micro-dollars."""
    price = unit_price(offer.price_micro_usd, units)
    return price + hazard * loss.micro_usd(launch_ns(offer), price) // 1_000_000


def launch_ns(offer: Offer) -> int:
    """Return how long a launch takes, cautiously."""
    return max(offer.launch_p50_ns, offer.launch_p90_ns)


def expected_short_ns(replace_ns: int, noticed_permille: int) -> int:
    """Return how long a lost unit is missed when replacing it takes so long and part of losses is told beforehand."""
    late_ns = max(0, replace_ns - NOTICE_NS)
    return (noticed_permille * late_ns + (1000 - noticed_permille) * replace_ns) // 1000
