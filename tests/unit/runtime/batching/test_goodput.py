"""What does the policy make of a load, in virtual time? No change of it may lower these."""

import pytest
from dataplane.batch_sim import (
    BAR_MS,
    FLAT,
    MAX,
    SLO_NS,
    Arrival,
    Device,
    Greedy,
    Ours,
    goodput,
    mixed,
    mixed_p99_ms,
    p50_at_low_load_ms,
    poisson,
    simulate,
    weighed,
)

from glowplug.clock import MILLISECOND, SECOND
from glowplug.spec import BatchSpec

FIFO_CARRIES = 1_120.0  # calls of mixed lengths a second, within the bar


@pytest.mark.parametrize(
    ("load", "noise", "bursts", "at_least"),
    [
        (0.95, 0.0, False, 0.99),
        (1.1, 0.0, False, 0.90),  # ideal 0.91
        (1.5, 0.0, False, 0.655),  # ideal 0.667
        (1.1, 0.15, False, 0.89),
        (1.5, 0.15, False, 0.65),
        (0.5, 0.0, True, 0.75),  # 1.5 x for a second in four
        (0.5, 0.15, True, 0.75),
    ],
)
def test_the_share_answered_in_time_is_close_to_what_the_device_can_do(
    load: float, noise: float, bursts: bool, at_least: float
) -> None:
    assert goodput(load, noise=noise, bursts=bursts) >= at_least


def test_the_measure_tells_a_policy_that_refuses_nobody_from_ours() -> None:
    assert goodput(1.5, ours=False) < 0.05


def test_at_low_load_nobody_waits_for_a_batch() -> None:
    assert p50_at_low_load_ms() <= 6.4  # 5.2 ms alone; arrivals during a batch wait for its end


def test_mixed_lengths_carry_nearly_twice_the_load_of_padding_in_order_of_arrival() -> None:
    assert mixed_p99_ms(1.8 * FIFO_CARRIES, weighed) <= BAR_MS
    assert mixed_p99_ms(1.05 * FIFO_CARRIES, Greedy) > BAR_MS


def test_nobody_starves_whatever_is_longer_or_more_urgent() -> None:
    device = Device(5 * MILLISECOND, MILLISECOND // 5)
    load = 1.02 * device.rate()
    arrivals = (
        Arrival(one.number, one.at_ns, one.deadline_ns, one.weight, (0, 0, 1, 3)[one.number % 4])
        for one in mixed(load, calls=20_000)
    )
    outcome = simulate(Ours(BatchSpec(max=MAX)), device, arrivals)

    # Urgent calls take half of what there is, and wait for one batch; the last class has the rest, in order.
    assert outcome.longest_of[0] < 50 * MILLISECOND
    assert outcome.longest_of[3] < 2 * SECOND
    assert outcome.refused == 0


def test_deadlines_are_kept_while_the_load_can_be_carried() -> None:
    outcome = simulate(Ours(BatchSpec(max=MAX)), FLAT, poisson(0.8 * FLAT.rate(), SLO_NS))

    assert outcome.goodput == 1.0
