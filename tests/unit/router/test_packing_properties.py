"""Whatever is asked of whatever nodes: is nothing given twice, are gangs whole, is the answer the same again?"""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.spec import Policy
from glowplug_router.policy.placement import Rooms, best_place
from glowplug_router.records.capacity import Offer
from glowplug_router.records.devices import DeviceNeeds, DeviceSlot
from glowplug_router.records.observed import Node, Replica, Served
from glowplug_router.simulation.overcommitted import overcommitted
from unit.router.planning import NOW

KINDS = st.sampled_from(["nvidia", "nvidia", "neuron"])


@st.composite
def node(draw: st.DrawFn, id: str) -> Node:
    devices = []
    for number in range(draw(st.integers(0, 4))):
        whole = DeviceSlot(
            uuid=f"{id}-{number}",
            kind=draw(KINDS),
            model=draw(st.sampled_from(["L4", "L40S"])),
            memory_bytes=draw(st.sampled_from([0, 24, 48])),
            group=draw(st.sampled_from(["", "g"])),
        )
        devices.append(whole)
        for part in range(draw(st.sampled_from([0, 0, 0, 2]))):
            small = replace(whole, uuid=f"{whole.uuid}.{part}", parent=whole.uuid, profile="1g")
            devices.append(replace(small, share_permille=142, memory_bytes=10))
    return Node(
        id=id,
        cpu_milli=draw(st.sampled_from([0, 4000])),
        memory_bytes=draw(st.sampled_from([50, 100])),
        devices=tuple(devices),
        zone=draw(st.sampled_from(["z1", "z2"])),
        holds=draw(st.sampled_from([(), ("b",)])),
        seen_ns=NOW,
    )


needs = st.builds(
    DeviceNeeds,
    kind=KINDS,
    count=st.integers(1, 3),
    models=st.sampled_from([(), ("L4",), ("L40S", "L4")]),
    share_permille=st.sampled_from([1000, 1000, 500, 300, 100]),
    memory_bytes=st.sampled_from([0, 0, 8, 20]),
    profile=st.sampled_from(["", "", "", "1g"]),
    is_gang=st.booleans(),
    over_nodes=st.booleans(),
)
version = st.builds(
    Served,
    key=st.sampled_from([f"a/e@{number}" for number in range(6)]),
    policy=st.sampled_from([Policy(), Policy(priority="critical")]),
    permits=st.just(1),
    permille=st.just(1000),
    needs=st.lists(needs, max_size=2).map(tuple),
    gpu_count=st.integers(0, 2),
    memory_bytes=st.sampled_from([0, 10, 30]),
    artefacts=st.sampled_from([(), ("b",), ("b", "c")]),
    is_spread=st.booleans(),
    device=st.sampled_from(["auto", "cuda"]),
)
fleets = st.integers(0, 4).flatmap(lambda n: st.tuples(*(node(f"n{i}") for i in range(n))))


@settings(max_examples=150, deadline=None)
@given(fleets, st.lists(version, max_size=6, unique_by=lambda one: one.key), st.data())
def test_nothing_is_given_twice_and_gangs_are_whole(
    nodes: tuple[Node, ...], served: list[Served], data: st.DataObject
) -> None:
    known = {one.key: one for one in served}
    made = Rooms(nodes, (), known)
    replicas: list[Replica] = []
    for number in range(data.draw(st.integers(0, 12)) if served else 0):
        one = data.draw(st.sampled_from(served))
        asked = made.asked(one)
        alone = None if one.is_spread else best_place(one, made.left, bool(asked))
        spot = made.place(one)
        assert one.is_spread or alone == spot  # the index finds what looking at all rooms finds
        if spot is None:
            continue
        count = sum(len(part.gpus) for part in spot.all_parts)
        assert count in ({want.count for want in asked} or {0})
        replicas.append(
            Replica(
                id=str(number), version=one.key, node=spot.node, state="ready",
                gpus=spot.gpus, parts=spot.parts,
            )
        )  # fmt: skip
        if data.draw(st.booleans()):
            gone = replicas.pop(data.draw(st.integers(0, len(replicas) - 1)))
            made = Rooms(nodes, [*replicas, replace(gone, state="draining")], known)
            assert not made.keep(one, spot) or made.release(one) == spot
            replicas.append(gone)
    assert not list(overcommitted(nodes, replicas, known))
    after = Rooms(nodes, replicas, known)
    # What is counted from the records is what was counted on the way.
    assert {n: room.used for n, room in after.left.items()} == {
        n: room.used for n, room in made.left.items()
    }


shapes = st.builds(
    Served,
    key=st.sampled_from([f"a/e@{number}" for number in range(6)]),
    policy=st.sampled_from([Policy(), Policy(priority="critical")]),
    permits=st.just(1),
    permille=st.just(1000),
    needs=st.sampled_from([(), (DeviceNeeds(),), (DeviceNeeds(share_permille=300),)]),
    memory_bytes=st.sampled_from([0, 10, 30]),
    cpu_milli=st.sampled_from([1000, 3000]),
    artefacts=st.sampled_from([(), ("b",), ("b", "c")]),
)


@settings(max_examples=150, deadline=None)
@given(fleets, st.lists(shapes, min_size=1, max_size=6, unique_by=lambda one: one.key), st.data())
def test_versions_that_want_the_same_devices_find_what_each_would_find_alone(
    nodes: tuple[Node, ...], served: list[Served], data: st.DataObject
) -> None:
    offer = Offer(id="o", type="t", zone="z1", market="spot", price_micro_usd=700)
    nodes = tuple(
        replace(one, offer="o") if number % 2 else one for number, one in enumerate(nodes)
    )
    made = Rooms(nodes, (), {one.key: one for one in served}, (offer,))
    for _ in range(data.draw(st.integers(0, 12))):
        one = data.draw(st.sampled_from(served))
        alone = best_place(one, made.left, bool(made.asked(one)))
        assert made.place(one) == alone
