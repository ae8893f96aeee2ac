"""Who makes way for a gang over several nodes: all that it takes, or nobody?"""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.clock import MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.plan import plan
from glowplug_router.policy.eviction import OWN_IDLE, Crowd, Holders, Way
from glowplug_router.policy.gang_eviction import way_for_gang
from glowplug_router.policy.placement import Place, Rooms
from glowplug_router.policy.reasons import waits_text
from glowplug_router.records.decided import Drain, Plan, Start
from glowplug_router.records.devices import DeviceNeeds, DeviceSlot, Part
from glowplug_router.records.memory import EndpointMemory, Memory
from glowplug_router.records.observed import Demand, Node, Observed, Replica, Served
from glowplug_router.simulation.checkers import planned_state
from glowplug_router.simulation.overcommitted import overcommitted
from unit.router.planning import NOW, Planning, replica, version

GANG, IDLE, BUSY = "app/gang@1", "app/idle@1", "app/busy@1"
WIDE = DeviceNeeds(count=3, over_nodes=True)


def rack(id: str, count: int, **others: object) -> Node:
    devices = tuple(
        DeviceSlot(uuid=f"{id}{number}", model="L40S", memory_bytes=48 << 30, group="rack")
        for number in range(count)
    )
    made = Node(id=id, cpu_milli=8000, memory_bytes=64 << 30, devices=devices, seen_ns=NOW)
    return replace(made, **others)  # type: ignore[arg-type]  # a builder takes any field


def gang(**others: object) -> Served:
    return replace(version(GANG, needs=(WIDE,), policy=Policy(max=1)), **others)  # type: ignore[arg-type]  # a builder


def holding(id: str, node: str, *uuids: str, key: str = IDLE) -> Replica:
    return replica(id, key=key, node=node, gpus=uuids)


def asked_of(*nodes: Node, replicas: tuple[Replica, ...], **others: object) -> Planning:
    """Return a planner of a gang with a call that waits, beside one that is idle and one that is not."""
    one = version(IDLE, gpu_count=1, policy=Policy(max=9))
    planning = Planning(gang(**others), one, replace(one, key=BUSY), nodes=nodes, replicas=replicas)
    planning.ask(IDLE, arrivals=1)
    planning.ask(BUSY, arrivals=1, inflight=1)
    planning.ask(GANG, arrivals=1, queued=1)
    return planning


def drained(made: Plan) -> set[str]:
    return {a.replica for a in made.actions if isinstance(a, Drain) and a.reason == "makes_way"}


def test_all_that_a_gang_lacks_is_freed_on_several_nodes_and_kept_until_it_starts() -> None:
    there = (holding("x", "a", "a0"), holding("y", "b", "b0"), holding("z", "c", "c0"))
    planning = asked_of(rack("a", 2), rack("b", 1), rack("c", 1, zone="z"), replicas=there)
    made = planning.plan()

    assert len(drained(made)) == 2
    known = next(one for one in made.memory.versions if one.key == GANG)
    assert (known.room_node, known.room_gpus) == ("a", ("a0", "a1"))
    assert len(known.room_parts) == 1
    rows = {row.subject: (row.rule, row.text) for row in made.explain}
    assert rows[GANG][0] == "waits_for_room"
    assert rows[GANG][1].endswith("when what drains there has ended, 1 of 3 GPU free so far")
    gone, last = sorted(drained(made))
    planning.drop(gone)
    assert planning.after(SECOND).actions == ()
    planning.drop(last)
    (start,) = planning.after(SECOND).actions
    assert isinstance(start, Start)
    assert (start.node, start.gpus, start.parts) == ("a", ("a0", "a1"), known.room_parts)


def test_nobody_makes_way_for_a_gang_that_would_still_not_fit() -> None:
    there = (holding("x", "a", "a0"), holding("y", "b", "b0", key=BUSY))

    assert asked_of(rack("a", 2), rack("b", 1), replicas=there).plan().actions == ()


def test_for_a_gang_only_what_is_above_min_makes_way() -> None:
    there = (holding("x", "a", "a0"), holding("y", "b", "b0"))
    planning = asked_of(rack("a", 2), rack("b", 1), replicas=there)
    low = version(IDLE, gpu_count=1, policy=Policy(min=1, max=9))
    planning.serve(gang(), low)

    assert planning.plan().actions == ()


def test_what_drains_already_is_waited_for_by_a_gang_too() -> None:
    leaving = replace(holding("x", "a", "a0"), state="draining")
    planning = asked_of(rack("a", 2), rack("b", 1), replicas=(leaving,))

    assert planning.plan().actions == ()
    planning.drop("x")
    assert [type(action) for action in planning.after(SECOND).actions] == [Start]


def test_an_idle_gang_makes_way_with_all_its_parts() -> None:
    wide = Replica(
        id="x",
        version=IDLE,
        node="a",
        state="ready",
        gpus=("a0", "a1"),
        parts=(Part("b", ("b0",)),),
    )
    planning = asked_of(rack("a", 2), rack("b", 1), replicas=(wide,))
    planning.serve(gang(), version(IDLE, needs=(WIDE,)))

    assert drained(planning.plan()) == {"x"}
    planning = asked_of(rack("a", 2), rack("b", 1), replicas=(wide,))
    planning.serve(gang(needs=(DeviceNeeds(),)), version(IDLE, needs=(WIDE,)))
    assert drained(planning.plan()) == {"x"}  # for whoever needs but a part of it


def test_whoever_frees_nothing_of_use_to_the_gang_stays_though_he_is_called_less() -> None:
    odd = DeviceSlot(uuid="odd", model="L4", group="rack")
    mixed = rack("a", 2)
    mixed = replace(mixed, devices=(*mixed.devices, odd))
    there = (holding("x", "a", "odd"), holding("y", "b", "b0", key=BUSY))
    planning = asked_of(mixed, rack("b", 1), replicas=there)
    planning.ask(IDLE, last_arrival_ns=NOW - MINUTE)
    planning.ask(BUSY, inflight=0)

    assert drained(planning.plan()) == {"y"}


def test_a_busy_replica_makes_way_for_the_gang_that_is_to_follow_it() -> None:
    there = (holding("x", "a", "a0", key=GANG),)
    planning = asked_of(rack("a", 2), rack("b", 1), replicas=there)
    planning.ask(GANG, queued=0, inflight=1)
    following = replace(gang(candidate=True, permille=0), key="app/gang@2")
    planning.serve(version(GANG, gpu_count=1), following)

    assert drained(planning.plan()) == {"x"}


def test_room_is_kept_for_a_gang_only_while_all_of_it_is_there() -> None:
    served = gang()
    rooms = Rooms((rack("a", 2), rack("b", 1)), (), {GANG: served})
    spot = Place("a", ("a0", "a1"), (Part("b", ("b0",)),))

    assert not rooms.keep(served, replace(spot, parts=(Part("gone", ("c0",)),)))
    assert not rooms.keep(served, replace(spot, parts=(Part("b", ("c0",)),)))
    assert rooms.keep(served, spot)
    assert "has it on a, b when" in waits_text(served, rooms)
    assert rooms.release(served) == spot
    assert not any(room.used for room in (*rooms.left.values(), *rooms.coming.values()))


def test_where_a_gang_fits_nobody_makes_way_and_for_no_gang_this_says_nothing() -> None:
    served = gang()
    rooms = Rooms((rack("a", 2), rack("b", 1)), (), {GANG: served})
    spot = Place("a", ("a0", "a1"), (Part("b", ("b0",)),))

    assert way_for_gang(served, rooms, Holders(), ()) == Way(spot, (), OWN_IDLE)
    assert way_for_gang(gang(needs=()), rooms, Holders(), ()) is None


def test_a_replica_that_was_not_offered_is_not_missed() -> None:
    rooms = Rooms((), (), {})
    holders = Crowd({}, {GANG: EndpointMemory(key=GANG)}, lambda _: (), rooms, NOW).idle([gang()])
    holders.gone(replica("x", key=GANG))

    assert holders.spare == {}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Observed, tuple[Demand, ...]]:
    nodes = tuple(rack(id, draw(st.integers(1, 3))) for id in "abc"[: draw(st.integers(2, 3))])
    served = [gang(needs=(replace(WIDE, count=draw(st.integers(2, 6))),), candidate=False)]
    for name in ("p", "q", "r"):
        policy = Policy(min=draw(st.sampled_from([0, 0, 1])), max=9, zero_after_ns=MINUTE)
        share = draw(st.sampled_from([1000, 1000, 400]))
        needs = (DeviceNeeds(share_permille=share, memory_bytes=8 << 30),)
        served.append(version(f"app/{name}@1", policy=policy, needs=needs))
    replicas = [
        replica(
            slot.uuid, draw(st.sampled_from(["ready", "ready", "draining"])),
            key=draw(st.sampled_from(served[1:])).key, node=node.id, gpus=(slot.uuid,),
        )
        for node in nodes for slot in node.devices if draw(st.integers(0, 3))
    ]  # fmt: skip
    rows = [Demand(key=GANG, arrivals=1, queued=1, last_arrival_ns=NOW)]
    for one in served[1:]:
        busy = draw(st.sampled_from([0, 0, 0, 1]))
        last_ns = NOW - draw(st.integers(0, 3)) * SECOND
        rows.append(Demand(key=one.key, arrivals=9, inflight=busy, last_arrival_ns=last_ns))
    observed = Observed(epoch=1, served=tuple(served), nodes=nodes, replicas=tuple(replicas))
    return observed, tuple(rows)


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_whoever_makes_way_for_a_gang_makes_enough_of_it(
    world: tuple[Observed, tuple[Demand, ...]],
) -> None:
    observed, demand = world
    made = plan(observed, demand, Memory(), NOW)
    planned = planned_state(observed, made)
    assert not plan(planned, demand, made.memory, NOW).actions
    known = next(one for one in made.memory.versions if one.key == GANG)
    if not known.room_node:
        texts = {row.text for row in made.explain if row.rule == "makes_way"}
        assert not any(GANG in text for text in texts)  # nobody went for nothing
        return
    left = tuple(one for one in planned.replicas if one.state != "draining")
    after = replace(planned, replicas=left)
    again = plan(after, demand, made.memory, NOW)
    starts = [a for a in again.actions if isinstance(a, Start) and a.version == GANG]
    assert [(a.node, a.gpus, a.parts) for a in starts] == [
        (known.room_node, known.room_gpus, known.room_parts)
    ]
    served = {one.key: one for one in observed.served}
    assert not list(overcommitted(after.nodes, planned_state(after, again).replicas, served))
