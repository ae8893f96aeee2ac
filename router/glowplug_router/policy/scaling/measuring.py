"""What do the counters of calls say about load?

Counters only grow; a smaller one was started again at zero. From their differences come the smoothed rate, an
exponential mean over `window_ns`, and its trend (Holt's two equations for samples at uneven times); bins of the last
half minute (`bursts`); the highest load of each of the last 64 *stretches*, each as long as a start takes; the
season; and how long a call runs (`service`).
"""

from dataclasses import replace

from glowplug.clock import MINUTE, SECOND
from glowplug_router.policy.scaling.bursts import BIN_NS, MICRO, binned, bursts
from glowplug_router.policy.scaling.evidence import sure_rate_micro
from glowplug_router.policy.scaling.newsvendor import SLACK_NS, lasting_ns
from glowplug_router.policy.scaling.season import season_noted
from glowplug_router.policy.scaling.service import (
    FEW,
    Ended,
    mean_service_ns,
    service_noted,
)
from glowplug_router.policy.scaling.starts import horizon_ns
from glowplug_router.records.load import Load
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Served

WINDOW_MAX_NS = 30 * SECOND  # router.md §5.3: what is older says little of now
WINDOW_CALLS = 64  # a window has: its exponential mean is then known to 9 %, well within what `RHO_DOWN` leaves
SPARSE_MAX_NS = 5 * MINUTE  # the slot of the season: what comes more rarely is its business
SILENCE_MICRO = MICRO * SECOND // SPARSE_MAX_NS  # less than one call in that time
STRETCHES = 64  # enough that one in twenty is told from one in sixty


def window_ns(served: Served, memory: EndpointMemory) -> int:
    """Return over how long arrivals are averaged: a start, at most 30 s, but no less than a call takes.

    Who runs a call for ten minutes sees the arrivals of ten minutes at once, and one more is no burst. Where few
    calls come the window is longer: the mean of one call is none. Where they have just begun to, it is as long as
    that is ago.
    """
    load = memory.load
    calls = min(WINDOW_CALLS * MICRO * SECOND // max(memory.rate_micro, 1), SPARSE_MAX_NS)
    window = max(min(horizon_ns(served, memory), WINDOW_MAX_NS), calls)
    if load.since_calls >= WINDOW_CALLS:
        window = min(window, memory.sampled_ns - load.since_ns)
    return max(window, memory.mean_service_ns, BIN_NS)


def demand_noted(
    memory: EndpointMemory, demand: Demand, served: Served, now_ns: int
) -> EndpointMemory:
    """Return the memory with rates, peaks, season and service time brought up to `now_ns`."""
    arrivals = _grown(demand.arrivals, memory.arrivals) if memory.sampled_ns else 0
    passed_ns = max(0, now_ns - memory.sampled_ns) if memory.sampled_ns else 0
    window = window_ns(served, memory)
    rate = smoothed_micro(memory.rate_micro, arrivals, passed_ns, window)
    load = _arrived(memory, arrivals, rate, passed_ns, window, now_ns)
    if arrivals and load.since_calls - arrivals < WINDOW_CALLS:
        rate = _begun_micro(load, rate, max(now_ns - load.since_ns, memory.mean_service_ns, BIN_NS))
    load = _ended(memory, load, demand, passed_ns, rate)
    # Before any has ended, they take at least as long as they run.
    service = mean_service_ns(load) or load.unfinished_ns // max(demand.inflight, 1)
    if rate or load.peaks_milli:
        load = _peaked(load, rate, service, served, memory, now_ns)
    return replace(
        memory,
        arrivals=demand.arrivals,
        completed=demand.completed,
        service_ns=demand.service_ns,
        sampled_ns=now_ns,
        first_seen_ns=memory.first_seen_ns or now_ns,
        busy_ns=now_ns if demand.queued + demand.inflight > 0 else memory.busy_ns,
        rate_micro=rate,
        mean_service_ns=service,
        load=load,
    )


def load_milli(rate_micro: int, service_ns: int) -> int:
    """Return the calls at once that a rate and a mean time make, in thousandths: Little's law."""
    return -(-rate_micro * service_ns // (1000 * SECOND))


def smoothed_micro(before_micro: int, arrivals: int, passed_ns: int, window: int) -> int:
    """Return the exponential mean of arrivals a second, in millionths.

    Without passing time there is no rate yet: these arrivals are lost to it, not to the queue.
    """
    if passed_ns <= 0 or not (arrivals or before_micro):
        return before_micro
    return (before_micro * window + arrivals * MICRO * SECOND) // (window + passed_ns)


def _begun_micro(load: Load, rate: int, passed_ns: int) -> int:
    """Return the rate of what has begun so long ago: a smoothed one would still have the silence in it."""
    if load.since_calls < WINDOW_CALLS:
        return max(rate, sure_rate_micro(load.since_calls, passed_ns))
    return load.since_calls * MICRO * SECOND // passed_ns


def _grown(now: int, before: int) -> int:
    return now - before if now >= before else now


def _arrived(
    memory: EndpointMemory, arrivals: int, rate: int, passed_ns: int, window: int, now_ns: int
) -> Load:
    load = memory.load
    season = season_noted(load.season, arrivals, now_ns)
    trend = load.trend_micro
    if passed_ns > 0 and (trend or rate != memory.rate_micro):
        grown = (rate - memory.rate_micro) * SECOND
        trend = (trend * window + grown) // (window + passed_ns)
        trend += trend < 0  # so that it comes back to zero from below as well
    number = now_ns // BIN_NS
    is_same = not arrivals and trend == load.trend_micro and season is load.season
    if is_same and (number == load.bin or not any(load.bins)):
        return load
    is_silent = memory.rate_micro < SILENCE_MICRO or number - load.bin >= SPARSE_MAX_NS // BIN_NS
    has_begun = arrivals > 0 and is_silent
    before = 0 if has_begun else load.since_calls
    return replace(
        load,
        bins=binned(load, number, arrivals),
        bin=number,
        trend_micro=trend,
        season=season,
        # Who looks only when calls come did not look for as long as there were none.
        since_ns=now_ns - min(passed_ns, BIN_NS) if has_begun else load.since_ns,
        since_calls=before + arrivals,
    )


def _ended(memory: EndpointMemory, load: Load, demand: Demand, passed_ns: int, rate: int) -> Load:
    completed = _grown(demand.completed, memory.completed)
    is_learning = demand.inflight > 0 and load.service_calls < FEW
    if not completed and not is_learning:
        return load
    service_ns = _grown(demand.service_ns, memory.service_ns)
    return service_noted(load, Ended(completed, service_ns, demand.inflight * passed_ns), rate)


def _peaked(
    load: Load, rate: int, service: int, served: Served, memory: EndpointMemory, now_ns: int
) -> Load:
    """Return the load with what bursts ask for now, and the highest of this stretch."""
    klass, start = served.policy.priority, horizon_ns(served, memory)
    # Whatever was started is kept for as long as its start took at least, or nothing would ever pay.
    lasting = lasting_ns(klass, start, max(served.policy.down_after_ns, start))
    found = bursts(load, rate, SLACK_NS[klass] + service, lasting, now_ns)
    burst, rush = found.sure_milli * service // SECOND, found.rush_milli * service // SECOND
    if (burst, rush) != (load.burst_milli, load.rush_milli):
        load = replace(load, burst_milli=burst, rush_milli=rush)
    peak, mean = found.most_milli * service // SECOND, load_milli(rate, service)
    if load.service_calls < FEW:
        return load  # what is said of the load while so little is known is not worth remembering
    if not load.peaks_milli:
        return replace(load, peaks_milli=(peak,), means_milli=(mean,), stretch_ns=now_ns)
    stretch = max(start, BIN_NS)
    passed = (now_ns - load.stretch_ns) // stretch
    if passed > 0:
        # Nobody looked in between, since nobody called.
        silent = (0,) * (min(passed, STRETCHES) - 1)
        return replace(
            load,
            peaks_milli=(*load.peaks_milli, *silent, peak)[-STRETCHES:],
            means_milli=(*load.means_milli, *silent, mean)[-STRETCHES:],
            stretch_ns=load.stretch_ns + passed * stretch,
        )
    if peak <= load.peaks_milli[-1] and mean <= load.means_milli[-1]:
        return load
    return replace(
        load,
        peaks_milli=(*load.peaks_milli[:-1], max(peak, load.peaks_milli[-1])),
        means_milli=(*load.means_milli[:-1], max(mean, load.means_milli[-1])),
    )
