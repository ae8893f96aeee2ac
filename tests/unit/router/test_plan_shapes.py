"""Do versions of unlike shapes share machines as far as they can, and have no more than they need?"""

from dataclasses import replace

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.policy.capacity.needs import Wanted, needs_of
from glowplug_router.records.decided import Launch, Start, Terminate
from glowplug_router.records.devices import DeviceNeeds
from glowplug_router.records.memory import Memory
from unit.router.launching import come, launching_planning, of, offer, on_gpu, ready_there
from unit.router.planning import Planning, version


def test_versions_of_one_shape_share_a_need_and_those_of_another_have_their_own() -> None:
    half = (DeviceNeeds(share_permille=500), DeviceNeeds(models=("H100",)))
    wanted = [
        Wanted(served=on_gpu("a/x@1"), replicas=2),
        Wanted(served=on_gpu("a/y@1", policy=Policy(priority="batch")), replicas=1),
        Wanted(served=version("a/z@1", needs=half), replicas=3),
        Wanted(served=version("a/cpu@1", memory_bytes=16 << 30), replicas=3),
        Wanted(served=version("a/far@1", needs=(DeviceNeeds(models=("H100",)),)), replicas=1),
    ]
    keys, needs = needs_of(wanted, (offer(),), frozenset({"nvidia"}))
    units = {need.key: need.units_permille for need in needs}

    assert keys["a/x@1"] == keys["a/y@1"]
    assert units[keys["a/x@1"]] == 3000
    assert next(n.batch_permille for n in needs if n.key == keys["a/x@1"]) == 1000
    assert units[keys["a/z@1"]] == 1500
    assert "no device" in keys["a/cpu@1"]
    assert "H100" in keys["a/far@1"]


def test_each_shape_waits_for_its_own_machines() -> None:
    big = on_gpu("app/big@1", memory_bytes=20 << 30)
    planning = launching_planning(on_gpu(), big, offers=(offer(),))
    made = planning.plan()
    assert len(of(made, Launch)) == 2
    assert [known.awaited for known in made.memory.versions] == [1, 1]
    come(planning)

    assert len(of(planning.after(SECOND), Start)) == 2


CPUS = replace(offer(price=100_000), id="c7/z1/on_demand", type="c7", devices=(), model="")


SMALL = version("app/small@1", policy=Policy(min=1))


def with_both() -> tuple[Planning, str, str]:
    """Return a planning with one replica of each shape ready, and their machines."""
    planning = launching_planning(on_gpu(), offers=(offer(), CPUS))
    host = ready_there(planning)
    planning.serve(on_gpu(), SMALL)
    (own,) = of(planning.after(SECOND), Launch)
    come(planning)
    assert of(planning.after(SECOND), Start) == [own]
    planning.become("ready")
    return planning, host, own


def test_a_machine_holds_only_what_it_was_launched_for_and_goes_when_that_does() -> None:
    planning, host, own = with_both()
    planning.serve(on_gpu(leaving=True, permille=0), SMALL)
    planning.after(SECOND)
    planning.drop(*(r.id for r in planning.observed.replicas if r.state == "draining"))

    assert of(planning.after(HOUR), Terminate) == [host]
    assert [node.id for node in planning.observed.nodes] == [own]
    assert [r.version for r in planning.observed.replicas] == [SMALL.key]


def test_whose_machines_they_are_is_seen_from_who_runs_there_when_nothing_is_remembered() -> None:
    planning, host, own = with_both()
    planning.memory = Memory()

    for _ in range(3):
        planning.after(MINUTE)
    assert [node.id for node in planning.observed.nodes] == [host, own]
    assert {row.nodes for row in planning.memory.capacity.needs} == {(host,), (own,)}


def test_a_launched_machine_takes_no_more_replicas_than_it_has_cpus_for() -> None:
    ten = version("app/small@1", policy=Policy(min=10, max=10))
    planning = launching_planning(ten, offers=(CPUS,))

    assert len(of(planning.plan(), Launch)) == 2
    come(planning)
    started = of(planning.after(SECOND), Start)
    assert sorted(started.count(node) for node in set(started)) == [5, 5]


def test_a_machine_alone_is_full_when_its_cpus_are() -> None:
    ten = version("app/small@1", policy=Policy(min=10, max=10))
    planning = launching_planning(ten, offers=(replace(CPUS, quota=1),))
    planning.plan()
    come(planning)

    assert len(of(planning.after(SECOND), Start)) == 8


def test_a_machine_that_is_offered_no_more_is_replaced_by_one_that_is() -> None:
    planning = launching_planning(on_gpu(), offers=(offer(),))
    old = ready_there(planning)
    planning.observed = replace(planning.observed, offers=(offer(zone="z2"),))
    (new,) = of(planning.after(SECOND), Launch)
    come(planning)

    assert of(planning.after(SECOND), Start) == [new]
    assert [node.id for node in planning.observed.nodes] == [old, new], "it serves until then"
    planning.become("ready")
    planning.after(SECOND)
    planning.drop(*(r.id for r in planning.observed.replicas if r.state == "draining"))
    planning.after(SECOND)
    assert [node.id for node in planning.observed.nodes] == [new]


def test_machines_stay_where_they_are_while_nothing_is_offered() -> None:
    planning = launching_planning(on_gpu(), offers=(offer(),))
    old = ready_there(planning)
    offers, planning.observed = planning.observed.offers, replace(planning.observed, offers=())
    planning.after(MINUTE)
    planning.observed = replace(planning.observed, offers=offers)
    planning.after(MINUTE)

    assert [node.id for node in planning.observed.nodes] == [old]
    assert [r.state for r in planning.observed.replicas] == ["ready"]


def test_an_idle_machine_stays_while_nothing_is_offered_and_goes_after_that() -> None:
    planning = launching_planning(on_gpu(), offers=(offer(),))
    old = ready_there(planning)
    offers, planning.observed = planning.observed.offers, replace(planning.observed, offers=())
    planning.serve(on_gpu(leaving=True, permille=0))
    planning.after(SECOND)
    planning.drop(*(r.id for r in planning.observed.replicas))
    assert of(planning.after(MINUTE), Terminate) == []

    planning.observed = replace(planning.observed, offers=offers)
    assert of(planning.after(SECOND), Terminate) == [old]
