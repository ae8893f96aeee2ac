"""How much will there be to do when a replica that is wanted now is ready?

In calls at once. A *steady* load is a mean, around which chance has its play (`staffing` sees to that):

- *mean*: the smoothed rate times the mean time of a call;
- *trend*: that rate carried on to `now + h`, if it grows by more than chance, at most to its double;
- *season*: the quantile of what came at this time of the week.

A *peak* is what bursts need (`bursts`), which has chance in it already:

- *burst*: of the last seconds, if chance does not explain it;
- *recurring*: the quantile of the most in each stretch of h, of the last 64. A stretch as long as a start is the
  newsvendor's period: what is ordered now is there for the next one. A peak lasts no longer than the spans it is
  measured over, and its calls may wait for the slack: where that is less than h, a replica for it stands idle for the
  rest, and the quantile is a lower one.

The quantile is that which misses are worth (`newsvendor`). Of the means of these stretches it says what is usual.
"""

from dataclasses import dataclass
from math import isqrt

from glowplug.clock import SECOND
from glowplug_router.policy.scaling.bursts import (
    BIN_NS,
    BINS,
    MICRO,
    SURE_CALLS,
    SURE_SIGMAS,
)
from glowplug_router.policy.scaling.measuring import load_milli, window_ns
from glowplug_router.policy.scaling.newsvendor import SLACK_NS, peak_permille, quantile_permille
from glowplug_router.policy.scaling.season import SLOT_NS, WEEKS_MIN, seasonal_micro
from glowplug_router.policy.scaling.starts import horizon_ns
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Served

NEWEST = 8  # bins: half of those there are
GROWTH_MAX = 2  # times what is: a trend is trusted as far as it was seen


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many calls at once to have room for, in thousandths, and which view says so."""

    steady_milli: int  # a mean, around which chance has its play
    steady_view: str
    peak_milli: int  # what bursts need so that their calls begin in time
    peak_view: str


def forecast(served: Served, memory: EndpointMemory, now_ns: int) -> Forecast:
    """Return what a replica wanted now should find when it is ready."""
    horizon = horizon_ns(served, memory)
    quantile = quantile_permille(served.policy.priority)
    load = memory.load
    rate, view = memory.rate_micro, "mean"
    trend = _trend_micro(served, memory, horizon) if load.trend_micro > 0 else 0
    if trend > rate:
        rate, view = trend, "trend"
    season = seasonal_micro(load.season, quantile, now_ns + horizon)
    if season > rate:
        rate, view = season, "season"
    klass = served.policy.priority
    use_ns = BINS * BIN_NS + SLACK_NS[klass]
    recurring = quantile_of(load.peaks_milli, peak_permille(klass, use_ns, max(horizon, 1)))
    peak = (load.burst_milli, "burst") if load.burst_milli > recurring else (recurring, "recurring")
    steady = load_milli(rate, memory.mean_service_ns)
    return Forecast(steady, view, *peak)


def usual_milli(served: Served, memory: EndpointMemory, expected: Forecast) -> int:
    """Return a mean that was there lately, in calls at once: who goes while it is less is wanted back soon."""
    quantile = quantile_permille(served.policy.priority)
    return max(expected.steady_milli, quantile_of(memory.load.means_milli, quantile))


def is_expected(served: Served, memory: EndpointMemory, now_ns: int) -> bool:
    """Say whether the season has calls come when a replica wanted now would be ready."""
    at_ns = now_ns + horizon_ns(served, memory)
    return seasonal_micro(memory.load.season, quantile_permille(served.policy.priority), at_ns) > 0


def next_slot_ns(served: Served, memory: EndpointMemory, now_ns: int) -> int | None:
    """Return when the season may say something else; None without one."""
    if len(memory.load.season.weeks) < WEEKS_MIN:
        return None
    horizon = horizon_ns(served, memory)
    return ((now_ns + horizon) // SLOT_NS + 1) * SLOT_NS - horizon


def quantile_of(sample: tuple[int, ...], permille: int) -> int:
    """Return the smallest of the sample that the next one does not exceed with so many thousandths; 0 of none.

    Of n that are alike, the next is below the k-th smallest in k of n + 1 cases (Weibull 1939). Beyond what the
    sample can say, it is the largest.
    """
    if not sample:
        return 0
    place = -(-(len(sample) + 1) * permille // 1000)
    return sorted(sample)[min(max(place, 1), len(sample)) - 1]


def _trend_micro(served: Served, memory: EndpointMemory, horizon: int) -> int:
    """Return Holt's level and trend at the horizon, if growth is no chance and still goes on; else 0.

    A smoothed rate lags behind one that grows steadily by its trend over a window; after a step it only catches up.
    """
    load, rate, window = memory.load, memory.rate_micro, window_ns(served, memory)
    newest_micro = sum(load.bins[-NEWEST:]) * MICRO * SECOND // (NEWEST * BIN_NS)
    lag_micro = load.trend_micro * window // SECOND
    # The trend's error over a window is half the root of the calls in it (an exponential mean of one).
    grown_micro = lag_micro * window // SECOND
    noise_micro = isqrt(rate * window // SECOND * MICRO) // 2
    if 2 * (newest_micro - rate) < lag_micro:
        return 0
    if grown_micro <= SURE_SIGMAS * noise_micro + SURE_CALLS * MICRO:
        return 0
    return min(rate + lag_micro + load.trend_micro * horizon // SECOND, GROWTH_MAX * rate)
