"""What a planner of nodes comes to on a market that takes machines away: properties of whole campaigns."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug_router.policy.capacity.step import capacity_step
from glowplug_router.records.capacity import Need, Offer
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.simulation.market.campaign import Campaign, Outcome, on_demand_cost, run
from glowplug_router.simulation.market.provider import Market, Outage
from glowplug_router.simulation.market.series import Series, series, series_of_gaps
from glowplug_router.simulation.market.zones import Climate, region


def spot(zone: str) -> Offer:
    return Offer(
        id=f"{zone}/spot",
        type="g",
        zone=zone,
        market="spot",
        price_micro_usd=300_000,
        devices=(("nvidia", 1),),
        launch_p50_ns=180 * SECOND,
        launch_p90_ns=200 * SECOND,
    )


def on_demand(zone: str) -> Offer:
    return Offer(
        id=f"{zone}/od",
        type="g",
        zone=zone,
        market="on_demand",
        price_micro_usd=900_000,
        devices=(("nvidia", 1),),
        launch_p50_ns=60 * SECOND,
        min_billed_ns=MINUTE,
        restart_p90_ns=30 * SECOND,
        stopped_micro_usd=6_000,
    )


def campaign(
    pools: dict[str, Series], notice: int = 1000, critical: int = 0, **more: tuple[Outage, ...]
) -> Campaign:
    return Campaign(
        name="test",
        offers=tuple(make(zone) for zone in pools for make in (spot, on_demand)),
        series={f"{zone}/spot": known for zone, known in pools.items()},
        need=Need(key="gpu", units_permille=3000, critical_permille=critical * 1000),
        until_ns=6 * HOUR,
        notice_permille=notice,
        outages=more.get("outages", ()),
    )


def climate(seed: int) -> dict[str, Series]:
    pools = region(Random(seed), 3, 8, 6 * HOUR, Climate(hazard_permille=2000))
    return {f"z{number}": known for number, known in enumerate(pools)}


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from((0, 500, 1000)), st.integers(0, 3))
def test_a_step_on_what_was_planned_does_nothing_whatever_the_market_does(
    seed: int, notice: int, critical: int
) -> None:
    outcome = run(campaign(climate(seed), notice, critical), capacity_step, seed, check=True)

    assert outcome.not_idempotent == 0
    assert outcome.micro_usd >= outcome.bound_micro_usd


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 10_000))
def test_the_same_seed_has_the_same_outcome(seed: int) -> None:
    def once() -> Outcome:
        return run(campaign(climate(seed), 500), capacity_step, seed)

    assert once() == once()


def test_with_notice_nothing_is_missed_and_it_costs_far_less_than_on_demand() -> None:
    known = campaign(climate(3))
    outcome = run(known, capacity_step, 3)

    assert outcome.losses or outcome.launches > 3
    assert outcome.availability == 1.0
    assert outcome.micro_usd < 0.9 * on_demand_cost(known, outcome.metered_ns)


def test_a_lost_zone_leaves_the_critical_reservation() -> None:
    pools = {zone: Series((0,), (9,)) for zone in "abc"}
    outages = tuple(
        Outage(zone=zone, from_ns=n * HOUR, until_ns=n * HOUR + 30 * MINUTE)
        for n, zone in enumerate("abc", start=2)
    )

    outcome = run(campaign(pools, 0, 2, outages=outages), capacity_step, 1)
    reckless = run(campaign(pools, 0, 0, outages=outages), capacity_step, 1)

    assert outcome.critical_ns == 0
    assert outcome.losses >= 3
    assert min(ready for at, ready in reckless.timeline if at > HOUR) < 2000


# -- the market itself


def market(counts: dict[int, int], notice: int = 1000) -> Market:
    offers = (spot("a"), on_demand("a"))
    return Market(offers, {"a/spot": series(counts.items())}, Random(1), notice)


def launch(market: Market, name: str, offer: str = "a/spot") -> bool:
    return market.apply(Launch(id=name, node=name, offer=offer, deadline_ns=0, reason=""))


@pytest.mark.parametrize("notice", [0, 1000])
def test_nodes_go_when_capacity_falls_with_or_without_notice(notice: int) -> None:
    known = market({0: 2, HOUR: 1}, notice)

    assert [launch(known, name) for name in "xyz"] == [True, True, False]
    known.advance(HOUR - 1)
    assert known.ready() == 2
    assert [node.leaves_ns for node in known.nodes() if node.leaves_ns] == [HOUR] * (notice // 1000)
    known.advance(HOUR)
    assert known.ready() == 1
    tally = known.tallies["a/spot"]
    assert (tally.launched, tally.refused, tally.lost) == (2, 1, 1)
    assert tally.noticed == notice // 1000


def test_no_node_is_had_that_would_go_at_once() -> None:
    known = market({0: 1, HOUR: 0, 2 * HOUR: 1})
    known.advance(HOUR - 100 * SECOND)

    assert not launch(known, "x")
    known.advance(2 * HOUR)
    assert launch(known, "x")


def test_held_time_is_paid_and_stopped_time_costs_the_disk() -> None:
    known = market({0: 1})
    launch(known, "x", "a/od")
    known.advance(HOUR)
    assert known.spent == pytest.approx(900_000)
    known.apply(Terminate(id="", node="x", deadline_ns=0, reason="", stop=True))
    known.advance(2 * HOUR)
    assert known.spent == pytest.approx(906_000)
    assert launch(known, "x", "a/od")
    known.advance(2 * HOUR + 40 * SECOND)
    assert known.ready() == 1
    known.apply(Terminate(id="", node="x", deadline_ns=0, reason=""))
    known.apply(Terminate(id="", node="x", deadline_ns=0, reason=""))
    assert known.spent == pytest.approx(906_000 + 900_000 / 60)  # a minute at least


def test_series_can_be_stretched_repeated_and_read_from_counts() -> None:
    known = series_of_gaps([1, 1, 0, 2], MINUTE)

    assert known.counts == (1, 0, 2)
    assert known.at(2 * MINUTE) == 0
    assert known.least(0, 3 * MINUTE) == 0
    assert list(known.drops()) == [(2 * MINUTE, 0)]
    assert known.scaled(2000).at(4 * MINUTE) == 0
    assert known.repeated(4 * MINUTE, 8 * MINUTE).at(6 * MINUTE) == 0
