"""When is a replica left alone, and when is it tried again?"""

import pytest

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.dispatch import CallRefused, ReplicaLeaving, ReplicaLost
from glowplug_router.dispatch.health import (
    COMPARE_EVERY_NS,
    EJECT_MAX_NS,
    EJECT_NS,
    FAULTS_MAX,
    SAMPLES_MIN,
    SLOW_START_NS,
)
from unit.router.desk import Desk, sent

NAMES = ("a", "b", "c")


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.serve(max_permits=100)
    for name in NAMES:
        desk.ready(name)
    return desk


def turn(desk: Desk, times_ns: dict[str, int], faulty: str = "") -> None:  # names, in one string
    """Fill every replica that takes a call, then end all of them."""
    there = []
    while went := sent(desk.call()):
        there += went
    desk.feed_cancel(desk.last_call)
    for call, replica in there:
        desk.end(call, replica, times_ns.get(replica, MILLISECOND), is_fault=replica in faulty)


def used(desk: Desk) -> set[str]:
    """Return the replicas that take calls now."""
    there = []
    while went := sent(desk.call()):
        there += went
    desk.feed_cancel(desk.last_call)
    for call, replica in there:
        desk.end(call, replica, MILLISECOND)
    return {replica for _, replica in there}


# -- faults


def test_five_faults_in_a_row_take_a_replica_out(desk: Desk) -> None:
    for _ in range(FAULTS_MAX - 1):
        turn(desk, {}, faulty="b")
    assert used(desk) == {"a", "b", "c"}  # and a success in between counts
    for _ in range(FAULTS_MAX):
        turn(desk, {}, faulty="b")

    assert used(desk) == {"a", "c"}


def test_after_ten_seconds_one_call_shows_whether_it_is_well(desk: Desk) -> None:
    desk.ready("b", permits=3)
    desk.pass_time(SLOW_START_NS)
    for _ in range(FAULTS_MAX):
        turn(desk, {}, faulty="b")
    assert used(desk) == {"a", "c"}
    desk.pass_time(EJECT_NS)

    went = [one for _ in range(4) for one in sent(desk.call())]
    assert sorted(replica for _, replica in went) == ["a", "b", "c"]
    ((trial, _),) = [one for one in went if one[1] == "b"]
    assert [replica for _, replica in sent(desk.end(trial, "b", MILLISECOND))] == ["b"]
    assert desk.state.replicas["b"].usable == 3


def test_a_trial_that_fails_doubles_the_time(desk: Desk) -> None:
    for _ in range(FAULTS_MAX):
        turn(desk, {}, faulty="b")
    desk.pass_time(EJECT_NS)
    turn(desk, {}, faulty="b")
    desk.pass_time(2 * EJECT_NS - 1)

    assert used(desk) == {"a", "c"}
    desk.pass_time(1)
    assert used(desk) == {"a", "b", "c"}


def test_who_was_well_for_long_begins_anew(desk: Desk) -> None:
    for _ in range(FAULTS_MAX):
        turn(desk, {}, faulty="b")
    desk.pass_time(EJECT_NS)
    turn(desk, {})
    desk.pass_time(EJECT_MAX_NS + 1)
    for _ in range(FAULTS_MAX):
        turn(desk, {}, faulty="b")
    desk.pass_time(EJECT_NS)

    assert used(desk) == {"a", "b", "c"}


def test_at_most_a_third_is_taken_out(desk: Desk) -> None:
    for _ in range(2 * FAULTS_MAX):
        turn(desk, {}, faulty="ab")

    assert used(desk) == {"b", "c"}


def test_of_two_nobody_is_to_blame() -> None:
    desk = Desk()
    desk.serve()
    desk.ready("a")
    desk.ready("b")
    for _ in range(3 * FAULTS_MAX):
        turn(desk, {}, faulty="b")

    assert used(desk) == {"a", "b"}


@pytest.mark.parametrize("event", [ReplicaLeaving("a"), ReplicaLost("a")])
def test_when_others_leave_who_was_taken_out_is_tried_again(
    desk: Desk, event: ReplicaLeaving | ReplicaLost
) -> None:
    for _ in range(FAULTS_MAX):
        turn(desk, {}, faulty="b")
    for _ in range(3):
        desk.call()

    assert sent(desk.feed(event)) == [(desk.last_call, "b")]


def test_one_that_was_taken_out_and_leaves_is_counted_no_more(desk: Desk) -> None:
    for _ in range(FAULTS_MAX):
        turn(desk, {}, faulty="b")
    desk.feed(ReplicaLeaving("b"))

    assert desk.state.versions["v"].ejected == 0
    desk.ready("b")
    assert used(desk) == {"a", "b", "c"}


def test_a_refusal_does_not_shorten_an_ejection(desk: Desk) -> None:
    desk.ready("b", permits=FAULTS_MAX + 2)
    desk.pass_time(SLOW_START_NS)
    went = [one for _ in range(9) for one in sent(desk.call())]
    on_b = [call for call, replica in went if replica == "b"]
    for call in on_b[:FAULTS_MAX]:
        desk.end(call, "b", MILLISECOND, is_fault=True)
    desk.feed(CallRefused(on_b[-1], "b"))
    desk.end(on_b[-2], "b", MILLISECOND)

    assert desk.state.replicas["b"].is_ejected
    assert desk.state.replicas["b"].usable == 0


# -- slowness


def slow(desk: Desk, factor: float) -> None:
    for _ in range(SAMPLES_MIN):
        turn(
            desk,
            {"b": int(factor * 10 * MILLISECOND), "a": 10 * MILLISECOND, "c": 10 * MILLISECOND},
        )
    desk.now_ns += COMPARE_EVERY_NS
    for _ in range(3):
        turn(
            desk,
            {"b": int(factor * 10 * MILLISECOND), "a": 10 * MILLISECOND, "c": 10 * MILLISECOND},
        )
        desk.now_ns += COMPARE_EVERY_NS


def test_a_replica_three_times_as_slow_as_usual_is_taken_out(desk: Desk) -> None:
    slow(desk, 5.0)

    assert desk.state.replicas["b"].is_ejected


def test_a_replica_that_is_only_twice_as_slow_is_used(desk: Desk) -> None:
    slow(desk, 2.0)

    assert not desk.state.replicas["b"].is_ejected


def test_a_trial_that_is_as_slow_as_before_takes_it_out_again(desk: Desk) -> None:
    slow(desk, 5.0)
    desk.pass_time(EJECT_NS)
    turn(desk, {"b": 50 * MILLISECOND, "a": 10 * MILLISECOND, "c": 10 * MILLISECOND})

    assert desk.state.replicas["b"].is_ejected
    assert desk.state.replicas["b"].ejections == 2


LENGTHS = (1, 30, 3, 100, 10)  # of calls, as prompts and answers have them


def unlike(desk: Desk, factor: float, turns: int) -> None:
    """Let calls of unlike lengths end, those on b slower by a factor."""
    for number in range(turns):
        took = {
            name: int(LENGTHS[(number + at) % len(LENGTHS)] * MILLISECOND * times)
            for at, (name, times) in enumerate({"a": 1.0, "b": factor, "c": 1.0}.items())
        }
        turn(desk, took)
        desk.now_ns += COMPARE_EVERY_NS


def test_where_calls_differ_a_hundredfold_a_few_long_ones_take_nobody_out(desk: Desk) -> None:
    unlike(desk, 1.0, 3 * SAMPLES_MIN)
    turn(desk, {"b": 5_000 * MILLISECOND, "a": 10 * MILLISECOND, "c": 10 * MILLISECOND})
    unlike(desk, 1.0, SAMPLES_MIN)

    assert not any(replica.is_ejected for replica in desk.state.replicas.values())


def test_where_calls_differ_a_hundredfold_who_is_far_slower_is_taken_out(desk: Desk) -> None:
    unlike(desk, 50.0, 3 * SAMPLES_MIN)

    assert desk.state.replicas["b"].ejections


# -- slow start


def test_permits_of_a_replica_that_comes_beside_others_come_into_use_one_by_one() -> None:
    desk = Desk()
    desk.serve(max_permits=100)
    desk.ready("a", permits=8)
    desk.ready("b", permits=8)
    for _ in range(30):
        desk.call()
    running = []
    for _ in range(8):
        running.append(desk.state.replicas["b"].running)
        desk.pass_time(SLOW_START_NS // 8)

    assert running == [1, 1, 2, 3, 4, 5, 6, 7]
    assert desk.state.replicas["b"].running == 8


def test_the_only_replica_is_used_at_once() -> None:
    desk = Desk()
    desk.serve(max_permits=100)
    for _ in range(8):
        desk.call()

    assert len(sent(desk.ready("a", permits=8))) == 8


def test_a_new_replica_that_is_left_alone_is_used_in_full() -> None:
    desk = Desk()
    desk.serve(max_permits=100)
    desk.ready("a", permits=8)
    desk.ready("b", permits=8)
    desk.feed(ReplicaLeaving("a"))
    for _ in range(8):
        desk.call()
    desk.pass_time(SLOW_START_NS // 8)

    assert desk.state.replicas["b"].running == 8
    assert desk.state.replicas["b"].new_since_ns == 0


def test_a_replica_with_one_permit_has_nothing_to_start_slowly(desk: Desk) -> None:
    assert used(desk) == {"a", "b", "c"}


def test_a_penalty_ends_when_a_call_ends_there() -> None:
    desk = Desk()
    desk.serve()
    desk.ready("a", permits=2)
    desk.call()
    desk.call()
    desk.feed(CallRefused(2, "a"))
    assert desk.state.replicas["a"].usable == 0

    assert sent(desk.end(1, "a", SECOND)) == [(2, "a")]
