"""Does a plan stand once it is made, when who goes, fails or waits for a machine changes what is counted?"""

from dataclasses import replace

from glowplug.clock import SECOND
from glowplug.spec import Policy
from glowplug_router.plan import plan
from glowplug_router.policy.backoff import FAILURES_MAX
from glowplug_router.policy.scaling.following import Target
from glowplug_router.records.capacity import CapacityMemory, NeedMemory, Offer
from glowplug_router.records.decided import Drain, Launch, Plan, Start, Terminate
from glowplug_router.records.memory import EndpointMemory, Memory
from glowplug_router.records.observed import Demand, Node, Observed, Replica, Served
from glowplug_router.simulation.checkers import planned_state
from unit.router.planning import KEY, NOW, Planning, node, replica, version

NEXT = "app/hello@2"
OFFER = Offer(
    id="g6/z1/on_demand",
    type="g6",
    zone="z1",
    market="on_demand",
    price_micro_usd=1_000_000,
    devices=(("nvidia", 1),),
    model="NVIDIA L4",
    cpu_milli=8000,
    memory_bytes=32 << 30,
    launch_p50_ns=60 * SECOND,
    launch_p90_ns=60 * SECOND,
)


def fickle(
    served: Served, demand: Demand, memory: EndpointMemory, ready: int, starting: int, now_ns: int
) -> Target:
    """Want fewer of four, and four of fewer, as when it is not sure yet how long calls take."""
    wanted = 3 if ready + starting == 4 else 4
    return Target(wanted, "backlog" if wanted == 4 else "down_after", "", memory)


def steady(
    served: Served, demand: Demand, memory: EndpointMemory, ready: int, starting: int, now_ns: int
) -> Target:
    return Target(3, "load", "", memory)


def decided(planning: Planning, scaler: object) -> Plan:
    return plan(planning.observed, (), Memory(), NOW, scaler=scaler)  # type: ignore[arg-type]  # one of two


def test_nobody_drains_who_would_be_wanted_back_at_once() -> None:
    four = tuple(replica(f"r{number}") for number in range(4))
    planning = Planning(version(policy=Policy(max=4)), replicas=four)

    assert decided(planning, fickle).actions == ()
    assert [row.rule for row in decided(planning, fickle).explain] == ["backlog"]
    assert [type(action) for action in decided(planning, steady).actions] == [Drain]


def test_what_starts_counts_as_what_goes_first() -> None:
    two = (replica("r0"), replica("r1", "starting"))
    seen: list[tuple[int, int]] = []

    def one_less(
        served: Served,
        demand: Demand,
        memory: EndpointMemory,
        ready: int,
        starting: int,
        now_ns: int,
    ) -> Target:
        seen.append((ready, starting))
        return Target(1, "load", "", memory)

    decided(Planning(replicas=two), one_less)

    assert seen == [(1, 1), (1, 0)]


# -- with machines


def hiring(
    served: tuple[Served, ...],
    machines: tuple[Node, ...],
    replicas: tuple[Replica, ...] = (),
    memory: Memory | None = None,
) -> tuple[Plan, Plan]:
    """Return a plan where machines can be launched, and that of the state it planned."""
    observed = Observed(epoch=1, served=served, nodes=machines, replicas=replicas, offers=(OFFER,))
    demand = tuple(Demand(key=one.key, arrivals=1, queued=1, last_arrival_ns=NOW) for one in served)
    made = plan(observed, demand, memory or Memory(), NOW)
    again = plan(planned_state(observed, made, NOW), demand, made.memory, NOW)
    return made, again


def machine(name: str, state: str = "ready", **others: object) -> Node:
    made = replace(node(name, gpus=int(state == "ready")), offer=OFFER.id, zone="z1")
    return replace(made, state=state, since_ns=NOW - SECOND, **others)  # type: ignore[arg-type]  # any field


def test_a_version_that_cannot_start_keeps_no_machine_for_a_replica_that_goes() -> None:
    failed = EndpointMemory(key=KEY, failures=FAILURES_MAX, first_seen_ns=1, busy_ns=1)
    owned = CapacityMemory(needs=(NeedMemory(key="any", nodes=("m1", "m2")),))
    starting = replica("r1", "starting", node="m1", gpus=("m1-gpu0",))
    observed = Observed(
        epoch=1,
        served=(version(gpu_count=1),),
        nodes=(machine("m1"), machine("m2")),
        replicas=(starting,),
        offers=(OFFER,),
    )
    made = plan(observed, (), Memory(versions=(failed,), capacity=owned), NOW)

    assert [type(action) for action in made.actions if isinstance(action, Drain)] == [Drain]
    assert [a.node for a in made.actions if isinstance(a, Terminate)] == ["m2"]
    assert made.memory.capacity.unwanted == ("m1",)


def test_from_nothing_no_more_are_wanted_than_when_the_first_starts() -> None:
    patient = version(gpu_count=1, policy=Policy(max=3, buffer=1, up_after_ns=10 * SECOND))
    hasty = version(gpu_count=1, policy=Policy(max=3, buffer=1))

    for served, count in ((patient, 1), (hasty, 2)):
        made, again = hiring((served,), ())
        assert [type(a) for a in made.actions] == [Launch] * count
        assert again.actions == ()


def test_a_machine_that_has_come_is_kept_while_a_start_must_wait() -> None:
    served = version(gpu_count=1, policy=Policy(min=1, max=2, buffer=1, up_after_ns=10 * SECOND))
    known = EndpointMemory(
        key=KEY, retry_at_ns=NOW + SECOND, failures=1, awaited=1, first_seen_ns=1, busy_ns=NOW
    )
    machines = (machine("m1"), machine("m2"))
    serving = replica("r1", node="m1", gpus=("m1-gpu0",))
    memory = Memory(versions=(known,))
    made, again = hiring((served,), machines, (serving,), memory)

    assert made.memory.versions[0].awaited == 1
    assert (made.actions, again.actions) == ((), ())


def test_what_is_simply_there_without_a_device_does_not_hide_that_machines_have_some() -> None:
    made, again = hiring((version(gpu_count=1),), (node("here"),))

    assert [type(a) for a in made.actions] == [Launch]
    assert again.actions == ()


def test_a_replica_that_goes_is_not_counted_where_it_was() -> None:
    served = version(gpu_count=1, policy=Policy(max=2))
    other = version("app/other@1", gpu_count=1)
    here = node("here", gpus=2)
    going = replica("r3", "starting", node="here", gpus=("here-gpu1",))
    on_machine = replica("r2", node="m1", gpus=("m1-gpu0",))
    staying = replica("r1", node="here", gpus=("here-gpu0",))
    made, again = hiring((served, other), (here, machine("m1")), (staying, on_machine, going))

    assert [a.replica for a in made.actions if isinstance(a, Drain)] == ["r3"]
    assert again.actions == ()


def test_one_machine_that_goes_does_not_take_the_others_along() -> None:
    def as_many(
        served: Served,
        demand: Demand,
        memory: EndpointMemory,
        ready: int,
        starting: int,
        now_ns: int,
    ) -> Target:
        return Target(ready + starting, "up_after", "", memory)

    names = ("m1", "m2", "m3")
    observed = Observed(
        epoch=1,
        served=(version(gpu_count=1, policy=Policy(max=3)),),
        nodes=tuple(map(machine, names)),
        replicas=tuple(replica(f"r{n}", node=n, gpus=(f"{n}-gpu0",)) for n in names),
        offers=(OFFER,),
    )
    known = EndpointMemory(key=KEY, wanted=3, awaited=0)
    capacity = CapacityMemory(needs=(NeedMemory(key="any", nodes=names),), unwanted=("m3",))
    made = plan(observed, (), Memory(versions=(known,), capacity=capacity), NOW, scaler=as_many)
    fewer = replace(known, wanted=0)
    forgotten = plan(
        observed, (), Memory(versions=(fewer,), capacity=capacity), NOW, scaler=as_many
    )

    assert (made.actions, made.memory.versions[0].wanted) == ((), 3)
    assert forgotten.memory.versions[0].wanted == 2


def test_nobody_makes_way_while_a_machine_is_on_its_way() -> None:
    live = version(gpu_count=1, policy=Policy(max=1))
    tried = version(NEXT, gpu_count=1, permille=0, candidate=True)
    serving = replica("r1", node="m1", gpus=("m1-gpu0",))
    made, again = hiring((live, tried), (machine("m1"),), (serving,))

    assert [type(action) for action in made.actions] == [Launch]
    assert again.actions == ()


def test_a_machine_that_never_came_leaves_its_quota_to_the_next_in_the_same_plan() -> None:
    late = replace(machine("m1", "launching"), since_ns=NOW - 3600 * SECOND)
    observed = Observed(
        epoch=1,
        served=(version(gpu_count=1),),
        nodes=(late,),
        replicas=(),
        offers=(replace(OFFER, quota=1),),
    )
    demand = (Demand(key=KEY, arrivals=1, queued=1, last_arrival_ns=NOW),)
    made = plan(observed, demand, Memory(), NOW)

    assert [type(a) for a in made.actions] == [Terminate, Launch]


def test_a_machine_that_says_nothing_counts_against_the_quota() -> None:
    silent = replace(machine("m1"), seen_ns=NOW - 60 * SECOND)
    observed = Observed(
        epoch=1,
        served=(version(gpu_count=1),),
        nodes=(silent,),
        replicas=(),
        offers=(replace(OFFER, quota=1),),
    )
    demand = (Demand(key=KEY, arrivals=1, queued=1, last_arrival_ns=NOW),)

    assert plan(observed, demand, Memory(), NOW).actions == ()


def test_a_stand_in_that_starts_does_not_change_what_it_was_launched_for() -> None:
    quick = replace(OFFER, restart_p90_ns=SECOND)
    spot = replace(quick, id="g6/z1/spot", market="spot", price_micro_usd=100_000, quota=1)
    spot = replace(spot, restart_p90_ns=0)
    observed = Observed(
        epoch=1,
        served=(version(gpu_count=1, policy=Policy(min=2, max=2)),),
        nodes=(replace(machine("m1", "launching"), offer=spot.id, expected_ns=NOW + 40 * SECOND),),
        replicas=(),
        offers=(quick, spot),
    )
    made = plan(observed, (), Memory(), NOW)
    again = plan(planned_state(observed, made, NOW), (), made.memory, NOW)

    assert [type(a) for a in made.actions] == [Launch]
    assert again.actions == ()


def test_starts_go_on_where_a_machine_is_ready() -> None:
    made, again = hiring((version(gpu_count=1),), (machine("m1"),))

    assert [type(a) for a in made.actions] == [Start]
    assert again.actions == ()
