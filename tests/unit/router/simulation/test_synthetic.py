"""Do generators keep the facts that they are fitted to? Those of router.md §3, within the tolerances stated here."""

from collections import Counter, defaultdict
from itertools import pairwise
from random import Random
from statistics import correlation, mean, median

import pytest

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug_router.simulation.market.series import Series
from glowplug_router.simulation.replay import Request
from glowplug_router.simulation.traces.synthetic import (
    DAY,
    Shape,
    by_rate,
    constant,
    diurnal,
    gentd26_like,
    on_off,
    step,
    twitter_like,
    twitter_like_rates,
)
from glowplug_router.simulation.traces.zones import DAYS, REGIONS, zones

SEEDS = (1, 2, 3)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * len(values))]


def gaps_s(traffic: tuple[Request, ...]) -> list[float]:
    times: dict[str, list[int]] = defaultdict(list)
    for request in traffic:
        times[request.endpoint].append(request.at_ns)
    return [(b - a) / SECOND for mine in times.values() for a, b in pairwise(mine)]


@pytest.mark.parametrize("seed", SEEDS)
def test_gentd26_like_traffic_is_as_gentd26_was_measured(seed: int) -> None:
    traffic = gentd26_like(Random(seed))
    counts = sorted(Counter(request.endpoint for request in traffic).values())
    gaps, service_s = gaps_s(traffic), [request.service_ns / SECOND for request in traffic]

    assert len(traffic) == pytest.approx(26_823, rel=0.01)
    assert len(counts) == 86
    assert sum(counts[-10:]) / len(traffic) == pytest.approx(0.87, abs=0.01)
    assert sum(count <= 10 for count in counts) == pytest.approx(28, abs=2)
    assert quantile(gaps, 0.50) == pytest.approx(71, rel=0.15)
    assert quantile(gaps, 0.90) == pytest.approx(1293, rel=0.20)
    assert quantile(gaps, 0.99) == pytest.approx(86_400, rel=0.20)
    assert quantile(service_s, 0.50) == pytest.approx(23, rel=0.05)
    assert quantile(service_s, 0.99) == pytest.approx(106, rel=0.08)
    assert sum(service_s) * SECOND / (553 * HOUR) == pytest.approx(0.39, rel=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_twitter_like_rates_peak_and_repeat_as_twitters_did(seed: int) -> None:
    rates = twitter_like_rates(Random(seed))
    days = [rates[at : at + 1440] for at in range(0, len(rates), 1440)]
    alike = median(correlation(one, other) for one, other in pairwise(days))

    assert mean(rates) == pytest.approx(1.0)
    assert max(rates) == pytest.approx(4.7, rel=0.2)
    assert alike == pytest.approx(0.33, abs=0.12)


def test_twitter_like_calls_come_at_their_mean_rate() -> None:
    calls = sum(1 for _ in twitter_like(Random(1), 0.5, days=4))

    assert calls == pytest.approx(0.5 * 4 * DAY / SECOND, rel=0.02)


def share_up(pools: list[Series]) -> float:
    end_ns = DAYS * DAY
    moments = sorted({at_ns for pool in pools for at_ns in pool.times_ns if at_ns < end_ns})
    up_ns = sum(
        until_ns - at_ns
        for at_ns, until_ns in pairwise([*moments, end_ns])
        if any(pool.at(at_ns) for pool in pools)
    )
    return up_ns / end_ns


@pytest.mark.parametrize("seed", SEEDS)
def test_zones_come_and_go_together_as_skypilots_did(seed: int) -> None:
    found = zones(Random(seed))
    east = [found[name] for name, _ in REGIONS[0].zones]
    west = [found[name] for name, _ in REGIONS[2].zones]
    shares = [share_up([pool]) for pool in found.values()]

    assert len(found) == 9
    assert min(shares) == pytest.approx(0.20, abs=0.08)
    assert max(shares) == pytest.approx(0.90, abs=0.05)
    assert share_up(east) == pytest.approx(0.71, abs=0.06)
    assert share_up(west) == pytest.approx(0.96, abs=0.03)
    assert share_up(list(found.values())) == pytest.approx(0.992, abs=0.006)
    # Alone each of the four would leave far less of the time without any.
    apart = 1.0
    for pool in east:
        apart *= 1 - share_up([pool])
    assert 1 - share_up(east) > 1.3 * apart


@pytest.mark.parametrize("seed", SEEDS)
def test_runs_of_zones_are_as_long_as_measured(seed: int) -> None:
    for pool in zones(Random(seed)).values():
        ends = [*pool.times_ns[1:], DAYS * DAY]
        runs_h = [
            (end_ns - at_ns) / HOUR
            for at_ns, count, end_ns in zip(pool.times_ns, pool.counts, ends, strict=True)
            if count
        ]
        assert 0.3 <= median(runs_h) <= 1.6
        assert 0.7 <= mean(runs_h) <= 10


def test_an_up_zone_has_as_many_machines_as_asked() -> None:
    assert {count for pool in zones(Random(1), machines=4).values() for count in pool.counts} == {
        0,
        4,
    }


def test_bursts_come_at_their_rate_and_in_their_share_of_the_time() -> None:
    calls = list(on_off(Random(1), 5.0, 2 * MINUTE, 8 * MINUTE, 200 * HOUR))
    gaps = [(b.at_ns - a.at_ns) / SECOND for a, b in pairwise(calls)]

    assert len(calls) / (200 * 3600) == pytest.approx(5.0 * 0.2, rel=0.1)
    assert median(gaps) == pytest.approx(0.139, rel=0.1)  # ln 2 / 5: inside a burst
    assert max(gaps) > 600


def test_days_swing_as_asked() -> None:
    calls = list(diurnal(Random(1), 1.0, 0.8, 10 * DAY))
    hours = Counter(call.at_ns // HOUR % 24 for call in calls)

    assert len(calls) / (10 * 86_400) == pytest.approx(1.0, rel=0.02)
    assert hours[12] / hours[0] == pytest.approx(1.8 / 0.2, rel=0.2)


def test_a_step_is_silent_before_and_steady_after() -> None:
    calls = list(step(Random(1), 20.0, MINUTE, 10 * MINUTE))

    assert min(call.at_ns for call in calls) >= MINUTE
    assert len(calls) == pytest.approx(20 * 540, rel=0.05)


def test_service_times_go_through_both_quantiles() -> None:
    shape = Shape(service_p50_ns=SECOND, service_p90_ns=3 * SECOND)
    service_s = [
        call.service_ns / SECOND for call in constant(Random(1), 10.0, 1000 * SECOND, shape)
    ]

    assert quantile(service_s, 0.5) == pytest.approx(1.0, rel=0.05)
    assert quantile(service_s, 0.9) == pytest.approx(3.0, rel=0.07)
    assert Shape(service_p50_ns=7, service_p90_ns=7).service_ns(Random(1)) == 7


def test_no_rate_means_no_calls() -> None:
    assert not list(by_rate(Random(1), lambda _: 0.0, 0.0, HOUR))
