"""What is started, drained and forgotten, and what is said about it?"""

from dataclasses import replace

from glowplug.clock import MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.drafting.draft import NODE_LOST_NS
from glowplug_router.plan import plan
from glowplug_router.policy.naming import replica_id
from glowplug_router.records.decided import Drain, Forget, Start, Swap
from glowplug_router.records.memory import Memory
from unit.router.planning import KEY, NOW, Planning, node, replica, version

NEXT = "app/hello@2"


def test_a_call_that_waits_becomes_one_start_with_all_that_is_needed() -> None:
    planning = Planning()
    planning.ask(arrivals=1, queued=1)

    (start,) = planning.plan().actions

    assert isinstance(start, Start)
    assert (start.version, start.node, start.gpus) == (KEY, "n1", ())
    assert start.replica == replica_id(KEY, 1, 1) == "hello-1-g0001"
    assert len(start.id) == 64


def test_the_same_question_has_the_same_answer() -> None:
    planning = Planning()
    planning.ask(arrivals=1, queued=1)
    demand = tuple(planning.demand.values())

    first, second = (plan(planning.observed, demand, Memory(), NOW) for _ in range(2))

    assert first == second


def test_ids_differ_by_epoch_and_serial_and_stay_short() -> None:
    long = f"app/{'x' * 63}@12"
    ids = {replica_id(long, epoch, serial) for epoch in range(1, 40) for serial in range(1, 40)}

    assert len(ids) == 39 * 39
    assert max(map(len, ids)) <= 40


def test_a_new_controller_never_uses_an_id_of_an_earlier_one() -> None:
    planning = Planning()
    planning.ask(arrivals=1, queued=1)
    (first,) = planning.plan().actions
    planning.drop(*[known.id for known in planning.observed.replicas])
    planning.memory = Memory()
    planning.observed = replace(planning.observed, epoch=2)
    (second,) = planning.plan().actions

    assert isinstance(first, Start)
    assert isinstance(second, Start)
    assert first.replica != second.replica
    assert first.id != second.id


# -- nodes


def test_a_replica_on_a_silent_node_is_forgotten_and_replaced_elsewhere() -> None:
    planning = Planning(
        nodes=(node("n1", seen_ns=NOW - NODE_LOST_NS), node("n2")), replicas=(replica("a"),)
    )
    planning.ask(arrivals=1, queued=1)

    forget, start = planning.plan().actions

    assert isinstance(forget, Forget)
    assert (forget.replica, forget.reason) == ("a", "node_lost")
    assert isinstance(start, Start)
    assert start.node == "n2"


def test_a_node_is_silent_only_when_fifteen_seconds_are_over() -> None:
    planning = Planning(
        nodes=(node("n1", seen_ns=NOW - NODE_LOST_NS + 1), node("n2")), replicas=(replica("a"),)
    )
    made = planning.plan()

    assert made.actions == ()
    assert made.wake_ns == NOW + 1


def test_without_any_node_nothing_is_touched_and_it_is_said() -> None:
    replicas = (replica("a"), replica("b", "failed"), replica("c", key="app/gone@1"))
    planning = Planning(
        version(policy=Policy(max=0)),
        version("app/other@1", policy=Policy(min=1)),
        nodes=(node(seen_ns=0),),
        replicas=replicas,
    )
    made = planning.plan()

    assert made.actions == ()
    assert [row.rule for row in made.explain] == ["max", "blind"]


def test_what_fits_nowhere_is_explained_with_numbers() -> None:
    served = version(policy=Policy(min=2), gpu_count=1, gpu_names=("L4",), memory_bytes=1 << 20)
    planning = Planning(served, nodes=(node(gpus=1, memory_bytes=1 << 30),))
    made = planning.plan()

    assert len(made.actions) == 1
    assert made.explain[0].rule == "no_room"
    assert made.explain[0].text == (
        "1 more wanted, each with 1 GPU (L4), 1 MiB; n1: 0 GPU free, 1023 MiB free"
    )


def test_more_cpus_than_any_node_has_are_explained_with_numbers() -> None:
    served = version(policy=Policy(min=1), cpu_milli=64_000, memory_bytes=1 << 20)

    made = Planning(served, nodes=(node(memory_bytes=1 << 30),)).plan()

    assert made.actions == ()
    assert made.explain[0].text == (
        "1 more wanted, each with 64 CPUs, 1 MiB; n1: 0 GPU free, 1024 MiB free, has 8 CPUs"
    )


def test_a_gpu_held_by_a_replica_that_is_only_intended_is_not_given_again() -> None:
    served = version(policy=Policy(min=1), gpu_count=1)
    intended = replica("a", "starting", key="app/other@1", gpus=("n1-gpu0",))
    planning = Planning(
        served,
        version("app/other@1", policy=Policy(min=1)),
        nodes=(node(gpus=2),),
        replicas=(intended,),
    )

    (start,) = planning.plan().actions

    assert isinstance(start, Start)
    assert start.gpus == ("n1-gpu1",)


def test_whoever_has_nothing_is_placed_before_whoever_wants_more() -> None:
    more = version("app/more@1", policy=Policy(min=2), gpu_count=1)
    first = version("app/first@1", policy=Policy(min=1), gpu_count=1)
    there = replica("a", key="app/more@1", gpus=("n1-gpu0",))
    planning = Planning(more, first, nodes=(node(gpus=2),), replicas=(there,))

    (start,) = planning.plan().actions

    assert isinstance(start, Start)
    assert start.version == "app/first@1"


# -- draining


def test_starting_replicas_are_drained_before_ready_ones_and_young_ones_before_old() -> None:
    replicas = (
        replica("old", since_ns=NOW - 9),
        replica("young", since_ns=NOW - 1),
        replica("starting", "starting", since_ns=NOW - 5),
    )
    planning = Planning(version(policy=Policy(max=1), drain_ns=7), replicas=replicas)

    drains = planning.plan().actions

    assert [(a.replica, a.drain_ns, a.reason) for a in drains if isinstance(a, Drain)] == [
        ("starting", 7, "max"),
        ("young", 7, "max"),
    ]


def test_draining_replicas_do_not_count_against_max() -> None:
    planning = Planning(version(policy=Policy(min=1, max=1)), replicas=(replica("a", "draining"),))

    (start,) = planning.plan().actions

    assert isinstance(start, Start)


def test_a_replica_whose_version_nobody_knows_is_drained() -> None:
    planning = Planning(
        replicas=(replica("a", key="app/gone@9"), replica("b", "draining", key="app/gone@9"))
    )

    (drain,) = planning.plan().actions

    assert isinstance(drain, Drain)
    assert (drain.replica, drain.reason) == ("a", "unserved")


# -- failures


def test_a_failed_start_is_forgotten_and_tried_again_after_a_second() -> None:
    planning = Planning(
        version(policy=Policy(min=1)), replicas=(replica("a", "failed", code="oom"),)
    )
    made = planning.plan()

    (forget,) = made.actions
    assert isinstance(forget, Forget)
    assert (forget.replica, forget.reason) == ("a", "oom")
    assert made.explain[0].rule == "backoff"
    assert made.explain[0].text == "1 failed starts, 0 crashes; next start in 1.0 s"
    assert made.wake_ns == NOW + SECOND
    assert planning.after(SECOND - 1).actions == ()
    assert isinstance(planning.after(1).actions[0], Start)


def test_after_five_failed_starts_the_version_is_failed_until_another_is_deployed() -> None:
    planning = Planning(version(policy=Policy(min=1)))
    for _ in range(5):
        planning.after(MINUTE)
        assert planning.states() == ["starting"]
        planning.become("failed")
        planning.after(0)
    made = planning.after(MINUTE)

    assert made.actions == ()
    assert made.explain[0].rule == "failed"
    planning.serve(version(NEXT, policy=Policy(min=1)))
    assert isinstance(planning.after(0).actions[0], Start)


def test_a_crash_of_a_replica_that_was_ready_is_replaced_at_once() -> None:
    planning = Planning(version(policy=Policy(min=1)), replicas=(replica("a"),))
    planning.plan()
    planning.become("failed")

    kinds = [type(action) for action in planning.plan().actions]

    assert kinds == [Forget, Start]


# -- deployments


def test_a_candidate_gets_one_replica_beside_those_of_the_live_version() -> None:
    candidate = version(NEXT, policy=Policy(max=1), permille=0, candidate=True)
    planning = Planning(version(policy=Policy(max=1)), candidate, replicas=(replica("a"),))
    planning.ask(NEXT, arrivals=100, queued=100)
    planning.plan()
    planning.after(SECOND)

    assert planning.states() == ["ready"]
    assert planning.states(NEXT) == ["starting"]


def test_a_candidate_that_went_live_has_its_patience_before_it() -> None:
    planning = Planning(version(permille=0, candidate=True), replicas=(replica("a"),))
    planning.plan()
    planning.after(10 * MINUTE)
    planning.serve(version())

    planning.after(5 * MINUTE - 1)
    assert planning.states() == ["ready"]
    planning.after(1)
    assert planning.states() == ["draining"]


def test_a_leaving_version_drains_all_that_starts_or_is_ready() -> None:
    planning = Planning(
        version(permille=0, leaving=True),
        replicas=(replica("a"), replica("b", "starting"), replica("c", "draining")),
    )
    planning.ask(arrivals=5, queued=5, inflight=1)
    made = planning.plan()

    assert planning.states() == ["draining"] * 3
    assert {a.reason for a in made.actions if isinstance(a, Drain)} == {"leaving"}


def test_a_candidate_is_placed_first() -> None:
    live = version(policy=Policy(min=1), gpu_count=1)
    candidate = version(NEXT, permille=0, candidate=True, gpu_count=1)
    planning = Planning(live, candidate, nodes=(node(gpus=1),))

    (start,) = planning.plan().actions

    assert isinstance(start, Start)
    assert start.version == NEXT


def test_in_development_a_replica_becomes_the_next_version_in_place() -> None:
    old = version(permille=0, leaving=True)
    new = version(NEXT, policy=Policy(min=1), swap_from=KEY)
    planning = Planning(old, new, replicas=(replica("a"), replica("b")))

    swap, drain = planning.plan().actions

    assert isinstance(swap, Swap)
    assert (swap.replica, swap.version) == ("a", NEXT)
    assert isinstance(drain, Drain)
    assert drain.replica == "b"


def test_a_version_that_is_being_swapped_away_starts_nothing() -> None:
    old = version(policy=Policy(min=1))
    new = version(NEXT, permille=0, candidate=True, swap_from=KEY)
    planning = Planning(old, new, replicas=(replica("a"),))
    made = planning.plan()

    assert [type(action) for action in made.actions] == [Swap]
    assert made.explain[0].rule == "swap"


def test_without_a_replica_to_swap_a_new_one_is_started() -> None:
    new = version(NEXT, policy=Policy(min=1), swap_from=KEY)
    planning = Planning(new)

    assert [type(action) for action in planning.plan().actions] == [Start]


# -- words


def test_every_version_has_a_row_with_its_numbers() -> None:
    planning = Planning(
        version(permits=4, policy=Policy(max=3, buffer=1)),
        version("app/other@1"),
        replicas=(replica("a"),),
    )
    planning.ask(arrivals=1, inflight=2, queued=0)
    made = planning.plan()

    assert [row.subject for row in made.explain] == [KEY, "app/other@1"]
    assert made.explain[0].text == (
        "0.00 calls/s × 0.000 s = 0.00 at once, 4 a replica; 0 wait, 2 run; min 0, max 3, buffer 1"
    )
    assert (made.explain[0].replicas_ready, made.explain[0].replicas_wanted) == (1, 2)
