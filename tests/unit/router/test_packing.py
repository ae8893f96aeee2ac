"""Which devices of which node does a replica get: shares, slices, gangs, kinds, prices, artefacts, zones?"""

from dataclasses import replace

import pytest

from glowplug.spec import Policy
from glowplug_router.policy.fitting import never_fits
from glowplug_router.policy.packing.devices import is_model
from glowplug_router.policy.placement import Place, Rooms, place, rooms
from glowplug_router.policy.reasons import needs_text, no_room_text
from glowplug_router.records.capacity import Offer
from glowplug_router.records.decided import Start
from glowplug_router.records.devices import DeviceNeeds, DeviceSlot, Part
from glowplug_router.records.observed import Node, Replica, Served
from unit.router.planning import KEY, NOW, Planning, node, replica, version

GIB = 1 << 30
OTHER = "app/other@1"


def slots(*uuids: str, **others: object) -> tuple[DeviceSlot, ...]:
    made = DeviceSlot(uuid="", model="NVIDIA L40S", memory_bytes=48 * GIB)
    return tuple(replace(made, uuid=uuid, **others) for uuid in uuids)  # type: ignore[arg-type]  # a builder


def machine(id: str, *devices: DeviceSlot, **others: object) -> Node:
    made = Node(id=id, cpu_milli=8000, memory_bytes=64 * GIB, devices=devices, seen_ns=NOW)
    return replace(made, **others)  # type: ignore[arg-type]  # a builder takes any field


def wanting(*needs: DeviceNeeds, key: str = KEY, **others: object) -> Served:
    return version(key, needs=needs, **others)  # type: ignore[arg-type]  # a builder takes any field


def share(permille: int, memory_gib: int = 0, **others: object) -> DeviceNeeds:
    made = DeviceNeeds(share_permille=permille, memory_bytes=memory_gib * GIB)
    return replace(made, **others)  # type: ignore[arg-type]  # a builder takes any field


def places(served: Served, *nodes: Node, count: int = 9, **others: object) -> list[Place | None]:
    made = Rooms(nodes, (), {served.key: served}, **others)  # type: ignore[arg-type]  # offers
    return [made.place(served) for _ in range(count)]


def test_replicas_share_a_device_until_its_compute_is_given() -> None:
    found = places(wanting(share(400)), machine("n", *slots("a", "b")), count=5)

    assert found == [Place("n", (u,)) for u in "aabb"] + [None]


def test_replicas_share_a_device_until_its_memory_is_given() -> None:
    found = places(wanting(share(100, 20)), machine("n", *slots("a")), count=3)

    assert found == [Place("n", ("a",))] * 2 + [None]


def test_a_device_of_unknown_size_is_not_shared_by_those_that_need_memory() -> None:
    unknown = machine("n", *slots("a", memory_bytes=0))

    assert places(wanting(share(100, 1)), unknown, count=2) == [Place("n", ("a",)), None]
    assert places(wanting(share(500)), unknown, count=3) == [Place("n", ("a",))] * 2 + [None]


def test_two_that_are_in_a_hurry_leave_a_fifth_of_a_device_free() -> None:
    urgent = wanting(share(450), policy=Policy(priority="critical"))

    assert places(urgent, machine("n", *slots("a")), count=2) == [Place("n", ("a",)), None]
    modest = wanting(share(300), policy=Policy(priority="critical"))
    assert places(modest, machine("n", *slots("a")), count=3) == [Place("n", ("a",))] * 2 + [None]
    calm = wanting(share(450))
    assert places(calm, machine("n", *slots("a")), count=2) == [Place("n", ("a",))] * 2


def test_a_device_that_is_shared_is_not_given_whole() -> None:
    whole, part = wanting(DeviceNeeds(), key=OTHER), wanting(share(0))
    left = rooms([machine("n", *slots("a"))], [], {})

    assert place(part, left, True) == Place("n", ("a",))
    assert place(whole, left, True) is None


def test_a_slice_of_a_gpu_is_a_device_and_the_gpu_is_none() -> None:
    sliced = machine(
        "n",
        *slots("gpu"),
        *slots(
            "s1", "s2", parent="gpu", profile="1g.10gb", share_permille=142, memory_bytes=10 * GIB
        ),
    )
    named = wanting(DeviceNeeds(profile="1g.10gb"))

    assert places(named, sliced, count=3) == [Place("n", ("s1",)), Place("n", ("s2",)), None]
    assert places(wanting(share(100, 8)), sliced, count=3) == [
        Place("n", ("s1",)), Place("n", ("s2",)), None,
    ]  # fmt: skip
    assert places(wanting(DeviceNeeds()), sliced, count=1) == [None]
    assert places(wanting(DeviceNeeds(profile="2g.20gb")), sliced, count=1) == [None]


def test_a_device_of_any_named_kind_is_given() -> None:
    pool = (
        machine("chip", *slots("c1", "c2", kind="neuron", model="inferentia2")),
        machine("array", *slots("f1", kind="fpga", model="alveo")),
    )

    assert places(wanting(DeviceNeeds(kind="fpga")), *pool, count=2) == [
        Place("array", ("f1",)), None,
    ]  # fmt: skip
    assert places(wanting(DeviceNeeds(kind="neuron", count=2)), *pool, count=1) == [
        Place("chip", ("c1", "c2"))
    ]


def test_unlike_devices_serve_one_version_in_the_order_its_owner_gave() -> None:
    pool = (machine("a", *slots("f1", kind="fpga")), machine("b", *slots("g1")))
    either = wanting(DeviceNeeds(), DeviceNeeds(kind="fpga"))

    assert places(either, *pool, count=3) == [Place("b", ("g1",)), Place("a", ("f1",)), None]


def test_without_any_device_of_its_kinds_auto_runs_without() -> None:
    pool = machine("n", *slots("f1", kind="fpga"))

    assert places(wanting(DeviceNeeds()), pool, count=1) == [Place("n")]
    assert places(wanting(DeviceNeeds(), device="cuda"), pool, count=1) == [None]


def test_what_costs_least_for_its_speed_is_taken_first() -> None:
    offers = (
        Offer(
            id="slow", type="a", zone="z", market="spot", price_micro_usd=500, speed_permille=500
        ),
        Offer(
            id="fast", type="b", zone="z", market="spot", price_micro_usd=800, speed_permille=1000
        ),
    )
    pool = (machine("a", *slots("a1"), offer="slow"), machine("b", *slots("b1"), offer="fast"))

    assert places(wanting(DeviceNeeds()), *pool, count=2, offers=offers) == [
        Place("b", ("b1",)), Place("a", ("a1",)),
    ]  # fmt: skip
    measured = wanting(
        DeviceNeeds(speeds=(("NVIDIA L40S", 1000),))
    )  # as fast there for this version
    assert places(measured, *pool, count=1, offers=offers) == [Place("a", ("a1",))]
    assert places(version(), *pool, count=1, offers=offers) == [Place("a")]


def test_machines_that_go_back_when_empty_are_filled_before_the_next() -> None:
    pool = [machine(id, *slots(f"{id}1", f"{id}2"), offer="o") for id in "ab"]
    bought = places(wanting(DeviceNeeds()), *pool, count=2)
    own = places(wanting(DeviceNeeds()), *(replace(one, offer="") for one in pool), count=2)

    assert [spot.node for spot in bought if spot] == ["a", "a"]
    assert [spot.node for spot in own if spot] == ["a", "b"]


def test_a_node_that_holds_the_artefacts_is_preferred_unless_it_costs_twice_as_much() -> None:
    served = wanting(DeviceNeeds(), artefacts=("bundle", "weights"))
    cold = machine("a", *slots("a1"), offer="cheap")
    warm = machine("b", *slots("b1"), offer="dear", holds=("bundle", "weights"))

    def offers(dear: int) -> tuple[Offer, ...]:
        made = Offer(id="cheap", type="t", zone="z", market="spot", price_micro_usd=1000)
        return (made, replace(made, id="dear", price_micro_usd=dear))

    assert places(served, cold, warm, count=1, offers=offers(1900)) == [Place("b", ("b1",))]
    assert places(served, cold, warm, count=1, offers=offers(2100)) == [Place("a", ("a1",))]
    assert places(version(artefacts=("x",)), cold, warm, count=1) == [Place("a")]


def test_without_a_device_the_node_that_holds_the_artefacts_gets_one_replica_a_cpu_before_others() -> (
    None
):
    pool = (machine("bare", cpu_milli=2000), machine("holds", cpu_milli=2000, holds=("bundle",)))
    found = places(version(artefacts=("bundle",)), *pool, count=5)

    assert [spot.node for spot in found if spot] == ["holds", "holds", "bare", "bare", "holds"]


def test_a_version_that_is_spread_has_its_replicas_in_different_zones() -> None:
    pool = [
        machine(id, *slots(*(f"{id}{n}" for n in range(4))), zone=zone)
        for id, zone in (("a", "z1"), ("b", "z1"), ("c", "z2"))
    ]
    served = wanting(DeviceNeeds(), is_spread=True)
    there = [
        replica("r", node="a", gpus=("a0",)), replica("s", "draining", node="c", gpus=("c0",)),
        replica("t", node="gone"),
    ]  # fmt: skip
    made = Rooms(pool, there, {KEY: served})

    assert [spot.node for _ in range(3) if (spot := made.place(served))] == ["c", "b", "c"]


def test_a_replica_on_a_device_that_its_version_does_not_want_has_all_of_it() -> None:
    served = wanting(DeviceNeeds(share_permille=300, models=("L4",)))
    there = [replica("r", node="a", gpus=("a1",))]
    other = machine("a", *slots("a1", model="NVIDIA A10G"))
    made = Rooms([other], there, {KEY: served})

    assert made.left["a"].used["a1"].share_permille == 1000


@pytest.mark.parametrize("state", ["launching", "leaving", "stopped"])
def test_nothing_starts_on_a_node_that_is_not_ready(state: str) -> None:
    assert places(version(), replace(node(), state=state), count=1) == [None]  # type: ignore[arg-type]  # a state


def test_a_gang_takes_devices_of_one_group_or_none() -> None:
    one = machine("n", *slots("a", "b", group="left"), *slots("c", "d", "e", group="right"))
    gang = wanting(DeviceNeeds(count=3, is_gang=True))

    assert places(gang, one, count=2) == [Place("n", ("c", "d", "e")), None]
    assert places(wanting(DeviceNeeds(count=4, is_gang=True)), one, count=1) == [None]


WIDE = DeviceNeeds(count=3, over_nodes=True)


def test_a_gang_over_nodes_takes_as_few_of_them_as_will_do_and_all_or_none() -> None:
    pool = (
        machine("a", *slots("a1", group="rack")),
        machine("b", *slots("b1", "b2", group="rack")),
        machine("c", *slots("c1", "c2")),
        machine("d", *slots("d1", "d2", group="elsewhere"), state="leaving"),
    )
    found = places(wanting(WIDE), *pool, count=3)

    assert found == [Place("b", ("b1", "b2"), (Part("a", ("a1",)),)), None, None]
    assert places(wanting(replace(WIDE, count=4)), *pool, count=1) == [None]
    assert places(wanting(replace(WIDE, count=2)), *pool, count=1) == [Place("b", ("b1", "b2"))]


def test_a_gang_that_lost_a_part_is_forgotten_and_starts_again() -> None:
    pool = tuple(machine(id, *slots(f"{id}1", group="rack")) for id in "abcd")
    planning = Planning(wanting(WIDE, policy=Policy(min=1)), nodes=pool)
    start = planning.plan().actions[0]
    assert isinstance(start, Start)
    assert (start.node, [part.node for part in start.parts]) == ("a", ["b", "c"])

    planning.observed = replace(
        planning.observed, nodes=tuple(one for one in pool if one.id != "c")
    )
    made = planning.plan()

    assert [type(action).__name__ for action in made.actions] == ["Forget", "Start"]


def test_an_idle_replica_makes_way_for_one_that_shares_its_device() -> None:
    idle = wanting(share(700, 10), permille=0, key=OTHER, policy=Policy())
    urgent = wanting(share(600, 10), policy=Policy(min=1))
    there = Replica(id="r", version=OTHER, node="n", state="ready", gpus=("a",))
    planning = Planning(urgent, idle, nodes=(machine("n", *slots("a")),), replicas=(there,))
    planning.plan()
    planning.after(3 * 10**9)
    planning.drop("r")
    made = planning.plan()

    assert [a.gpus for a in made.actions if isinstance(a, Start)] == [("a",)]


def test_room_that_is_kept_must_still_be_what_is_needed() -> None:
    served, both = wanting(share(600)), wanting(DeviceNeeds(), DeviceNeeds(kind="fpga", count=2))
    there = [replica("r", "draining", node="n", key=OTHER, gpus=("a",))]
    made = Rooms([machine("n", *slots("a", "b"))], there, {KEY: served})

    assert not made.keep(served, Place("n", ("gone",)))
    assert not made.keep(served, Place("n"))
    assert not made.keep(served, Place("nowhere"))
    assert not made.keep(both, Place("n", ("a", "b")))
    assert made.keep(served, Place("n", ("a",)))
    assert made.free_of(KEY) == 0
    assert made.release(served) == Place("n", ("a",))
    assert made.release(served) is None
    assert not made.keep(wanting(share(600), memory_bytes=1 << 60), Place("n", ("a",)))


def test_needs_are_said_in_words() -> None:
    half = wanting(share(500, 8), DeviceNeeds(kind="neuron", count=2, is_gang=True))
    slice_ = wanting(DeviceNeeds(profile="1g.10gb"))

    assert needs_text(half) == (
        "50 % of 1 GPU (any), 8192 MiB of each or 2 neuron (any) of one group, 0 MiB"
    )
    assert needs_text(slice_) == "1 GPU (1g.10gb), 0 MiB"
    left = rooms([machine("n", *slots("a"))], [], {})
    assert "n: 1 neuron or GPU free" in no_room_text(half, 1, left.values())
    assert never_fits(
        wanting(DeviceNeeds(kind="fpga"), device="cuda"), [machine("n", *slots("a"))]
    ) == ('no node here has a fpga; device="auto" runs without one')
    assert "there is NVIDIA L40S" in never_fits(
        wanting(DeviceNeeds(count=2)), [machine("n", *slots("a"))]
    )
    assert is_model("NVIDIA L40S", "l40s")
