"""How do spot zones come and go together? A generator fitted to router.md §3, since the traces may not be kept.

Fitted to what is said there of SkyPilot's V100 zones of February 2023, and not those traces: single zones are up 17 to
90 % of the time, a run lasts 0.3 to 1.4 h in the median and 0.7 to 10 h in the mean, and zones of one region fail
together (four zones of us-east-1: any of them up 71 % of the time; nine zones of three regions: 99.2 %).
`market/zones.py` makes one region of any climate, to tune on; this is the other one, that nothing is tuned on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from math import exp
from random import Random

from glowplug.clock import HOUR
from glowplug_router.simulation.market.series import Series, series


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Zones that share what a region has: a zone is up while its region is and it is itself."""

    name: str
    up: float  # share of the time in which the region has anything
    zones: tuple[tuple[str, float], ...]  # zone -> its own share, of the time its region is up


# The region's shares: router.md §4.3's cost lower bounds at price ratio 3 are 1 - 2/3 × (any zone up): 0.525 of the
# four us-east-1 zones gives 0.71, 0.360 of the three us-west-2 zones 0.96; what is missing to 99.2 % of all nine is
# us-east-2's. Zones' own shares spread over the measured 0.17 to 0.90.
REGIONS = (
    Region(
        name="us-east-1",
        up=0.76,
        zones=(
            ("us-east-1a", 0.55),
            ("us-east-1c", 0.42),
            ("us-east-1d", 0.30),
            ("us-east-1f", 0.63),
        ),
    ),
    Region(name="us-east-2", up=0.55, zones=(("us-east-2a", 0.45), ("us-east-2b", 0.62))),
    Region(
        name="us-west-2",
        up=0.975,
        zones=(("us-west-2a", 0.90), ("us-west-2b", 0.45), ("us-west-2c", 0.68)),
    ),
)
DAYS = 45
RUN_MEDIAN_NS = (
    HOUR  # of a zone's own up-runs; those of its region cut some short: 0.3 to 1.4 h remain
)
RUN_SIGMA = 1.5  # mean = median × exp(sigma² / 2): three times as long, inside 0.7 to 10 h
REGION_MEDIAN_NS = 3 * HOUR  # a region is up for longer; this and the next are assumptions
REGION_SIGMA = 1.0


def zones(
    random: Random, *, regions: tuple[Region, ...] = REGIONS, days: int = DAYS, machines: int = 1
) -> dict[str, Series]:
    """Return the capacity of every zone over time; one that is up has so many machines."""
    end_ns = days * 24 * HOUR
    found: dict[str, Series] = {}
    for region in regions:
        shared = _runs(random, region.up, REGION_MEDIAN_NS, REGION_SIGMA, end_ns)
        for name, share in region.zones:
            own = _runs(random, share, RUN_MEDIAN_NS, RUN_SIGMA, end_ns)
            found[name] = series((at, machines * up) for at, up in _both(shared, own))
    return found


def _runs(
    random: Random, share: float, median_ns: int, sigma: float, end_ns: int
) -> list[tuple[int, bool]]:
    """Return when something goes up and down: log-normal runs, down ones as long as the share asks."""
    medians = {True: median_ns, False: median_ns * (1 - share) / share}
    up, at_ns, runs = random.random() < share, 0, []
    while at_ns < end_ns:
        runs.append((at_ns, up))
        at_ns += max(1, int(medians[up] * exp(random.gauss(0.0, sigma))))
        up = not up
    return runs


def _both(one: list[tuple[int, bool]], other: list[tuple[int, bool]]) -> Iterator[tuple[int, bool]]:
    """Return from when on both are up, or not."""
    states = [False, False]
    tagged = merge(((at, 0, up) for at, up in one), ((at, 1, up) for at, up in other))
    for at_ns, which, up in tagged:
        states[which] = up
        yield at_ns, all(states)
