"""Does a plan launch the machines that its replicas need, use them, leave them in time and give them back?"""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.plan import plan
from glowplug_router.policy.capacity.missing import LATE_FACTOR, SILENT_MAX_NS
from glowplug_router.policy.fitting import never_fits
from glowplug_router.records.capacity import Limits
from glowplug_router.records.decided import Drain, Launch, Plan, Start, Terminate
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Node, Observed, Served
from glowplug_router.simulation.checkers import planned_state
from unit.router.launching import (
    LAUNCH,
    change,
    come,
    launching_planning,
    of,
    offer,
    on_gpu,
    ready_there,
    rule,
    text,
)
from unit.router.planning import KEY, NOW, Planning, node, replica


def test_where_nothing_can_be_launched_no_machine_is_spoken_of() -> None:
    made = Planning().plan()

    assert [row.subject for row in made.explain] == [KEY]
    assert made.memory.capacity.serial == 0


def test_what_finds_no_room_has_a_machine_launched_and_starts_on_it() -> None:
    planning = launching_planning(on_gpu(), offers=(offer(),))
    made = planning.plan()
    (name,) = of(made, Launch)
    assert rule(made) == "machine"
    assert "1 nodes launched" in text(made)
    assert made.memory.versions[0].awaited == 1

    assert planning.after(SECOND).actions == ()
    come(planning)
    made = planning.after(MINUTE)
    assert of(made, Start) == [name]
    assert made.memory.versions[0].awaited == 0


def test_machines_that_are_simply_there_are_used_first() -> None:
    planning = launching_planning(on_gpu(policy=Policy(min=3)), offers=(offer(),), nodes=2)
    made = planning.plan()

    assert sorted(of(made, Start)) == ["n0", "n1"]
    assert len(of(made, Launch)) == 1


def test_an_empty_machine_is_given_back_when_nobody_wants_it() -> None:
    planning = launching_planning(on_gpu(), offers=(offer(),))
    name = ready_there(planning)
    planning.serve(on_gpu(leaving=True, permille=0))
    assert len([a for a in planning.after(SECOND).actions if isinstance(a, Drain)]) == 1
    planning.drop(*(one.id for one in planning.observed.replicas))

    assert of(planning.after(SECOND), Terminate) == [name]
    assert planning.observed.nodes == ()


def test_what_has_room_on_a_machine_that_is_simply_there_moves_before_its_own_goes() -> None:
    planning = launching_planning(on_gpu(), offers=(offer(),))
    name = ready_there(planning)
    here = replace(node("here", gpus=1), seen_ns=planning.now_ns)
    planning.observed = replace(planning.observed, nodes=(*planning.observed.nodes, here))
    made = planning.after(SECOND)
    assert (of(made, Start), len(made.actions)) == (["here"], 1)
    assert planning.after(SECOND).actions == ()
    planning.become("ready")
    old = next(one.id for one in planning.observed.replicas if one.node == name)
    assert [a.replica for a in planning.after(SECOND).actions if isinstance(a, Drain)] == [old]
    planning.drop(old)

    assert of(planning.after(SECOND), Terminate) == [name]


def test_a_machine_with_replicas_that_are_not_shown_is_never_given_back() -> None:
    planning = launching_planning(on_gpu(leaving=True, permille=0), offers=(offer(),))
    machine = Node(id="m", cpu_milli=1, memory_bytes=0, offer="g6/z1/on_demand", seen_ns=NOW)
    planning.observed = replace(planning.observed, nodes=(machine,), kept=("m",))

    assert planning.plan().actions == ()


def test_notice_starts_another_one_first_and_drains_when_that_is_ready() -> None:
    offers = (offer("spot", "z1", 1), offer("spot", "z2", 2))
    planning = launching_planning(on_gpu(drain_ns=5 * MINUTE), offers=offers)
    name = ready_there(planning)
    change(planning, name, leaves_ns=planning.now_ns + 2 * MINUTE)
    made = planning.after(SECOND)
    (other,) = of(made, Launch)
    assert not [one for one in made.actions if isinstance(one, Drain)]

    come(planning)
    assert of(planning.after(40 * SECOND), Start) == [other]
    starting = next(one.id for one in planning.observed.replicas if one.state == "starting")
    planning.become("ready", starting)
    (drain,) = [one for one in planning.after(SECOND).actions if isinstance(one, Drain)]
    assert drain.reason == "machine_leaves"
    assert 0 < drain.drain_ns <= 2 * MINUTE


def test_when_no_other_one_comes_in_time_it_drains_before_the_end() -> None:
    planning = launching_planning(on_gpu(drain_ns=MINUTE), offers=(offer("spot"),))
    name = ready_there(planning)
    end_ns = planning.now_ns + 2 * MINUTE
    change(planning, name, leaves_ns=end_ns)
    made = planning.after(SECOND)
    assert made.wake_ns is not None
    assert made.wake_ns < end_ns
    made = planning.after(2 * MINUTE - 4 * SECOND)

    (drain,) = [one for one in made.actions if isinstance(one, Drain)]
    assert (drain.reason, drain.drain_ns <= 3 * SECOND) == ("notice", True)


def test_what_still_starts_on_a_machine_with_notice_does_not_go_on() -> None:
    planning = launching_planning(on_gpu(), offers=(offer("spot"), offer("spot", "z2")))
    (name,) = of(planning.plan(), Launch)
    come(planning)
    planning.after(SECOND)
    change(planning, name, leaves_ns=planning.now_ns + 2 * MINUTE)
    made = planning.after(SECOND)

    assert [a.reason for a in made.actions if isinstance(a, Drain)] == ["machine_leaves"]
    assert len(of(made, Launch)) == 1


def test_a_machine_that_never_comes_is_given_up_and_another_one_launched() -> None:
    planning = launching_planning(on_gpu(), offers=(offer(),))
    (name,) = of(planning.plan(), Launch)
    made = planning.after(LATE_FACTOR * LAUNCH)

    assert of(made, Terminate) == [name]
    assert len(of(made, Launch)) == 1


def test_a_machine_that_falls_silent_is_replaced_at_once_and_given_back_later() -> None:
    planning = launching_planning(on_gpu(), offers=(offer(),))
    name = ready_there(planning)
    planning.now_ns += 20 * SECOND
    made = planning.plan()
    (other,) = of(made, Launch)
    assert other != name
    assert of(made, Terminate) == []
    planning.now_ns += SILENT_MAX_NS
    come(planning)
    change(planning, other, seen_ns=planning.now_ns)

    assert of(planning.plan(), Terminate) == [name]


def test_critical_versions_have_so_many_more_that_a_zone_may_be_lost() -> None:
    policy = Policy(min=2, max=8, priority="critical")
    offers = tuple(offer(zone=zone) for zone in ("z1", "z2", "z3"))
    planning = launching_planning(on_gpu(policy=policy), offers=offers)
    made = planning.plan()

    assert made.memory.versions[0].reserve == 1
    assert sorted(name.split("/")[1] for name in of(made, Launch)) == ["z1", "z2", "z3"]
    come(planning)
    assert len(of(planning.after(SECOND), Start)) == 3
    planning.become("ready")
    assert planning.after(SECOND).actions == ()
    planning.observed = replace(planning.observed, offers=())  # back to what is there
    assert planning.after(SECOND).memory.versions[0].reserve == 0


def test_the_reserve_stays_under_max() -> None:
    policy = Policy(min=2, max=2, priority="critical")
    offers = (offer(), offer(zone="z2"))
    planning = launching_planning(on_gpu(policy=policy), offers=offers)
    planning.plan()
    come(planning)

    assert len(of(planning.after(SECOND), Start)) == 2


def test_what_fails_to_start_gets_no_machine_for_another_try() -> None:
    planning = launching_planning(on_gpu(policy=Policy(min=2)), offers=(offer(),))
    planning.plan()
    come(planning)
    for _ in range(6):
        planning.after(SECOND)
        planning.become("failed")
        planning.after(10 * MINUTE)
        come(planning)

    assert rule(planning.after(SECOND)) == "failed"
    assert planning.observed.nodes == ()


def test_the_start_of_a_machine_counts_into_how_far_ahead_is_looked() -> None:
    busy = Demand(key=KEY, arrivals=50, completed=40, service_ns=40 * SECOND, inflight=10)
    seen: list[int] = []

    def scaler(served: Served, *others: object) -> object:
        from glowplug_router.policy.scaling.desired import desired_replicas

        seen.append(served.launch_ns)
        return desired_replicas(served, *others)  # type: ignore[arg-type]  # as it is called

    observed = launching_planning(on_gpu(), offers=(offer(),), nodes=1).observed
    plan(observed, (busy,), Memory(), NOW, scaler=scaler)  # type: ignore[arg-type]  # see above
    full = replace(observed, replicas=(replica("a", node="n0", gpus=("n0-gpu0",)),))
    plan(full, (busy,), Memory(), NOW, scaler=scaler)  # type: ignore[arg-type]  # see above

    assert seen == [0, LAUNCH]


def test_faster_devices_than_the_reference_are_counted_as_what_they_do() -> None:
    planning = launching_planning(
        on_gpu(policy=Policy(min=2)), offers=(offer(speed_permille=2000),)
    )
    planning.plan()
    for _ in range(3):
        come(planning)
        planning.after(SECOND)
        planning.become("ready")

    assert len(planning.states()) == 2


def test_a_budget_that_is_spent_launches_no_more_and_says_so() -> None:
    limits = Limits(
        budget_micro_usd=10, spent_micro_usd=10, month_passed_permille=500, degrade="cap"
    )
    planning = launching_planning(on_gpu(), offers=(offer(),))
    planning.observed = replace(planning.observed, limits=limits)
    made = planning.plan()

    assert made.actions == ()
    assert [row.rule for row in made.explain] == ["machine", "budget", "no_capacity"]


def test_what_a_machine_could_hold_that_could_be_launched_does_fit() -> None:
    asked = on_gpu(device="cuda")

    assert never_fits(asked, (node(),), (offer(),)) == ""
    assert never_fits(asked, (node(),), (offer(devices=()),)) != ""


@given(
    demands=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    spots=st.integers(0, 3),
    critical=st.booleans(),
    notice=st.integers(0, 11),
)
def test_whatever_is_asked_no_replica_is_on_a_machine_that_was_given_back(
    demands: list[int], spots: int, critical: bool, notice: int
) -> None:
    policy = Policy(
        max=6, zero_after_ns=30 * SECOND, priority="critical" if critical else "standard"
    )
    offers = (offer(), *(offer("spot", f"z{number}", 300_000) for number in range(spots)))
    planning = launching_planning(on_gpu(policy=policy), offers=offers)
    arrivals = 0
    for turn, queued in enumerate(demands):
        arrivals += queued
        planning.ask(arrivals=arrivals, queued=queued)
        if turn == notice and planning.observed.nodes:
            change(planning, planning.observed.nodes[0].id, leaves_ns=planning.now_ns + 2 * MINUTE)
        planning.after(30 * SECOND)
        names = {one.id for one in planning.observed.nodes}
        assert all(one.node in names for one in planning.observed.replicas)
        come(planning)
        draining = [one.id for one in planning.observed.replicas if one.state == "draining"]
        planning.drop(*draining)
        planning.become("ready")
    planning.ask(queued=0)
    for _ in range(12):
        planning.after(5 * MINUTE)
        come(planning)
        planning.drop(*(r.id for r in planning.observed.replicas if r.state == "draining"))
    assert planning.observed.nodes == (), "machines outlive what they were launched for"


def test_a_planned_state_knows_machines_that_stop_and_go() -> None:
    machine = Node(id="m", cpu_milli=1, memory_bytes=1, offer="o", seen_ns=NOW)
    observed = Observed(epoch=1, served=(), nodes=(machine, replace(machine, id="s")), replicas=())
    ends = (
        Terminate(id="1", node="m", reason="", stop=True),
        Terminate(id="2", node="s", reason=""),
    )
    made = Plan(actions=ends, memory=Memory(), explain=())

    assert [(n.id, n.state) for n in planned_state(observed, made, NOW + HOUR).nodes] == [
        ("m", "stopped")
    ]
