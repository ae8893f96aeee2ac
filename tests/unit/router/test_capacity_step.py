"""Which nodes are launched, stopped and given back, step by step."""

from dataclasses import replace
from typing import Any

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug_router.policy.capacity.step import capacity_step
from glowplug_router.policy.capacity.view import CapacityPlan, CapacityView
from glowplug_router.records.capacity import (
    CapacityMemory,
    Limits,
    Need,
    NeedMemory,
    Offer,
    OfferTally,
)
from glowplug_router.records.decided import Launch
from glowplug_router.records.observed import Node

NOW = 100 * HOUR


def offer(zone: str, market: str = "spot", **fields: Any) -> Offer:
    spot = market == "spot"
    start_ns = (180 if spot else 60) * SECOND
    known: dict[str, Any] = {
        "id": f"g/{zone}/{market}",
        "type": "g",
        "zone": zone,
        "market": market,
        "price_micro_usd": 300_000 if spot else 900_000,
        "devices": (("nvidia", 1),),
        "launch_p50_ns": start_ns,
        "launch_p90_ns": start_ns,
        "min_billed_ns": MINUTE,
    }
    return Offer(**known | fields)


OFFERS = tuple(offer(zone, market) for zone in "ab" for market in ("spot", "on_demand"))
# All losses of zone a were told beforehand; it is about as risky as one that nobody knows.
TOLD = (OfferTally(offer="g/a/spot", launched=99, lost=98, noticed=98, held_ns=470 * HOUR),)


def node(name: str, offer: str, state: str = "ready", **fields: Any) -> Node:
    known: dict[str, Any] = {"id": name, "cpu_milli": 0, "memory_bytes": 0, "since_ns": HOUR}
    return Node(offer=offer, state=state, **known | fields)  # type: ignore[arg-type]  # a literal


def view(
    units: int = 2, nodes: tuple[Node, ...] = (), critical: int = 0, **fields: Any
) -> CapacityView:
    need = Need(key="gpu", units_permille=units * 1000, critical_permille=critical * 1000)
    known: dict[str, Any] = {"needs": (need,), "offers": OFFERS, "tallies": TOLD}
    return CapacityView(epoch=1, nodes=nodes, **known | fields)


def step(seen: CapacityView, memory: CapacityMemory | None = None) -> CapacityPlan:
    return capacity_step(seen, memory or CapacityMemory(), NOW)


def said(plan: CapacityPlan) -> list[str]:
    """Return what a plan does, briefly."""
    found = []
    for action in plan.actions:
        if isinstance(action, Launch):
            found.append(f"launch {action.offer}")
        else:
            found.append(f"{'stop' if action.stop else 'end'} {action.node}")
    return found


def planned(seen: CapacityView, plan: CapacityPlan) -> CapacityView:
    """Return the view with what is intended."""
    nodes = {known.id: known for known in seen.nodes}
    for action in plan.actions:
        if isinstance(action, Launch):
            nodes[action.node] = node(action.node, action.offer, "launching", since_ns=NOW)
        else:
            nodes[action.node] = replace(nodes[action.node], state="leaving")
    return replace(seen, nodes=tuple(nodes.values()))


def test_spot_is_launched_with_a_stand_in_for_the_time_it_takes_to_start() -> None:
    plan = step(view())

    assert said(plan).count("launch g/a/spot") + said(plan).count("launch g/b/spot") == 2
    assert sum("on_demand" in line for line in said(plan)) == 2
    assert len({action.id for action in plan.actions}) == 4
    assert len({action.node for action in plan.actions}) == 4


def test_a_step_on_the_planned_state_does_nothing() -> None:
    seen = view()
    plan = step(seen)

    again = step(planned(seen, plan), plan.memory)

    assert again.actions == ()
    assert again.memory.serial == plan.memory.serial


def test_spot_that_starts_as_quickly_needs_no_stand_in() -> None:
    quick = tuple(replace(o, launch_p50_ns=SECOND, launch_p90_ns=SECOND) for o in OFFERS)

    assert all("spot" in line for line in said(step(view(offers=quick))))


def test_a_node_with_notice_is_replaced_at_once_and_told_apart() -> None:
    leaving = node("x", "g/a/spot", leaves_ns=NOW + 120 * SECOND)
    plan = step(view(nodes=(leaving, node("y", "g/b/spot"))))

    assert sorted(line.split("/")[-1] for line in said(plan)) == ["on_demand", "spot"]
    assert plan.leaving == (("x", NOW + 120 * SECOND),)


def test_who_is_replaced_before_it_is_taken_away_goes_early() -> None:
    leaving = node("x", "g/a/spot", leaves_ns=NOW + 20 * SECOND)

    plan = step(view(1, (leaving, node("y", "g/b/spot"))))

    assert said(plan) == ["end x"]


def test_the_race_ends_when_enough_is_ready() -> None:
    ready = (node("x", "g/a/spot"), node("y", "g/b/spot"))
    late = node("z", "g/a/on_demand", "launching", since_ns=NOW - 30 * SECOND)

    assert said(step(view(nodes=(*ready, late)))) == ["end z"]


def test_on_demand_goes_when_spot_is_ready_and_its_minimum_is_paid() -> None:
    young = node("s", "g/a/spot", since_ns=NOW - SECOND)
    filler = node("f", "g/a/on_demand", since_ns=NOW - 10 * MINUTE)
    fresh = node("f", "g/a/on_demand", since_ns=NOW - SECOND)
    hourly = tuple(replace(o, min_billed_ns=HOUR) for o in OFFERS)

    assert said(step(view(1, (young, filler)))) == ["end f"]
    waiting = step(view(1, (young, fresh), offers=hourly))
    assert waiting.actions == ()
    assert waiting.due_ns is not None
    assert waiting.due_ns <= NOW + 5 * MINUTE
    sure = replace(young, since_ns=NOW - 5 * MINUTE)
    assert said(step(view(1, (sure, fresh), offers=hourly))) == ["end f"]


def test_a_filler_that_is_still_needed_stays() -> None:
    filler = node("f", "g/a/on_demand")
    starting = node("s", "g/a/spot", "launching", since_ns=NOW)

    assert step(view(1, (filler, starting))).actions == ()


def test_too_much_spot_goes_the_starting_and_the_riskiest_first() -> None:
    nodes = (
        node("x", "g/a/spot"),
        node("y", "g/b/spot"),
        node("z", "g/b/spot", "launching", since_ns=NOW),
    )

    assert said(step(view(2, nodes))) == ["end z"]
    assert said(step(view(1, nodes))) == ["end z", "end x"]  # zone a lost nodes before


def test_a_node_with_replicas_is_first_left_by_them() -> None:
    nodes = (node("x", "g/b/spot"), node("y", "g/b/spot"))
    plan = step(view(1, nodes, occupied=frozenset({"x", "y"})))

    assert plan.actions == ()
    assert plan.unwanted == ("x",)


def test_an_offer_that_refused_waits_and_the_other_zone_is_asked() -> None:
    refused = (
        *TOLD,
        OfferTally(offer="g/b/spot", refused=1, last_refused_ns=NOW),
    )
    plan = step(view(1, tallies=refused))

    assert "launch g/a/spot" in said(plan)
    assert any(row.refusals == 1 for row in plan.memory.offers)


def test_without_spot_on_demand_carries_and_spot_is_asked_again() -> None:
    refused = tuple(
        OfferTally(offer=f"g/{zone}/spot", refused=1, last_refused_ns=NOW) for zone in "ab"
    )
    plan = step(view(1, tallies=refused))

    assert said(plan) == ["launch g/a/on_demand"]
    assert plan.explain[0].rule == "fallback"
    assert plan.due_ns is not None
    assert plan.due_ns <= NOW + 200 * SECOND


def test_with_nothing_to_be_had_that_is_said() -> None:
    plan = step(view(1, offers=()))

    assert plan.actions == ()
    assert plan.explain[0].rule == "no_capacity"


def test_the_critical_reservation_survives_the_loss_of_a_zone() -> None:
    plan = step(view(4, critical=3, tallies=()))
    spot = [line for line in said(plan) if "spot" in line]

    assert spot.count("launch g/a/spot") == spot.count("launch g/b/spot") == 3


def test_a_full_zone_is_better_than_nothing() -> None:
    one_zone = tuple(o for o in OFFERS if o.zone == "a")
    plan = step(view(3, critical=3, offers=one_zone))

    assert said(plan).count("launch g/a/on_demand") == 3


def test_nodes_in_one_zone_are_spread_before_any_is_given_back() -> None:
    crowded = tuple(node(f"n{number}", "g/a/spot") for number in range(4))
    seen = view(4, crowded, critical=2, tallies=())
    plan = step(seen)

    assert all(line.startswith("launch g/b/") for line in said(plan))
    assert step(planned(seen, plan), plan.memory).actions == ()
    spread = (*crowded, node("m0", "g/b/spot"), node("m1", "g/b/spot"))
    assert said(step(view(4, spread, critical=2, tallies=()))) == ["end n0", "end n1"]


def test_an_unneeded_node_is_stopped_and_then_given_back() -> None:
    stoppable = offer("a", "on_demand", launch_p50_ns=180 * SECOND, launch_p90_ns=180 * SECOND)
    stoppable = replace(stoppable, restart_p90_ns=60 * SECOND, stopped_micro_usd=9_000)
    ready = node("x", stoppable.id)
    plan = step(view(0, (ready,), offers=(stoppable,)))
    stopped = replace(ready, state="stopped", since_ns=NOW)

    assert said(plan) == ["stop x"]
    kept = step(view(0, (stopped,), offers=(stoppable,)))
    assert kept.actions == ()
    old = replace(stopped, since_ns=NOW - 8 * 24 * HOUR)
    assert said(step(view(0, (old,), offers=(stoppable,)))) == ["end x"]
    # And when it is wanted again it is started, before anything new.
    assert said(step(view(1, (stopped,), offers=(stoppable,)))) == [f"launch {stoppable.id}"]
    assert step(view(1, (stopped,), offers=(stoppable,))).actions[0].node == "x"


def test_a_stopped_node_of_an_offer_that_refuses_stays_stopped() -> None:
    stoppable = offer("a", "on_demand", restart_p90_ns=SECOND, stopped_micro_usd=9_000)
    stopped = node("x", stoppable.id, "stopped", since_ns=NOW)
    tally = OfferTally(offer=stoppable.id, refused=1, last_refused_ns=NOW)

    plan = step(view(1, (stopped,), offers=(stoppable,), tallies=(tally,)))

    assert plan.actions == ()


def test_nodes_nobody_needs_go_and_so_do_those_that_are_offered_no_more() -> None:
    stoppable = offer("a", "on_demand", restart_p90_ns=SECOND, stopped_micro_usd=9_000)
    nodes = (
        node("x", "g/a/spot"),
        node("strange", "nobody/knows"),
        node("going", "g/a/spot", "leaving"),
        node("old", stoppable.id, "stopped", since_ns=0),
        node("young", stoppable.id, "stopped", since_ns=NOW),
    )
    seen = view(nodes=nodes, needs=(), offers=(offer("a"), stoppable))

    plan = step(seen)

    assert said(plan) == ["end x", "end strange", "end old"]
    assert plan.due_ns is not None


def test_an_orphan_is_taken_over_by_a_need_that_it_can_hold() -> None:
    memory = CapacityMemory(needs=(NeedMemory(key="gone", nodes=("x",)),))

    plan = capacity_step(view(1, (node("x", "g/a/spot"),)), memory, NOW)

    assert plan.actions == ()
    assert plan.memory.needs == (NeedMemory(key="gpu", nodes=("x",)),)


def test_two_needs_do_not_take_each_others_nodes_nor_more_than_the_quota() -> None:
    scarce = tuple(replace(o, quota=1) for o in OFFERS if o.zone == "a")
    needs = tuple(Need(key=key, units_permille=1000) for key in ("one", "two"))

    plan = step(view(needs=needs, offers=scarce))

    assert sorted(said(plan)) == ["launch g/a/on_demand", "launch g/a/spot"]
    assert plan.explain[1].rule == "no_capacity"


def test_spot_that_is_hardly_cheaper_or_too_risky_is_not_had() -> None:
    dear = tuple(replace(o, price_micro_usd=899_999) for o in OFFERS)
    lossy = tuple(
        OfferTally(offer=f"g/{zone}/spot", launched=50, lost=50, held_ns=HOUR) for zone in "ab"
    )

    assert all("on_demand" in line for line in said(step(view(offers=dear))))
    assert all("on_demand" in line for line in said(step(view(tallies=lossy))))


def test_where_only_spot_is_allowed_there_is_no_stand_in() -> None:
    spot = tuple(o for o in OFFERS if o.market == "spot")

    assert said(step(view(2, offers=spot, tallies=()))) == ["launch g/a/spot", "launch g/b/spot"]


def test_without_notice_and_with_losses_a_spare_is_bought_and_is_the_answer_to_itself() -> None:
    silent = tuple(
        OfferTally(offer=f"g/{zone}/spot", launched=9, lost=9, held_ns=4 * HOUR) for zone in "ab"
    )
    nodes = (node("x", "g/a/spot"), node("y", "g/b/spot"))
    seen = view(2, nodes, tallies=silent)
    plan = step(seen)

    assert plan.memory.needs[0].spare >= 1
    assert any("spot" in line for line in said(plan))
    assert step(planned(seen, plan), plan.memory).actions == ()


def test_a_strained_budget_is_explained_and_remembered() -> None:
    limits = Limits(budget_micro_usd=10, spent_micro_usd=20, degrade="spot_only")
    plan = step(view(1, limits=limits))

    assert plan.explain[0].subject == "budget"
    assert plan.memory.is_strained
    assert not any("on_demand" in line for line in said(plan))


def test_a_node_may_be_of_an_offer_that_was_never_counted() -> None:
    plan = step(view(1, (node("x", "g/b/spot"),), tallies=()))

    assert plan.actions == ()
    assert plan.memory.offers == ()


def test_an_offer_may_be_as_full_as_its_quota_says() -> None:
    only = (replace(offer("a", "on_demand"), quota=2),)

    plan = step(view(3, (node("x", only[0].id),), offers=only))

    assert said(plan) == [f"launch {only[0].id}"]
    assert plan.explain[0].rule == "no_capacity"


def test_markets_that_are_not_allowed_are_not_launched() -> None:
    plan = step(view(2, limits=Limits(markets=("on_demand",))))

    assert all("on_demand" in line for line in said(plan))
