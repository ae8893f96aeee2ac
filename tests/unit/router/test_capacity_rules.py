"""The rules that decide about nodes, one by one."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug_router.policy.capacity.budget import (
    allowance,
    is_allowed,
    on_demand_allowed,
    units_allowed,
)
from glowplug_router.policy.capacity.envelope import is_spent, is_stoppable, keep_stopped_ns
from glowplug_router.policy.capacity.filler import (
    is_paid_off,
    is_sure,
    pays_to_fill,
    pays_to_switch,
)
from glowplug_router.policy.capacity.hazard import hazard_micro, noted, noticed_permille
from glowplug_router.policy.capacity.notices import call_limits, expected_ns
from glowplug_router.policy.capacity.offers import (
    Loss,
    expected_short_ns,
    miss_micro_usd,
    risk_price,
    units_of,
)
from glowplug_router.policy.capacity.overprovision import SPARE_MAX, spare_nodes
from glowplug_router.policy.capacity.portfolio import (
    Priced,
    chosen,
    total_needed,
    usable_zones,
    zone_cap,
)
from glowplug_router.policy.capacity.refusals import delay_of, jittered_ns, refusals_noted
from glowplug_router.records.capacity import Limits, Need, Offer, OfferMemory, OfferTally
from glowplug_router.records.observed import Node

SPOT = Offer(
    id="g6/a/spot",
    type="g6",
    zone="a",
    market="spot",
    price_micro_usd=300_000,
    devices=(("nvidia", 4),),
    model="NVIDIA L4",
    device_memory_bytes=24,
    cpu_milli=8000,
    memory_bytes=100,
    launch_p50_ns=180 * SECOND,
    launch_p90_ns=200 * SECOND,
)
ON_DEMAND = Offer(
    id="g6/a/od",
    type="g6",
    zone="a",
    market="on_demand",
    price_micro_usd=900_000,
    devices=(("nvidia", 4),),
    launch_p50_ns=180 * SECOND,
    min_billed_ns=MINUTE,
    restart_p90_ns=60 * SECOND,
    stopped_micro_usd=6_000,
)


# -- hazard


def test_an_offer_nobody_held_has_the_hazard_of_its_market() -> None:
    assert hazard_micro(None, "spot") == 200_000
    assert hazard_micro(None, "on_demand") == 100
    assert hazard_micro(OfferMemory(offer="o"), "spot") == 200_000


def test_losses_raise_a_hazard_and_quiet_hours_lower_it() -> None:
    start = OfferMemory(offer="o", decayed_ns=1)
    quiet = noted(start, OfferTally(offer="o", held_ns=9 * HOUR), 1)
    lossy = noted(start, OfferTally(offer="o", held_ns=9 * HOUR, lost=3), 1)
    refused = noted(start, OfferTally(offer="o", held_ns=9 * HOUR, refused=50), 1)

    assert hazard_micro(quiet, "spot") == 20_000
    assert hazard_micro(lossy, "spot") == 320_000
    assert hazard_micro(refused, "spot") == 120_000  # fifty refusals weigh as much as one loss


def test_what_happened_yesterday_counts_half() -> None:
    memory = noted(OfferMemory(offer="o"), OfferTally(offer="o", lost=8, held_ns=HOUR), HOUR)

    later = noted(memory, OfferTally(offer="o", lost=8, held_ns=HOUR), 25 * HOUR)

    assert later.lost_micro == pytest.approx(4_000_000, rel=1e-4)
    assert later.held_decayed_ns == pytest.approx(HOUR / 2, rel=1e-4)


def test_hearing_the_same_tally_often_changes_nothing_but_its_age() -> None:
    tally = OfferTally(offer="o", lost=5, refused=2, held_ns=3 * HOUR)
    once = noted(OfferMemory(offer="o"), tally, HOUR)
    often = once
    for second in range(1, 600):
        often = noted(often, tally, HOUR + second * SECOND)

    assert noted(once, tally, HOUR + 599 * SECOND).lost_micro == pytest.approx(
        often.lost_micro, abs=20
    )


def test_counters_that_begin_again_are_news() -> None:
    memory = noted(OfferMemory(offer="o"), OfferTally(offer="o", lost=5, held_ns=HOUR), 1)

    assert noted(memory, OfferTally(offer="o", lost=1), 1).lost_micro == 6_000_000


def test_how_often_notice_comes_is_learned_from_spot() -> None:
    told = OfferTally(offer="s", lost=8, noticed=8)
    other = OfferTally(offer="d", lost=100)

    assert noticed_permille((), {"s"}) == 500
    assert noticed_permille((told, other), {"s"}) == 900


# -- refusals


def test_an_offer_that_refuses_waits_longer_each_time_up_to_half_an_hour() -> None:
    assert [delay_of(n) // MINUTE for n in range(1, 7)] == [3, 6, 12, 24, 30, 30]


def test_a_refusal_makes_only_its_own_offer_wait_and_a_launch_ends_that() -> None:
    tally = OfferTally(offer="o", refused=1, last_refused_ns=10 * SECOND)
    waiting = refusals_noted(OfferMemory(offer="o"), tally, 7, 11 * SECOND)
    launched = OfferTally(offer="o", refused=1, launched=1)

    assert waiting.refusals == 1
    assert 10 * SECOND + 162 * SECOND <= waiting.retry_at_ns <= 10 * SECOND + 198 * SECOND
    heard = noted(waiting, tally, 11 * SECOND)
    assert refusals_noted(heard, tally, 7, 12 * SECOND) == heard
    assert refusals_noted(heard, launched, 7, 12 * SECOND).retry_at_ns == 0


@given(st.integers(), st.text(), st.integers(min_value=0))
def test_jitter_is_a_tenth_at_most_and_always_the_same(seed: int, offer: str, count: int) -> None:
    moved = jittered_ns(seed, offer, count, 1000)

    assert 900 <= moved <= 1100
    assert moved == jittered_ns(seed, offer, count, 1000)


# -- what a node can hold, and costs


@pytest.mark.parametrize(
    ("need", "units"),
    [
        (Need(key="n", units_permille=1), 4000),
        (Need(key="n", units_permille=1, count=3), 1000),
        (Need(key="n", units_permille=1, count=8), 0),
        (Need(key="n", units_permille=1, kind="neuron"), 0),
        (Need(key="n", units_permille=1, memory_bytes=50), 2000),
        (Need(key="n", units_permille=1, cpu_milli=16_000), 0),
        (Need(key="n", units_permille=1, device_memory_bytes=48), 0),
        (Need(key="n", units_permille=1, models=("L4",)), 4000),
        (Need(key="n", units_permille=1, models=("A10G",)), 0),
        (Need(key="n", units_permille=1, count=0), 8000),
        (Need(key="n", units_permille=1, count=0, cpu_milli=3000), 2000),
        (Need(key="n", units_permille=1, count=0, memory_bytes=25), 4000),
    ],
)
def test_a_node_holds_as_many_replicas_as_each_of_its_parts_allows(need: Need, units: int) -> None:
    assert units_of(SPOT, need) == units


def test_a_lost_unit_costs_its_stand_in_the_work_and_the_time_it_is_missed() -> None:
    loss = Loss(
        short_ns=MINUTE, miss_micro_usd=600_000, restart_micro_usd=900_000, lost_work_ns=HOUR
    )

    # 180 s of the stand-in, an hour of lost work and a minute of missing, once in two hours.
    assert loss.micro_usd(180 * SECOND, 300_000) == 45_000 + 300_000 + 10_000
    assert risk_price(SPOT, 1000, 0, loss) == 300_000
    assert risk_price(SPOT, 1000, 500_000, loss) == 300_000 + (50_000 + 300_000 + 10_000) // 2


def test_a_missing_hour_costs_what_the_owner_says_or_what_95_percent_are_worth() -> None:
    assert miss_micro_usd(Need(key="n", units_permille=1), 100) == 1900
    assert miss_micro_usd(Need(key="n", units_permille=1, miss_micro_usd=7), 100) == 7


def test_notice_hides_two_minutes_of_a_replacement() -> None:
    assert expected_short_ns(60 * SECOND, 1000) == 0
    assert expected_short_ns(60 * SECOND, 0) == 60 * SECOND
    assert expected_short_ns(180 * SECOND, 500) == 120 * SECOND


# -- portfolio


def priced(zone: str, risk: int, room: int = 9, units: int = 1000) -> Priced:
    offer = Offer(id=f"g/{zone}", type="g", zone=zone, market="spot", price_micro_usd=risk)
    return Priced(offer=offer, units=units, risk_micro_usd=risk, room=room, hazard=0)


def test_the_cheapest_offer_is_taken_until_its_zone_is_full() -> None:
    found, missing = chosen([priced("a", 1), priced("b", 2)], 4000, {}, 3000)

    assert [offer.zone for offer in found] == ["a", "a", "a", "b"]
    assert missing == 0


def test_what_quota_and_caps_do_not_allow_is_missing() -> None:
    assert chosen([priced("a", 1, room=1)], 3000, {}, 9000)[1] == 2000
    assert chosen([priced("a", 1)], 3000, {"a": 2000}, 2000) == ([], 3000)


@given(
    st.integers(0, 12),
    st.integers(0, 12),
    st.lists(st.integers(1, 5), min_size=2, max_size=5, unique=True),
)
def test_a_portfolio_survives_the_loss_of_any_zone(
    units: int, critical: int, risks: list[int]
) -> None:
    critical = min(units, critical) * 1000
    total = total_needed(units * 1000, critical, len(risks))
    # Nodes are whole, so the cap is too.
    total = -(-total // 1000) * 1000
    offers = [priced(f"z{n}", risk, room=99) for n, risk in enumerate(risks)]

    found, missing = chosen(offers, total, {}, zone_cap(total, critical, 0))

    zones = [sum(1000 for offer in found if offer.zone == f"z{n}") for n in range(len(risks))]
    assert missing == 0
    assert sum(zones) - max(zones) >= critical


def test_one_zone_cannot_be_spread_and_one_node_always_fits() -> None:
    assert total_needed(3000, 3000, 1) == 3000
    assert total_needed(3000, 3000, 2) == 6000
    assert zone_cap(3000, 3000, 1000) == 1000
    assert usable_zones([priced("a", 1), priced("b", 1, room=0)], {"c": 1000, "d": 0}) == 2


# -- over-provision


def spare(pools: list[tuple[int, int]], now_spare: int = 0, short_s: int = 60) -> int:
    return spare_nodes(
        pools,
        short_ns=short_s * SECOND,
        miss_micro_usd=18_000_000,
        price_micro_usd=300_000,
        now_spare=now_spare,
    )


def test_a_spare_is_bought_when_it_prevents_more_than_it_costs() -> None:
    assert spare([(1, 900_000)]) == 0  # 0.9 losses an hour x a minute x $18 = $0.27
    assert spare([(1, 1_100_000)]) == 1
    assert spare([(4, 1_100_000)]) == SPARE_MAX
    assert spare([(4, 1_100_000)], short_s=0) == 0


def test_a_spare_that_is_there_stays_until_it_is_worth_half() -> None:
    assert spare([(1, 900_000)], now_spare=1) == 1
    assert spare([(1, 400_000)], now_spare=1) == 0


# -- notices, fillers, stopped nodes


def node(state: str = "ready", **fields: int) -> Node:
    assert state in ("launching", "ready", "leaving", "stopped")
    return Node(id="n", cpu_milli=0, memory_bytes=0, offer=SPOT.id, state=state, **fields)  # type: ignore[arg-type]  # asserted above


def test_a_launch_that_is_late_is_expected_ever_later() -> None:
    assert expected_ns(node(expected_ns=90), 0, 80) == 90
    assert expected_ns(node(since_ns=10), 50, 20) == 60
    assert expected_ns(node(expected_ns=90), 0, 100) == 110


def test_no_call_may_outlast_a_node_with_notice() -> None:
    assert call_limits([node(), node(leaves_ns=77)]) == (("n", 77),)


def test_spot_is_trusted_after_five_minutes_and_a_filler_is_paid_off_after_its_minimum() -> None:
    filler = node(since_ns=200 * SECOND)

    assert not is_sure(node(since_ns=0), 5 * MINUTE - 1)
    assert is_sure(node(since_ns=0), 5 * MINUTE)
    hourly = Offer(
        id="h",
        type="h",
        zone="a",
        market="on_demand",
        price_micro_usd=1,
        launch_p50_ns=200 * SECOND,
        min_billed_ns=HOUR,
    )
    assert not is_paid_off(filler, hourly, HOUR - 1)
    assert is_paid_off(filler, hourly, HOUR)


def test_a_stand_in_is_had_only_for_a_gap_that_costs_more_than_it() -> None:
    prices = {"miss_micro_usd": 20, "price_micro_usd": 1, "min_billed_ns": 60}

    assert not pays_to_fill(3, **prices)
    assert pays_to_fill(4, **prices)
    assert not pays_to_fill(0, **prices)


def test_going_back_to_spot_must_save_more_than_both_cost_while_it_starts() -> None:
    def pays(hazard: int, spot_price: int = 300) -> bool:
        return pays_to_switch(
            SPOT, hazard=hazard, spot_unit_micro_usd=spot_price, filler_unit_micro_usd=900
        )

    assert pays(1_000_000)
    assert pays(8_900_000)  # 600 x 404 s against 1,200 x 200 s
    assert not pays(9_100_000)
    assert pays(0)
    assert not pays(0, 900)


def test_only_on_demand_is_stopped_and_until_its_disk_has_cost_what_it_saves() -> None:
    stopped = node("stopped", since_ns=0)

    assert not is_stoppable(SPOT)
    assert keep_stopped_ns(SPOT, 10**9) == 0
    assert is_stoppable(ON_DEMAND)
    # Two minutes sooner at $18 an hour of missing is $0.6: a hundred hours of a disk at $0.006.
    assert keep_stopped_ns(ON_DEMAND, 18_000_000) == 100 * HOUR
    assert not is_spent(stopped, ON_DEMAND, 18_000_000, 100 * HOUR - 1)
    assert is_spent(stopped, ON_DEMAND, 18_000_000, 100 * HOUR)


# -- budget


def test_who_spends_a_budget_too_fast_is_strained_until_the_month_catches_up() -> None:
    def strained(spent: int, was: bool = False) -> bool:
        limits = Limits(budget_micro_usd=1000, spent_micro_usd=spent, month_passed_permille=500)
        return allowance(limits, was).is_strained

    assert not allowance(Limits(), was_strained=True).is_strained
    assert not strained(600)
    assert strained(601)
    assert strained(501, was=True)
    assert not strained(500, was=True)


def test_a_budget_that_is_spent_is_strained_on_the_last_day_too() -> None:
    limits = Limits(budget_micro_usd=1000, spent_micro_usd=1000)

    assert allowance(limits, was_strained=False).is_strained


def test_each_way_to_save_gives_up_one_thing() -> None:
    need = Need(key="n", units_permille=5000, critical_permille=2000, batch_permille=3000)

    def strained(degrade: str) -> Limits:
        assert degrade in ("warn", "cap", "spot_only", "stop_batch")
        return Limits(budget_micro_usd=1, spent_micro_usd=2, degrade=degrade)  # type: ignore[arg-type]  # asserted above

    warn, cap, spot_only, stop_batch = (
        allowance(strained(d), False) for d in ("warn", "cap", "spot_only", "stop_batch")
    )
    assert "warn" in warn.text
    assert units_allowed(need, warn) == 5000
    assert on_demand_allowed(5000, 2000, warn) == 5000
    assert is_allowed(SPOT, Limits(), warn)
    assert not is_allowed(SPOT, Limits(), cap)
    assert on_demand_allowed(5000, 2000, spot_only) == 2000
    assert units_allowed(need, stop_batch) == 2000


def test_markets_and_a_price_cap_rule_offers_out() -> None:
    free = allowance(Limits(), False)

    assert not is_allowed(SPOT, Limits(markets=("on_demand",)), free)
    assert is_allowed(SPOT, Limits(price_cap_micro_usd=300_000), free)
    assert not is_allowed(SPOT, Limits(price_cap_micro_usd=299_999), free)


def test_hazards_stay_finite_over_any_history() -> None:
    random, memory = Random(1), OfferMemory(offer="o")
    lost = held_ns = now_ns = 0
    for _ in range(500):
        now_ns += random.randrange(100 * HOUR)
        lost += random.randrange(3)
        held_ns += random.randrange(10 * HOUR)
        memory = noted(memory, OfferTally(offer="o", lost=lost, held_ns=held_ns), now_ns)
        assert 0 < hazard_micro(memory, "spot") < 10_000_000
