"""Who makes way when GPUs are scarcer than versions that want them?"""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from glowplug.clock import SECOND
from glowplug.spec import Policy
from glowplug_router.policy.eviction import SURE_NS, WAITING_MAX
from glowplug_router.records.decided import Drain, Plan, Start
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Node, Replica, Served
from unit.router.planning import KEY, NOW, Planning, node, replica, version

NEXT, OTHER, THIRD = "app/hello@2", "app/other@1", "app/third@1"
GPU = ("n1-gpu0",)


def on_gpu(key: str = KEY, **others: object) -> Served:
    return version(key, **{"gpu_count": 1, **others})  # type: ignore[arg-type]  # a builder takes any field


def candidate(**others: object) -> Served:
    return on_gpu(NEXT, permille=0, candidate=True, **others)


def held(id: str, key: str = KEY, gpu: int = 0, *, state: str = "ready") -> Replica:
    return replica(id, state, key=key, gpus=(f"n1-gpu{gpu}",))


def one_gpu(*served: Served, replicas: Sequence[Replica] = ()) -> Planning:
    planning = Planning(*served, nodes=(node(gpus=1),), replicas=tuple(replicas))
    for known in served:
        planning.ask(known.key, arrivals=1)
    return planning


def drained(made: Plan) -> list[tuple[str, str]]:
    return [(a.replica, a.reason) for a in made.actions if isinstance(a, Drain)]


def rules(made: Plan) -> dict[str, str]:
    return {row.subject: row.rule for row in made.explain}


def text(made: Plan, key: str) -> str:
    return next(row.text for row in made.explain if row.subject == key)


# -- a candidate


@pytest.mark.parametrize("lowest", [0, 1])
def test_an_idle_replica_makes_way_for_the_candidate_that_is_to_follow_it(lowest: int) -> None:
    planning = one_gpu(on_gpu(policy=Policy(min=lowest)), candidate(), replicas=[held("a")])
    made = planning.plan()

    assert drained(made) == [("a", "makes_way")]
    assert rules(made) == {KEY: "makes_way", NEXT: "waits_for_room"}
    assert text(made, KEY) == f"a drains: {NEXT} must start and needs 1 GPU (any), 0 MiB"
    assert text(made, NEXT) == (
        "needs 1 GPU (any), 0 MiB; has it on n1 when what drains there has ended, 0 of 1 GPU free so far"
    )
    planning.drop("a")
    (start,) = planning.after(SECOND).actions
    assert isinstance(start, Start)
    assert (start.version, start.gpus) == (NEXT, GPU)


def test_a_busy_replica_makes_way_for_its_candidate_and_its_callers_wait() -> None:
    planning = one_gpu(on_gpu(), candidate(), replicas=[held("a")])
    planning.ask(inflight=1)

    assert drained(planning.plan()) == [("a", "makes_way")]
    planning.ask(arrivals=9, queued=8)
    made = planning.after(SECOND)
    assert (made.actions, rules(made)) == ((), {KEY: "makes_way", NEXT: "waits_for_room"})
    assert text(made, KEY).startswith(f"{NEXT} has its room; 1 more wanted")


def test_the_version_before_does_not_start_again_while_its_candidate_holds_the_room() -> None:
    planning = one_gpu(on_gpu(policy=Policy(min=1)), candidate(), replicas=[held("b", NEXT)])
    planning.ask(arrivals=9, queued=9)
    made = planning.plan()

    assert (made.actions, rules(made)) == ((), {KEY: "makes_way", NEXT: "candidate"})
    assert planning.after(30 * SECOND).actions == ()


def test_when_the_candidate_fails_the_version_before_serves_again() -> None:
    planning = one_gpu(on_gpu(), candidate(), replicas=[held("a")])
    planning.ask(arrivals=9, queued=8, inflight=1)
    planning.plan()
    planning.drop("a")
    planning.after(SECOND)
    planning.become("failed")
    planning.serve(on_gpu(), on_gpu(NEXT, permille=0, leaving=True))

    planning.after(SECOND)

    assert planning.states() == ["starting"]
    assert planning.states(NEXT) == []


def test_a_candidate_that_failed_once_interrupts_nobody_a_second_time() -> None:
    planning = one_gpu(on_gpu(), candidate(), replicas=[replica("x", "failed", key=NEXT)])
    planning.ask(arrivals=9, queued=9)
    planning.plan()
    assert planning.states() == ["starting"]
    planning.become("ready")
    planning.ask(queued=0, inflight=1)

    made = planning.after(10 * SECOND)

    assert (made.actions, rules(made)[NEXT]) == ((), "no_room")
    planning.ask(inflight=0)
    assert len(drained(planning.after(SECOND))) == 1


def test_a_candidate_takes_an_idle_replica_of_another_before_it_interrupts_its_own() -> None:
    served = (on_gpu(), candidate(), on_gpu(OTHER))
    there = (held("own"), held("other", OTHER, 1))
    planning = Planning(*served, nodes=(node(gpus=2),), replicas=there)
    planning.ask(OTHER, arrivals=1)
    planning.ask(arrivals=1, inflight=1)

    assert drained(planning.plan()) == [("other", "makes_way")]
    planning = Planning(*served, nodes=(node(gpus=2),), replicas=there)
    planning.ask(OTHER, arrivals=1)
    planning.ask(arrivals=1)
    assert drained(planning.plan()) == [("own", "makes_way")]


def test_room_that_was_kept_for_a_version_is_its_candidates() -> None:
    planning = one_gpu(on_gpu(), on_gpu(OTHER), replicas=[held("a", OTHER)])
    planning.ask(arrivals=2, queued=1)
    planning.plan()
    planning.serve(on_gpu(), on_gpu(OTHER), candidate())

    made = planning.after(SECOND)

    assert rules(made) == {KEY: "makes_way", OTHER: "makes_way", NEXT: "waits_for_room"}


# -- everybody else


def test_an_idle_replica_makes_way_for_calls_that_wait_for_another_endpoint() -> None:
    planning = one_gpu(on_gpu(), on_gpu(OTHER), replicas=[held("a", OTHER)])
    planning.ask(arrivals=2, queued=1)
    made = planning.plan()

    assert drained(made) == [("a", "makes_way")]
    assert rules(made) == {KEY: "waits_for_room", OTHER: "makes_way"}
    assert rules(planning.after(SECOND)) == {KEY: "waits_for_room", OTHER: "makes_way"}
    planning.drop("a")
    planning.after(SECOND)
    assert (planning.states(), planning.states(OTHER)) == (["starting"], [])


@pytest.mark.parametrize(
    "needs", [{"inflight": 1}, {"queued": 1}], ids=["a call runs", "a call waits"]
)
def test_a_replica_that_is_needed_makes_way_for_no_other_endpoint(needs: dict[str, int]) -> None:
    planning = one_gpu(on_gpu(), on_gpu(OTHER), replicas=[held("a", OTHER)])
    planning.ask(arrivals=2, queued=1)
    planning.ask(OTHER, **needs)
    made = planning.plan()

    assert (made.actions, rules(made)[KEY]) == ((), "no_room")


def test_what_still_starts_makes_way_for_no_other_endpoint() -> None:
    starting = held("a", OTHER, state="starting")
    planning = one_gpu(on_gpu(), on_gpu(OTHER), replicas=[starting])
    planning.ask(arrivals=2, queued=1)

    assert planning.plan().actions == ()
    planning.become("ready")
    assert drained(planning.after(SECOND)) == [("a", "makes_way")]


def test_only_what_is_above_min_makes_way() -> None:
    there = [held(f"r{number}", OTHER, number) for number in range(2)]
    planning = Planning(
        on_gpu(gpu_count=2),
        on_gpu(OTHER, policy=Policy(min=1)),
        nodes=(node(gpus=2),),
        replicas=tuple(there),
    )
    planning.ask(OTHER, arrivals=1)
    planning.ask(arrivals=2, queued=1)

    assert planning.plan().actions == ()


def test_the_least_recently_called_makes_way_first_and_only_as_many_as_needed() -> None:
    there = (held("a", OTHER, 0), held("b", THIRD, 1))
    planning = Planning(
        on_gpu(), on_gpu(OTHER), on_gpu(THIRD), nodes=(node(gpus=2),), replicas=there
    )
    planning.ask(OTHER, arrivals=1, last_arrival_ns=NOW - SECOND)
    planning.ask(THIRD, arrivals=1, last_arrival_ns=NOW - 2 * SECOND)
    planning.ask(arrivals=1, queued=1)

    assert drained(planning.plan()) == [("b", "makes_way")]


def test_whoever_would_free_nothing_of_use_stays() -> None:
    mixed = Node(
        id="n1",
        cpu_milli=1,
        memory_bytes=0,
        gpus=(("n1-gpu0", "NVIDIA L4"), ("n1-gpu1", "NVIDIA A10G")),
        seen_ns=NOW,
    )
    there = (held("a", OTHER, 0), held("b", THIRD, 1))
    planning = Planning(
        on_gpu(gpu_names=("A10G",)), on_gpu(OTHER), on_gpu(THIRD), nodes=(mixed,), replicas=there
    )
    planning.ask(OTHER, arrivals=1, last_arrival_ns=NOW - 2 * SECOND)
    planning.ask(THIRD, arrivals=1, last_arrival_ns=NOW - SECOND)
    planning.ask(arrivals=1, queued=1)

    assert drained(planning.plan()) == [("b", "makes_way")]


def test_where_fewer_must_go_they_go() -> None:
    there = (
        held("a", OTHER, 0),
        held("b", OTHER, 1),
        replica("c", key=THIRD, node="n2", gpus=("n2-gpu0", "n2-gpu1")),
    )
    planning = Planning(
        on_gpu(gpu_count=2),
        on_gpu(OTHER),
        on_gpu(THIRD, gpu_count=2),
        nodes=(node(gpus=2), node("n2", gpus=2), node("n3", gpus=1)),
        replicas=there,
    )
    planning.ask(OTHER, arrivals=1, last_arrival_ns=NOW - 2 * SECOND)
    planning.ask(THIRD, arrivals=1, last_arrival_ns=NOW - SECOND)
    planning.ask(arrivals=1, queued=1)

    assert drained(planning.plan()) == [("c", "makes_way")]


@pytest.mark.parametrize(("earlier", "goes"), [(OTHER, "a"), (THIRD, "b")])
def test_the_least_recently_called_makes_way_on_whatever_node_it_is(
    earlier: str, goes: str
) -> None:
    there = (held("a", OTHER), replica("b", key=THIRD, node="n2", gpus=("n2-gpu0",)))
    planning = Planning(
        on_gpu(),
        on_gpu(OTHER),
        on_gpu(THIRD),
        nodes=(node(gpus=1), node("n2", gpus=1)),
        replicas=there,
    )
    for key in (OTHER, THIRD):
        planning.ask(key, arrivals=1, last_arrival_ns=NOW - SECOND * (2 if key == earlier else 1))
    planning.ask(arrivals=1, queued=1)

    assert drained(planning.plan()) == [(goes, "makes_way")]


def test_memory_is_room_too() -> None:
    planning = Planning(
        version(memory_bytes=3),
        version(OTHER, memory_bytes=4),
        nodes=(node(memory_bytes=5),),
        replicas=(replica("a", key=OTHER),),
    )
    planning.ask(OTHER, arrivals=1)
    planning.ask(arrivals=1, queued=1)
    made = planning.plan()

    assert drained(made) == [("a", "makes_way")]
    assert text(made, KEY).endswith("has it on n1 when what drains there has ended")


def test_what_drains_already_is_waited_for() -> None:
    there = (held("a", OTHER, 0, state="draining"), held("b", THIRD, 1))
    planning = Planning(
        on_gpu(), on_gpu(OTHER), on_gpu(THIRD), nodes=(node(gpus=2),), replicas=there
    )
    planning.ask(THIRD, arrivals=1)
    planning.ask(arrivals=1, queued=1)
    made = planning.plan()

    assert (made.actions, rules(made)[KEY]) == ((), "waits_for_room")


def test_what_is_free_of_the_room_somebody_waits_for_is_given_to_nobody_else() -> None:
    greedy = on_gpu(THIRD, policy=Policy(max=5, buffer=2))
    there = (held("a", OTHER, 0), held("c", THIRD, 2))
    planning = Planning(
        on_gpu(gpu_count=2), on_gpu(OTHER), greedy, nodes=(node(gpus=3),), replicas=there
    )
    planning.ask(OTHER, arrivals=1)
    planning.ask(THIRD, arrivals=1, inflight=1)
    planning.ask(arrivals=1, queued=1)
    made = planning.plan()

    assert drained(made) == [("a", "makes_way")]
    assert rules(made)[THIRD] == "no_room"
    assert text(made, KEY).endswith("1 of 2 GPU free so far")


def test_whoever_waits_starts_where_room_is_found_first() -> None:
    planning = one_gpu(on_gpu(), on_gpu(OTHER), replicas=[held("a", OTHER)])
    planning.ask(arrivals=2, queued=1)
    planning.plan()
    more = (*planning.observed.nodes, node("n2", gpus=1))
    planning.observed = replace(planning.observed, nodes=more)

    (start,) = planning.after(SECOND).actions

    assert isinstance(start, Start)
    assert start.node == "n2"
    assert planning.memory.versions[0].room_node == ""


def test_room_on_a_node_that_was_lost_is_kept_no_longer() -> None:
    planning = one_gpu(on_gpu(), on_gpu(OTHER), replicas=[held("a", OTHER)])
    planning.ask(arrivals=2, queued=1)
    planning.plan()
    assert planning.memory.versions[0].room_node == "n1"
    planning.observed = replace(planning.observed, nodes=(node("n2"),))
    planning.plan()

    assert planning.memory.versions[0].room_node == ""


def test_several_that_are_missing_get_room_one_after_the_other() -> None:
    there = (held("a", OTHER, 0), held("b", OTHER, 1))
    planning = Planning(
        on_gpu(policy=Policy(min=3, max=3)), on_gpu(OTHER), nodes=(node(gpus=3),), replicas=there
    )
    planning.ask(OTHER, arrivals=1)
    made = planning.plan()

    assert [type(action) for action in made.actions] == [Start, Drain]
    planning.drop(*[known.id for known in planning.observed.replicas if known.state == "draining"])
    assert [type(action) for action in planning.after(SECOND).actions] == [Start, Drain]


def test_two_that_both_have_calls_take_turns_only_when_the_holder_is_idle() -> None:
    planning = one_gpu(on_gpu(), on_gpu(OTHER), replicas=[held("a", OTHER)])
    planning.ask(OTHER, arrivals=3, inflight=1)
    planning.ask(arrivals=3, queued=2)
    for _ in range(5):
        assert planning.after(SECOND).actions == ()

    planning.ask(OTHER, inflight=0)
    assert drained(planning.after(SECOND)) == [("a", "makes_way")]
    planning.ask(OTHER, arrivals=4, queued=1)
    planning.drop("a")
    planning.after(SECOND)
    planning.become("ready")
    planning.ask(queued=0, inflight=1)
    assert planning.after(SECOND).actions == ()
    planning.ask(inflight=0)
    assert len(drained(planning.after(SECOND))) == 1


def test_of_a_version_just_met_silence_says_nothing_yet() -> None:
    planning = Planning(
        on_gpu(), on_gpu(OTHER), nodes=(node(gpus=1),), replicas=(held("a", OTHER),)
    )
    planning.ask(arrivals=1, queued=1)

    made = planning.plan()
    assert (made.actions, made.wake_ns) == ((), NOW + SURE_NS)
    assert planning.after(SURE_NS - 1).actions == ()
    assert drained(planning.after(1)) == [("a", "makes_way")]


def test_in_a_storm_room_is_kept_for_so_many_and_no_more() -> None:
    count = WAITING_MAX + 2
    callers, idle = ([on_gpu(f"app/{one}{number:02}@1") for number in range(count)] for one in "ci")
    there = tuple(held(f"r{number}", idle[number].key, number) for number in range(count))
    planning = Planning(*callers, *idle, nodes=(node(gpus=count),), replicas=there)
    for known in (*callers, *idle):
        planning.ask(known.key, arrivals=1, queued=int(known in callers))
    made = planning.plan()

    assert len(drained(made)) == WAITING_MAX
    assert list(rules(made).values()).count("waits_for_room") == WAITING_MAX
    assert list(rules(made).values()).count("no_room") == 2


def test_when_memory_is_lost_room_is_found_again_without_another_drain() -> None:
    planning = one_gpu(on_gpu(), candidate(), replicas=[held("a")])
    planning.plan()
    planning.memory = Memory()
    made = planning.after(SECOND)

    assert (made.actions, rules(made)[NEXT]) == ((), "waits_for_room")
