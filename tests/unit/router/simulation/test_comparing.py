from dataclasses import replace

from glowplug.clock import HOUR, MILLISECOND, SECOND
from glowplug.spec import BatchSpec, Policy
from glowplug_router.simulation.comparing import Behaviour, Setup, packed_ns, replayed, summary
from glowplug_router.simulation.replay import Affine, Batch, StartTime
from unit.router.simulation.scenes import calls

SLOW = Behaviour(policy=Policy(max=2, hold=1), start=StartTime(20 * SECOND))
SETUP = Setup(name="here", usual=SLOW)


def test_a_summary_has_the_figures_of_a_replay() -> None:
    outcome = replayed(SETUP, calls(0, 0, 60))
    found = summary(SETUP, outcome, 10 * SECOND)

    assert (found.calls, found.cold, found.refused, found.lost) == (3, 2, 1, 0)
    assert found.waits_ns == (20 * SECOND, None, None)  # one of three never began
    assert found.share_in_time == 1 / 3
    assert found.gpu_hours == outcome.device_ns / HOUR
    assert found.dollars is None
    assert found.record()["wait_p50_s"] == 20.0
    assert found.record()["wait_p99_s"] is None


def test_a_price_makes_dollars() -> None:
    quick = Behaviour(policy=Policy(max=1), start=StartTime(SECOND))
    priced = Setup(name="here", usual=quick, price_micro_usd=2_000_000)
    outcome = replayed(priced, calls(0))

    assert summary(priced, outcome, SECOND).dollars == outcome.micro_usd / 1e6
    assert outcome.micro_usd == outcome.device_ns * 2_000_000 // HOUR


def test_each_endpoint_has_devices_of_its_own() -> None:
    traffic = [*calls(0, name="app/a"), *calls(0, name="app/b")]
    outcome = replayed(SETUP, traffic)

    assert list(outcome.calls.wait_ns) == [20 * SECOND, 20 * SECOND]
    assert set(outcome.uses) == {"app/a", "app/b"}


def test_what_min_keeps_is_there_from_the_beginning() -> None:
    kept = Setup(name="here", usual=replace(SLOW, policy=Policy(min=1, max=2)))

    assert replayed(kept, calls(0)).cold == 0


def test_an_endpoint_that_is_named_behaves_in_its_own_way() -> None:
    batch = Batch(BatchSpec(max=4), Affine(100 * MILLISECOND))
    together = replace(SLOW, concurrency=8, gpus=2, batch=batch, policy=Policy(max=3, hold=9))
    setup = Setup(name="here", usual=SLOW, named={"app/b": together})
    traffic = [*calls(0, name="app/a"), *calls(0, 0, 0, 0, name="app/b")]
    outcome = replayed(setup, traffic)

    assert summary(setup, outcome, SECOND).batch == 4
    assert outcome.uses["app/b"].device_ns == 2 * outcome.uses["app/b"].replica_ns
    assert packed_ns(setup, outcome) == SECOND + 2 * 100 * MILLISECOND
