"""What do the spot zones of a region do, where nobody recorded them?

Each zone has up-runs and down-runs, and its region has times in which hardly any zone has capacity. Fitted to what was
measured on V100 zones, Feb 2023 (router.md §3): median up-run 0.3-1.4 h, mean 0.7-10 h (so a heavy tail: log-normal),
availability of a zone 0.17-0.90, and any of four zones of one region up only 71 % of the time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from glowplug.clock import HOUR
from glowplug_router.simulation.market.series import Series, series


@dataclass(frozen=True, slots=True, kw_only=True)
class Climate:
    """How the zones of a region behave. Hours, and shares of a thousand."""

    up_median_h: tuple[float, float] = (0.3, 1.4)
    up_sigma: tuple[float, float] = (1.3, 2.0)  # mean / median = exp(sigma^2 / 2): 2.3 to 7.4
    available_permille: tuple[int, int] = (350, 950)  # of a zone while its region is not tight
    tight_permille: int = 250  # of the time the whole region is tight
    tight_mean_h: float = 3.0
    hazard_permille: int = 1000  # all runs are shorter by this: 3000 = three times as often


def region(
    random: Random, zones: int, capacity: int, until_ns: int, climate: Climate
) -> list[Series]:
    """Return the capacity of each zone of a region."""
    speed = 1000 / climate.hazard_permille
    tight_h = climate.tight_mean_h * speed
    loose_h = tight_h * (1000 - climate.tight_permille) / max(1, climate.tight_permille)
    tight = _runs(random, until_ns, lambda: random.expovariate(1 / loose_h), tight_h)
    return [_zone(random, tight, capacity, until_ns, climate) for _ in range(zones)]


def _zone(
    random: Random,
    tight: list[tuple[int, bool]],
    capacity: int,
    until_ns: int,
    climate: Climate,
) -> Series:
    speed = 1000 / climate.hazard_permille
    median = random.uniform(*climate.up_median_h) * speed
    sigma = random.uniform(*climate.up_sigma)
    available = random.uniform(*climate.available_permille) / 1000
    up_mean = median * 2.718281828 ** (sigma * sigma / 2)
    down_mean = up_mean * (1 - available) / available

    def up_h() -> float:
        return median * random.lognormvariate(0, sigma)

    own = _runs(random, until_ns, up_h, down_mean)
    moments = sorted([(t, 0, is_up) for t, is_up in own] + [(t, 1, is_up) for t, is_up in tight])
    points, state = [], [True, True]
    for now_ns, which, is_up in moments:
        state[which] = is_up
        points.append((now_ns, capacity if all(state) else 0))
    return series(points)


def _runs(
    random: Random, until_ns: int, up_h: Callable[[], float], down_mean_h: float
) -> list[tuple[int, bool]]:
    """Return when a state begins: True is up. It starts somewhere in a run."""
    now_ns = -int(random.uniform(0, 4) * down_mean_h * HOUR)
    found, is_up = [], random.random() < 0.5
    while now_ns < until_ns:
        found.append((max(0, now_ns), is_up))
        hours = up_h() if is_up else random.expovariate(1 / down_mean_h)
        now_ns += max(1, int(hours * HOUR))
        is_up = not is_up
    return found
