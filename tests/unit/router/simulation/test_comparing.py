from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from glowplug.clock import HOUR, MILLISECOND, MINUTE, SECOND
from glowplug.spec import BatchSpec, Policy
from glowplug_router.records.capacity import Limits, Market
from glowplug_router.simulation.comparing import Behaviour, Setup, packed_ns, replayed, summary
from glowplug_router.simulation.market.lending import Lending
from glowplug_router.simulation.replay import Affine, Batch, Request, StartTime
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


def lent(*markets: Market, **limits: Any) -> Setup:
    lending = Lending(
        price_micro_usd=3_600_000, limits=Limits(markets=markets or ("on_demand",), **limits)
    )
    many = Behaviour(policy=Policy(max=4, zero_after_ns=5 * MINUTE), start=StartTime(SECOND))
    return Setup(name="lent", usual=many, price_micro_usd=3_600_000, lending=lending)


def test_lent_machines_are_waited_for_and_paid() -> None:
    traffic = [*calls(0, name="app/a"), *calls(0, 1800, name="app/b")]
    setup = lent()
    outcome = replayed(setup, sorted(traffic, key=lambda call: call.at_ns))
    found = summary(setup, outcome, 10 * SECOND)

    assert all(50 * SECOND < wait < 80 * SECOND for wait in outcome.calls.wait_ns)
    assert found.launched is not None
    assert found.launched >= 3
    assert found.reclaimed == 0
    assert found.dollars == outcome.micro_usd / 1e6
    assert outcome.micro_usd >= outcome.device_hours * 3_600_000
    assert outcome.violations == ()


def test_two_setups_meet_the_same_weather() -> None:
    traffic = calls(*range(0, 4 * 3600, 60))
    spot, both = lent("spot"), lent("spot", "on_demand")
    first, second = replayed(spot, traffic), replayed(both, traffic)

    assert second.micro_usd >= first.micro_usd, "on-demand stands in where there is no spot"
    assert second.calls.waits().share_within(10 * SECOND) > 0.9
    assert replayed(spot, traffic).digest == first.digest


def test_a_budget_that_is_spent_launches_no_more() -> None:
    traffic = calls(*range(0, 6 * 3600, 900))
    capped = lent(budget_micro_usd=1_000_000, degrade="cap")

    free, held = replayed(lent(), traffic), replayed(capped, traffic)

    assert held.launched < free.launched
    assert held.micro_usd < free.micro_usd


def test_whoever_watches_sees_each_call_once() -> None:
    traffic = [*calls(0, 1, name="app/a"), *calls(2, name="app/b")]
    seen: list[Request] = []

    def over(requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            seen.append(request)
            yield request

    for setup in (SETUP, lent()):
        seen.clear()
        replayed(setup, traffic, over=over)
        assert sorted(request.at_ns for request in seen) == [0, SECOND, 2 * SECOND]
