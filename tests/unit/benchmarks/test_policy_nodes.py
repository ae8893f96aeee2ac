"""Do the planners of nodes that we compare ourselves with do what is documented of them?"""

from collections import Counter
from dataclasses import replace

import pytest
from policy.baselines.nodes import RETRY_NS, TICK_NS, SpotHedge, Spread, on_demand_only

from glowplug.clock import HOUR, SECOND
from glowplug_router.policy.capacity.view import CapacityPlan, CapacityView
from glowplug_router.records.capacity import CapacityMemory, Need, NodeState, Offer, OfferTally
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Node

NOW = HOUR
MEMORY = CapacityMemory()


def offer(zone: str, market: str, price: int) -> Offer:
    return Offer(
        id=f"g/{zone}/{market}",
        type="g",
        zone=zone,
        market="spot" if market == "spot" else "on_demand",
        price_micro_usd=price,
    )


OFFERS = (
    offer("a", "spot", 300),
    offer("b", "spot", 310),
    offer("c", "spot", 320),
    offer("a", "od", 900),
    offer("b", "od", 901),
)


def node(name: str, offer: str, state: NodeState = "ready", since_ns: int = 0) -> Node:
    return Node(
        id=name, cpu_milli=0, memory_bytes=0, offer=f"g/{offer}", state=state, since_ns=since_ns
    )


def view(units: int, *nodes: Node, refused: str = "", at_ns: int = NOW) -> CapacityView:
    tallies = (
        OfferTally(offer=one.id, refused=int(one.id == refused), last_refused_ns=at_ns)
        for one in OFFERS
    )
    need = Need(key="gpu", units_permille=units * 1000)
    return CapacityView(epoch=1, needs=(need,), offers=OFFERS, nodes=nodes, tallies=tuple(tallies))


def launched(plan: CapacityPlan) -> Counter[str]:
    return Counter(one.offer[2:] for one in plan.actions if isinstance(one, Launch))


def ended(plan: CapacityPlan) -> set[str]:
    return {one.node for one in plan.actions if isinstance(one, Terminate)}


@pytest.mark.parametrize(
    ("extra", "spot", "fallback"),
    # e=0: as much spot as needed; on-demand = min(need, need + e - ready spot)
    [(0, 3, 3), (1, 4, 3), (2, 5, 3)],
)
def test_spothedge_launches_need_and_extra_on_spot_and_on_demand_until_spot_is_ready(
    extra: int, spot: int, fallback: int
) -> None:
    found = launched(SpotHedge(extra)(view(3), MEMORY, NOW))

    assert sum(count for name, count in found.items() if name.endswith("spot")) == spot
    assert found["a/od"] == fallback


@pytest.mark.parametrize(
    ("extra", "ready", "fallback"), [(0, 2, 1), (1, 3, 1), (1, 4, 0), (2, 3, 2)]
)
def test_spothedge_keeps_as_much_on_demand_as_ready_spot_is_short(
    extra: int, ready: int, fallback: int
) -> None:
    nodes = [node(f"s{number}", "a/spot") for number in range(ready)]
    nodes += [node(f"x{number}", "b/spot", "launching") for number in range(3 + extra - ready)]
    nodes += [node(f"d{number}", "a/od", since_ns=number) for number in range(3)]

    assert len(ended(SpotHedge(extra)(view(3, *nodes), MEMORY, NOW))) == 3 - fallback


def test_spothedge_spreads_over_free_zones_then_takes_the_cheapest_one() -> None:
    found = launched(SpotHedge(0)(view(5), MEMORY, NOW))

    assert (found["a/spot"], found["b/spot"], found["c/spot"]) == (3, 1, 1)


def test_spothedge_avoids_a_zone_that_refused_until_a_node_is_ready_there() -> None:
    hedge = SpotHedge(0)

    assert launched(hedge(view(1, refused="g/a/spot"), MEMORY, NOW))["b/spot"] == 1
    hedge.tick_ns = 0
    ready = view(2, node("s", "a/spot"))
    assert launched(hedge(ready, MEMORY, NOW)) == {"b/spot": 1, "a/od": 1}
    assert not hedge.preempted


def test_spothedge_avoids_a_zone_that_lost_a_node() -> None:
    hedge = SpotHedge(0)
    hedge(view(1, node("s", "a/spot")), MEMORY, NOW)

    found = launched(hedge(view(1), MEMORY, NOW + TICK_NS))

    assert found["b/spot"] == 1


def test_spothedge_forgives_all_zones_when_fewer_than_two_are_left() -> None:
    hedge = SpotHedge(0, preempted={"g/a/spot", "g/b/spot"})

    assert launched(hedge(view(1), MEMORY, NOW))["a/spot"] == 1


def test_spothedge_decides_at_its_ticks_only_and_rests_when_all_is_there() -> None:
    hedge = SpotHedge(0)
    first = hedge(view(1), MEMORY, NOW)

    between = hedge(view(9), MEMORY, NOW + TICK_NS - 1)
    calm = hedge(view(1, node("s", "a/spot")), MEMORY, NOW + TICK_NS)

    assert first.due_ns == NOW + TICK_NS
    assert not between.actions
    assert (calm.actions, calm.due_ns) == ((), None)


def test_spothedge_gives_back_what_starts_before_what_is_ready() -> None:
    nodes = (node("s", "a/spot"), node("x", "b/spot", "launching"))

    assert ended(SpotHedge(0)(view(1, *nodes), MEMORY, NOW)) == {"x"}


@pytest.mark.parametrize(("permille", "base"), [(0, 0), (100, 1), (500, 2)])
def test_a_group_has_its_share_on_demand_and_the_rest_evenly_over_zones(
    permille: int, base: int
) -> None:
    found = launched(Spread(permille)(view(4), MEMORY, NOW))
    spot = [count for name, count in found.items() if name.endswith("spot")]

    assert found["a/od"] == base
    assert sum(spot) == 4 - base
    assert max(spot) - min(spot) <= 1


def test_a_group_asks_a_zone_that_refused_again_after_a_minute() -> None:
    seen = view(3, refused="g/a/spot")

    early = Spread(0)(seen, MEMORY, NOW + RETRY_NS - 1)
    late = Spread(0)(seen, MEMORY, NOW + RETRY_NS)

    assert launched(early) == {"b/spot": 2, "c/spot": 1}
    assert launched(late) == {"a/spot": 1, "b/spot": 1, "c/spot": 1}
    assert early.due_ns == NOW + RETRY_NS - 1 + RETRY_NS


def test_a_group_without_any_zone_waits() -> None:
    spot = tuple(one for one in OFFERS if one.zone == "a")
    seen = replace(view(2, refused="g/a/spot"), offers=spot)

    assert not Spread(0)(seen, MEMORY, NOW + SECOND).actions


def test_on_demand_alone_is_launched_once_and_kept() -> None:
    first = on_demand_only(view(2), MEMORY, NOW)
    nodes = (node("d1", "a/od"), node("d2", "a/od"))

    assert launched(first) == {"a/od": 2}
    assert first.memory.serial == 2
    assert not on_demand_only(view(2, *nodes), first.memory, NOW).actions
