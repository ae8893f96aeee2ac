"""What traffic can be made where no trace may be kept? Generators, each fitted to facts of router.md §3 and labelled.

None of them is a recording: figures taken on them say "fitted generator". All chance comes from the `Random` given.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp, log, pi, sin
from random import Random

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug_router.simulation.replay.scene import NORMAL_P90, Request

DAY = 24 * HOUR

# -- GenTD26 (router.md §3): a product with few busy and many rare models --------------------------------

MODELS = 86
REQUESTS = 26_823
SPAN_NS = 553 * HOUR
# Requests of rank r: r^-1.4 × exp(-r/44). The pair gives the ten most used 87 % of all, and 28 models ten or fewer.
RANK_POWER, RANK_DECAY = 1.4, 44
# Users come for a while: calls of one visit follow each other. The three that give gaps between the calls of one model
# of 71 s, 1,293 s and 24 h at the 50th, 90th and 99th percentile.
VISIT_CALLS = 5
VISIT_GAP_NS, VISIT_GAP_SIGMA = 66 * SECOND, 1.2
DIURNAL = 0.8  # how much of the daily mean comes and goes; not measured: an assumption
SERVICE_P50_NS, SERVICE_P99_NS = 23 * SECOND, 106 * SECOND
NORMAL_P99 = 2.3263478740408408


def gentd26_like(
    random: Random,
    *,
    models: int = MODELS,
    requests: int = REQUESTS,
    span_ns: int = SPAN_NS,
    app: str = "gentd26-like",
) -> tuple[Request, ...]:
    """Return calls of many models, most of them rare, in visits: fitted to GenTD26, and not it."""
    weights = [rank**-RANK_POWER * exp(-rank / RANK_DECAY) for rank in range(1, models + 1)]
    whole = sum(weights)
    sigma = log(SERVICE_P99_NS / SERVICE_P50_NS) / NORMAL_P99
    made: list[Request] = []
    for number, weight in enumerate(weights):
        name = f"{app}/m{number:02}"
        for at_ns in _visits(random, max(1, round(weight / whole * requests)), span_ns):
            service_ns = int(SERVICE_P50_NS * exp(random.gauss(0.0, sigma)))
            made.append(Request(at_ns, name, service_ns))
    made.sort(key=lambda request: (request.at_ns, request.endpoint))
    return tuple(made)


def _visits(random: Random, calls: int, span_ns: int) -> list[int]:
    times: list[int] = []
    while len(times) < calls:
        at_ns = random.randrange(span_ns)
        if random.random() * (1 + DIURNAL) > 1 + DIURNAL * sin(2 * pi * at_ns / DAY):
            continue
        for _ in range(min(calls - len(times), 1 + int(random.expovariate(1 / (VISIT_CALLS - 1))))):
            times.append(at_ns)
            at_ns += int(VISIT_GAP_NS * exp(random.gauss(0.0, VISIT_GAP_SIGMA)))
    return times


# -- rates: calls by a rate that changes over time ---------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Who is called, and how long a call takes: log-normal through a median and a 90th percentile."""

    endpoint: str = "synthetic/endpoint"
    service_p50_ns: int = SECOND
    service_p90_ns: int = 2 * SECOND

    def service_ns(self, random: Random) -> int:
        """Return one call's time."""
        if self.service_p90_ns <= self.service_p50_ns:
            return self.service_p50_ns
        sigma = log(self.service_p90_ns / self.service_p50_ns) / NORMAL_P90
        return int(self.service_p50_ns * exp(random.gauss(0.0, sigma)))


def by_rate(
    random: Random,
    rate_s: Callable[[int], float],
    peak_s: float,
    span_ns: int,
    shape: Shape | None = None,
) -> Iterator[Request]:
    """Return calls at a rate (a second) that changes and never exceeds `peak_s`: a thinned Poisson process."""
    shape = shape or Shape()
    at_ns = 0
    while peak_s > 0:
        at_ns += int(random.expovariate(peak_s) * SECOND)
        if at_ns >= span_ns:
            return
        if random.random() * peak_s < rate_s(at_ns):
            yield Request(at_ns, shape.endpoint, shape.service_ns(random))


def constant(
    random: Random, rate: float, span_ns: int, shape: Shape | None = None
) -> Iterator[Request]:
    """Return calls at one rate: a Poisson process."""
    return by_rate(random, lambda _: rate, rate, span_ns, shape)


def step(
    random: Random, rate: float, at_ns: int, span_ns: int, shape: Shape | None = None
) -> Iterator[Request]:
    """Return no calls before a time, and calls at one rate from then on."""
    return by_rate(random, lambda now_ns: rate if now_ns >= at_ns else 0.0, rate, span_ns, shape)


def diurnal(
    random: Random, mean: float, swing: float, span_ns: int, shape: Shape | None = None
) -> Iterator[Request]:
    """Return calls whose rate follows the day: from mean × (1 - swing) at midnight to mean × (1 + swing) at noon."""
    peak = mean * (1 + swing)
    return by_rate(
        random,
        lambda now_ns: mean * (1 - swing * sin(2 * pi * now_ns / DAY + pi / 2)),
        peak,
        span_ns,
        shape,
    )


def on_off(
    random: Random,
    rate: float,
    on_ns: int,
    off_ns: int,
    span_ns: int,
    shape: Shape | None = None,
) -> Iterator[Request]:
    """Return bursts: Poisson calls for a while, then none for a while; both exponential with these means."""
    shape = shape or Shape()
    at_ns, end_ns = 0, int(random.expovariate(1.0) * on_ns)
    while at_ns < span_ns:
        at_ns += int(random.expovariate(rate) * SECOND)
        if at_ns >= end_ns:
            at_ns = end_ns + int(random.expovariate(1.0) * off_ns)
            end_ns = at_ns + int(random.expovariate(1.0) * on_ns)
        elif at_ns < span_ns:
            yield Request(at_ns, shape.endpoint, shape.service_ns(random))


# -- the Twitter counts of router.md §3: a product whose days are alike only by a third --------------------

TWITTER_DAYS = 22
DAY_SHARE = 0.33  # of the variance: how far one day correlates with the next
LOG_SIGMA = 0.52  # of the log of a minute's rate: its largest of 22 days is then 4.7 times the mean
DRIFT_NS = 2 * HOUR  # after so long a rush has halved; not measured: an assumption


def twitter_like_rates(random: Random, days: int = TWITTER_DAYS) -> tuple[float, ...]:
    """Return a rate for each minute, as multiples of the mean: fitted to 22 days of Twitter's stream, and not it."""
    swing = LOG_SIGMA * (2 * DAY_SHARE) ** 0.5
    noise_sigma = LOG_SIGMA * (1 - DAY_SHARE) ** 0.5
    kept = 0.5 ** (MINUTE / DRIFT_NS)
    level, rates = random.gauss(0.0, noise_sigma), []
    for minute in range(days * DAY // MINUTE):
        rates.append(exp(level + swing * sin(2 * pi * minute * MINUTE / DAY)))
        level = kept * level + random.gauss(0.0, noise_sigma * (1 - kept * kept) ** 0.5)
    mean = sum(rates) / len(rates)
    return tuple(rate / mean for rate in rates)


def twitter_like(
    random: Random, mean: float, days: int = TWITTER_DAYS, shape: Shape | None = None
) -> Iterator[Request]:
    """Return calls at the rates of `twitter_like_rates`, so many a second on average."""
    rates = twitter_like_rates(random, days)
    return by_rate(
        random, lambda now_ns: mean * rates[now_ns // MINUTE], mean * max(rates), days * DAY, shape
    )
