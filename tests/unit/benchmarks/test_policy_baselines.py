"""Do the autoscalers we compare ourselves with do what their documentation says?"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy.baselines import dynamo, kpa, oracle, ray_serve, sky_serve
from policy.baselines.ticking import Seen, Ticking

from glowplug.clock import HOUR, SECOND
from glowplug.spec import Policy
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Served
from glowplug_router.simulation.replay import Request

SERVED = Served(key="a/b@1", policy=Policy(max=1000), permits=10, permille=1000)
MEMORY = EndpointMemory(key="a/b@1")
T0 = 1000 * SECOND


def ask(scaler: Ticking, at_s: float, demand: Demand, ready: int, starting: int = 0) -> int:
    now_ns = T0 + int(at_s * SECOND)
    return scaler(SERVED, demand, MEMORY, ready, starting, now_ns).replicas


def steady(scaler: Ticking, concurrency: int, begin_s: int, end_s: int, ready: int) -> int:
    replicas = 0
    for at_s in range(begin_s, end_s):
        demand = Demand(key=SERVED.key, arrivals=at_s, queued=concurrency)
        replicas = ask(scaler, at_s, demand, ready)
    return replicas


# -- Knative: target 7 = containerConcurrency 10 × 70 %


@pytest.mark.parametrize(
    ("stable", "panicky", "ready", "wanted", "panics"),
    [
        (0, 0, 1, 0, False),  # nothing at all
        (0.1, 0.1, 1, 1, False),  # ceil
        (7, 7, 1, 1, False),  # exactly at target
        (7.01, 7.01, 1, 2, True),  # 2 / 1 >= 2.0
        (20, 20, 2, 3, False),  # 3 / 2 < 2.0
        (20, 28, 2, 4, True),  # 4 / 2 >= 2.0: the larger of both counts
        (70, 7, 10, 10, False),
        (7, 7, 10, 5, False),  # at most halved
        (0, 0, 11, 5, False),  # floor(11 / 2)
        (0, 100, 0, 15, True),  # from zero the ready ones count as one
        (100_000, 0, 1, 1000, False),  # at most a thousand times as many
    ],
)
def test_knative_wants_what_its_formulas_say(
    stable: float, panicky: float, ready: int, wanted: int, panics: bool
) -> None:
    found, panic = kpa.desired(stable, panicky, 7.0, ready, kpa.Panic(), T0)

    assert (found, panic.is_on) == (wanted, panics)


def test_knative_never_wants_fewer_while_it_panics() -> None:
    most, panic = kpa.desired(10, 100, 7.0, 1, kpa.Panic(), T0)
    fewer, panic = kpa.desired(10, 10, 7.0, 15, panic, T0 + 2 * SECOND)

    assert most == fewer == 15


def test_knative_stops_to_panic_only_after_a_whole_stable_window_below_the_threshold() -> None:
    _, panic = kpa.desired(100, 100, 7.0, 1, kpa.Panic(), T0)

    _, still = kpa.desired(7, 7, 7.0, 15, panic, T0 + kpa.STABLE_NS)
    over, no_more = kpa.desired(7, 7, 7.0, 15, panic, T0 + kpa.STABLE_NS + 1)

    assert still.is_on
    assert not no_more.is_on
    assert over == 7  # floor(15 / 2)


@pytest.mark.parametrize(("buckets", "weight"), [(1, 0.9999), (5, 0.8415), (30, 0.2643), (60, 0.2)])
def test_knative_weighs_buckets_so_that_the_window_holds_nearly_all(
    buckets: int, weight: float
) -> None:
    assert kpa.decay(buckets) == pytest.approx(weight, abs=1e-4)


def test_knative_goes_to_zero_after_a_stable_window_and_the_grace_period() -> None:
    scaler = kpa.Kpa()

    assert steady(scaler, 5, 0, 20, ready=1) == 1
    assert steady(scaler, 0, 20, 108, ready=1) == 1
    assert steady(scaler, 0, 108, 115, ready=1) == 0


def test_knative_with_min_scale_never_goes_to_zero() -> None:
    assert steady(kpa.Kpa(least=1), 0, 0, 200, ready=1) == 1


def test_knative_wakes_at_once_and_takes_the_queue_for_steady_demand() -> None:
    scaler = kpa.Kpa()

    assert ask(scaler, 0, Demand(key=SERVED.key, arrivals=1, queued=1), 0) == 1
    assert steady(scaler, 700, 1, 12, ready=0) == 100


# -- Ray Serve


@pytest.mark.parametrize(
    ("ongoing", "current", "factor", "wanted"),
    [(0, 0, 1, 0), (5, 0, 1, 1), (10, 1, 1, 5), (10, 1, 0.5, 3), (0, 4, 1, 0), (8, 4, 1, 4)],
)
def test_ray_serve_wants_what_its_formula_says(
    ongoing: float, current: int, factor: float, wanted: int
) -> None:
    assert ray_serve.desired(ongoing, current, 2.0, factor) == wanted


def test_ray_serve_goes_up_after_thirty_seconds_and_down_after_ten_minutes() -> None:
    scaler = ray_serve.RayServe(least=1)

    assert steady(scaler, 10, 0, 30, ready=1) == 1
    assert steady(scaler, 10, 30, 33, ready=1) == 5
    assert steady(scaler, 0, 33, 600, ready=5) == 5
    assert steady(scaler, 0, 600, 700, ready=5) == 1


def test_ray_serve_wakes_at_once_with_one_replica() -> None:
    assert ask(ray_serve.RayServe(), 0, Demand(key=SERVED.key, arrivals=50, queued=50), 0) == 1


# -- SkyServe


@pytest.mark.parametrize(("rate", "wanted"), [(0, 0), (0.1, 1), (2.0, 1), (2.1, 2), (20, 10)])
def test_sky_serve_wants_what_its_formula_says(rate: float, wanted: int) -> None:
    assert sky_serve.desired(rate, 2.0) == wanted


def test_sky_serve_goes_up_after_five_minutes() -> None:
    scaler = sky_serve.SkyServe(0.25, least=1)  # one call a second is worth four

    assert steady(scaler, 1, 0, 300, ready=1) == 1
    assert steady(scaler, 1, 300, 345, ready=1) == 4


# -- Dynamo


@pytest.mark.parametrize(
    ("use", "current", "wanted"), [(0.95, 2, 3), (0.9, 2, 2), (0.73, 2, 2), (0.71, 2, 1), (0, 1, 1)]
)
def test_dynamo_moves_by_one(use: float, current: int, wanted: int) -> None:
    assert dynamo.desired(use, current) == wanted


def test_dynamo_sends_one_away_whose_load_the_other_cannot_carry() -> None:
    scaler = dynamo.Dynamo(least=1)

    steady(scaler, 9, 0, 65, ready=1)
    steady(scaler, 10, 65, 130, ready=1)  # one is worth two now
    assert steady(scaler, 13, 130, 200, ready=2) == 1  # 13 of 20 permits; 13 of 10 are left


# -- what they measure


def test_a_mean_is_weighed_by_time() -> None:
    seen = Seen()
    for at_s, queued in ((0, 10), (1, 0), (4, 0)):
        seen.note(Demand(key="x", queued=queued), T0 + at_s * SECOND)

    assert seen.mean_concurrency(4 * SECOND) == 2.5
    assert seen.mean_concurrency(3 * SECOND) == 0


def test_a_rate_counts_what_came_in_the_window() -> None:
    seen = Seen()
    for at_s in range(21):
        seen.note(Demand(key="x", arrivals=3 * at_s), T0 + at_s * SECOND)

    assert seen.rate(10 * SECOND) == 3.0


# -- the oracle


def test_perfect_packing_is_the_work_over_the_permits() -> None:
    calls = [Request(0, "a/b", HOUR), Request(5, "a/b", HOUR)]

    assert oracle.packed_hours(calls, 4) == 0.5


def test_a_step_needs_as_many_replicas_as_its_work_takes() -> None:
    calls = [Request(0, "a/b", 25 * SECOND), Request(5 * SECOND, "a/b", 10 * SECOND)]

    assert oracle.needs(calls, 1, 10 * SECOND) == [2, 2, 1]
    assert oracle.needs(calls, 2, 10 * SECOND) == [1, 1, 1]


@pytest.mark.parametrize(
    ("needed", "start", "steps"),
    [
        ([], 3, 0),
        ([1], 3, 4),  # a start and a step
        ([1, 0, 0, 1], 3, 7),  # kept over the gap: two steps are cheaper than a start
        ([1, 0, 0, 0, 0, 1], 3, 8),  # let go
        ([1, 2, 1], 1, 6),
    ],
)
def test_the_schedule_keeps_what_is_cheaper_to_keep(
    needed: list[int], start: int, steps: int
) -> None:
    assert oracle.scheduled_steps(needed, start) == steps


@given(st.lists(st.integers(0, 3), max_size=6), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_no_schedule_is_cheaper_than_the_oracles(needed: list[int], start: int) -> None:
    def least(at: int, have: int) -> int:
        if at == len(needed):
            return 0
        return min(
            n + max(0, n - have) * start + least(at + 1, n)
            for n in range(needed[at], max(needed) + 1)
        )

    assert oracle.scheduled_steps(needed, start) == least(0, 0)


def test_what_is_kept_between_ticks_is_the_last_answer() -> None:
    scaler = kpa.Kpa()
    first = ask(scaler, 0, Demand(key=SERVED.key, arrivals=30, queued=30), 0)

    between = ask(scaler, 1.9, Demand(key=SERVED.key, arrivals=900, queued=900), 0)

    assert first == between


def test_nobody_has_more_than_the_policy_allows() -> None:
    scaler = kpa.Kpa()
    few = replace(SERVED, policy=Policy(max=3))
    demand = Demand(key=SERVED.key, arrivals=900, queued=900)

    assert scaler(few, demand, MEMORY, 0, 0, T0).replicas == 3
