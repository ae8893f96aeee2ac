"""Are options and `--against` understood as they are meant, and mistakes told with what to write instead?"""

from typing import Any

import pytest

from glowplug.clock import MILLISECOND, MINUTE, SECOND
from glowplug.errors import ConfigError
from glowplug.spec import BatchTuning, Policy
from glowplug_router.simulation.asking import USUAL, setups
from glowplug_router.simulation.comparing import Behaviour
from glowplug_router.simulation.replay import Affine, Request, StartTime
from glowplug_router.simulation.traces.folder import Recording, Scaled

SAMPLES = tuple((size, (10 + size) * MILLISECOND) for size in (1, 2, 4) * 10)


def asked(against: str | None = None, **given: str) -> list[Behaviour]:
    return [setup.usual for setup in setups(given, against)]


def recorded(**more: Any) -> Recording:
    tuned = Policy(min=1, max=7, batch=BatchTuning(max=3))
    known: dict[str, Any] = {
        "traffic": (Request(0, "a/b", SECOND), Request(0, "a/c", SECOND)),
        "scaled": {"a/b": Scaled("a/b@4", tuned, 16, 1000)},
        "starts": {"a/b": StartTime(3 * SECOND, 4 * SECOND)},
        "batches": {"a/b": SAMPLES},
        "dropped": 0,
    }
    return Recording(**(known | more))


def test_what_is_not_said_is_as_scale_has_it() -> None:
    (only,) = asked()

    assert only == USUAL
    assert (only.policy.min, only.policy.max, only.start) == (0, 4, StartTime(MINUTE))


def test_every_key_is_an_option_and_a_change() -> None:
    words = {
        "min": "1", "max": "9", "buffer": "2", "hold": "7", "target": "1.5", "up_after": "1s", "down_after": "2s",
        "zero_after": "auto", "concurrency": "64", "batch": "8", "batch_wait": "5ms", "batch_cost": "20ms+2ms",
        "cold_start": "20s..40s", "price": "1.5", "capacity": "spot_first", "spot_price": "0.4", "launch": "30s..50s",
        "price_cap": "2", "budget": "100", "degrade": "cap",
    }  # fmt: skip  # a line each would hide the test
    against = ",".join(f"{key.replace('_', '-')}={value}" for key, value in words.items())
    (as_option,) = asked(**words)
    first, changed = asked(against)

    assert first == USUAL
    assert changed == as_option
    policy = as_option.policy
    assert (policy.min, policy.max, policy.buffer, policy.hold) == (1, 9, 2, 7)
    assert (policy.target_concurrency, policy.up_after_ns, policy.zero_after_ns) == (
        1.5,
        SECOND,
        -1,
    )
    assert as_option.start == StartTime(20 * SECOND, 40 * SECOND)
    assert as_option.batch is not None
    assert (as_option.batch.spec.max, as_option.batch.spec.wait_ns) == (8, 5 * MILLISECOND)
    assert as_option.batch.cost == Affine(20 * MILLISECOND, 2 * MILLISECOND)
    assert setups(words, None)[0].price_micro_usd == 1_500_000


def test_a_batch_brings_permits_for_two_unless_told_and_a_third_part_weighs() -> None:
    (only,) = asked(batch="8", batch_cost="20ms+2ms+1ms")

    assert only.concurrency == 16
    assert only.batch is not None
    assert only.batch.spec.is_weighed
    assert only.batch.cost.expected_ns(2, 10) == 34 * MILLISECOND


def test_a_recording_is_replayed_under_its_own_scale_and_options_change_it() -> None:
    kept = recorded()
    (plain,) = setups({}, None, kept)
    known, unknown = plain.of("a/b"), plain.of("a/c")

    assert plain.name == "recorded scale"
    assert (known.policy, known.concurrency) == (kept.scaled["a/b"].policy, 16)
    assert known.start == StartTime(3 * SECOND, 4 * SECOND)
    assert known.batch is not None
    assert known.batch.spec.max == 8  # of permits for two
    assert known.batch.cost.expected_ns(4) == pytest.approx(14 * MILLISECOND, rel=0.1)
    assert unknown == USUAL
    (changed,) = setups({"min": "2"}, None, kept)
    assert (changed.of("a/b").policy.min, changed.of("a/b").policy.max) == (2, 7)
    assert changed.of("a/c").policy.min == 2


def test_a_larger_batch_costs_what_the_recorded_ones_taught() -> None:
    alone = recorded(traffic=(Request(0, "a/b", SECOND),))
    first, second = setups({}, "batch=32,batch_wait=3ms", alone)
    batch = second.of("a/b").batch

    assert batch is not None
    assert (batch.spec.max, batch.spec.wait_ns) == (32, 3 * MILLISECOND)
    assert batch.cost.expected_ns(32) > 30 * MILLISECOND
    assert second.of("a/b").concurrency == 64
    assert second.of("a/b").policy.batch == BatchTuning()
    assert first.of("a/b").policy.batch == BatchTuning(max=3)


def test_more_calls_were_seen_together_than_permits_say() -> None:
    kept = recorded(batches={"a/b": ((40, SECOND),)})

    batch = setups({}, None, kept)[0].of("a/b").batch
    assert batch is not None
    assert batch.spec.max == 40


@pytest.mark.parametrize(
    ("given", "against", "said"),
    [
        ({"min": "5"}, None, "min 5, max 4"),
        ({"max": "0"}, None, "min 0, max 0"),
        ({"min": "-1"}, None, "--min '-1' is no number"),
        ({"min": "1.5"}, None, "--min '1.5' is no whole number"),
        ({"max": "nan"}, None, "--max 'nan' is no number"),
        ({"cold_start": "soon"}, None, "--cold-start"),
        ({"zero_after": "automatic"}, None, "--zero-after"),
        ({"concurrency": "0"}, None, "--concurrency 0: it runs nothing"),
        ({"batch": "0", "batch_cost": "1ms"}, None, "nothing says how many calls"),
        ({"batch": "99999", "batch_cost": "1ms"}, None, "up to 4,096"),
        ({"batch": "4"}, None, "nothing says what a batch takes"),
        ({"batch_wait": "4ms"}, None, "nothing says how many calls"),
        ({"batch": "4", "batch_cost": "1ms+1ms+1ms+1ms"}, None, "is not what a batch takes"),
        ({"batch": "4", "batch_cost": "0s"}, None, "is not what a batch takes"),
        ({"batch": "4", "batch_cost": "1ms", "concurrency": "2"}, None, "ever be full"),
        ({"price": "free"}, None, "--price 'free'"),
        ({}, "mni=1", "'mni=1' is not KEY=VALUE"),
        ({}, "min", "'min' is not KEY=VALUE"),
        ({}, "min=", "'min=' is not KEY=VALUE"),
        ({}, "min=9", "min 9, max 4"),
        ({}, "up_after=x", "--against up_after"),
    ],
)
def test_a_mistake_is_told_with_what_to_write_instead(
    given: dict[str, str], against: str | None, said: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        setups(given, against)

    assert said in raised.value.message
    assert raised.value.hint


def test_machines_are_lent_when_a_capacity_is_named() -> None:
    (lent,) = setups({"price": "1.5", "capacity": "spot", "launch": "30s", "budget": "100"}, None)
    (there,) = setups({"price": "1.5"}, None)

    assert there.lending is None
    assert lent.lending is not None
    assert (lent.lending.price_micro_usd, lent.lending.spot_micro_usd) == (1_500_000, 0)
    assert (lent.lending.launch_p50_ns, lent.lending.launch_p90_ns) == (30 * SECOND, 30 * SECOND)
    limits = lent.lending.limits
    assert (limits.markets, limits.budget_micro_usd, limits.degrade) == (
        ("spot",),
        100_000_000,
        "warn",
    )


def test_a_change_may_lend_what_was_simply_there() -> None:
    first, changed = setups({"price": "1"}, "capacity=on_demand,launch=20s")

    assert first.lending is None
    assert changed.lending is not None


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ({"capacity": "spot"}, "nothing says what a machine costs", "--price"),
        ({"capacity": "spots", "price": "1"}, "'spots' is not known", "spot"),
        ({"capacity": "spot", "price": "1", "degrade": "x"}, "'x' is not known", "stop_batch"),
        ({"budget": "3"}, "--budget: no machine is lent", "--capacity spot_first"),
        ({"capacity": "spot", "price": "1", "launch": "soon"}, "--launch", ""),
    ],
)
def test_what_is_wrong_about_lent_machines_is_told(
    given: dict[str, str], said: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        setups(given, None)

    assert said in str(caught.value)
    assert hint in (caught.value.hint or "")
