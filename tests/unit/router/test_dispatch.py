"""Who gets a call, and in what order?"""

import pytest

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.dispatch import (
    ATTEMPTS_MAX,
    PENALTY_MAX_NS,
    PENALTY_NS,
    WAKE_EVERY_NS,
    CallArrived,
    CallCancelled,
    CallRefused,
    Cancel,
    Lost,
    Refuse,
    ReplicaLeaving,
    ReplicaLost,
    Send,
    Tick,
    VersionGone,
    Wake,
    step,
)
from unit.router.desk import Desk, sent


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.serve()
    return desk


# -- sending


def test_a_call_goes_to_the_replica_with_most_free_permits(desk: Desk) -> None:
    desk.ready("small", permits=1)
    desk.ready("big", permits=2)

    assert desk.call() == (Send(1, "big", 1),)


def test_among_equals_the_one_used_longest_ago_is_next(desk: Desk) -> None:
    for replica in ("a", "b", "c"):
        desk.ready(replica, permits=1)
    for call, replica in ((1, "a"), (2, "b")):
        assert desk.call() == (Send(call, replica, 1),)
        desk.end(call, replica)

    assert desk.call() == (Send(3, "c", 1),)
    assert desk.call() == (Send(4, "a", 1),)


def test_permits_are_never_exceeded_and_the_next_call_waits(desk: Desk) -> None:
    desk.ready("a", permits=2)
    desk.call()
    desk.call()

    assert desk.call() == (Wake("v"),)
    assert desk.end(1, "a") == (Send(3, "a", 1),)


def test_of_very_many_permits_all_are_used(desk: Desk) -> None:
    desk.ready("a", permits=1000)
    calls = [CallArrived(1000 + number, "v", 0) for number in range(1000)]

    assert all(sent(step(desk.state, call, desk.now_ns)) for call in calls)
    assert desk.call() == (Wake("v"),)


def test_a_replica_that_is_ready_takes_the_waiting_calls_first_come_first_served(
    desk: Desk,
) -> None:
    desk.call()
    desk.call()
    desk.call()

    assert sent(desk.ready("a", permits=2)) == [(1, "a"), (2, "a")]
    assert desk.state.queued("v") == 1
    assert desk.state.inflight("v") == 2


def test_more_permits_for_a_known_replica_are_used_at_once(desk: Desk) -> None:
    desk.ready("a", permits=1)
    desk.call()
    desk.call()

    assert desk.ready("a", permits=2) == (Send(2, "a", 1),)


def test_fewer_permits_than_calls_leave_the_calls_alone(desk: Desk) -> None:
    desk.ready("a", permits=2)
    desk.call()
    desk.call()
    desk.ready("a", permits=1)
    desk.call()

    assert desk.end(1, "a") == ()
    assert desk.end(2, "a") == (Send(3, "a", 1),)


def test_an_end_frees_a_permit_exactly_once(desk: Desk) -> None:
    desk.ready("a", permits=1)
    desk.call()
    desk.end(1, "a")
    desk.call()

    assert desk.end(1, "a") == ()
    assert desk.end(2, "elsewhere") == ()
    assert desk.call() == (Wake("v"),)


def test_a_call_that_is_known_already_is_not_taken_twice(desk: Desk) -> None:
    desk.ready("a", permits=2)
    desk.call()

    assert desk.feed(CallArrived(1, "v", 0)) == ()


def test_unknown_versions_and_replicas_are_answered_or_ignored(desk: Desk) -> None:
    assert desk.call("nobody") == (Refuse(1, "version_not_found"),)
    assert desk.state.queued("nobody") == desk.state.inflight("nobody") == 0
    for event in (
        CallCancelled(9),
        CallRefused(9, "x"),
        ReplicaLeaving("x"),
        ReplicaLost("x"),
        VersionGone("x"),
        Tick(),
    ):
        assert desk.feed(event) == ()


# -- classes


def test_better_classes_go_first_and_each_is_first_come_first_served(desk: Desk) -> None:
    for klass in ("batch", "standard", "interactive", "critical", "critical"):
        desk.call(klass=klass)

    assert [call for call, _ in sent(desk.ready("a", permits=5))] == [4, 5, 3, 2, 1]


# -- refused by a replica


def test_a_refused_call_goes_to_another_replica_at_once(desk: Desk) -> None:
    desk.ready("a", permits=1)
    desk.ready("b", permits=1)
    desk.call()

    assert desk.feed(CallRefused(1, "a")) == (Send(1, "b", 2),)
    assert desk.call() == (Wake("v"),)


def test_a_replica_that_refused_is_left_alone_a_little_longer_each_time(desk: Desk) -> None:
    desk.ready("a", permits=1)
    desk.call()
    for refusal in range(ATTEMPTS_MAX - 1):
        desk.feed(CallRefused(1, "a"))
        assert desk.pass_time((PENALTY_NS << refusal) - 1) in ((), (Wake("v"),))
        assert sent(desk.pass_time(1)) == [(1, "a")]

    (refused,) = desk.feed(CallRefused(1, "a"))
    assert isinstance(refused, Refuse)
    assert refused.code == "overloaded"


def test_the_time_a_replica_is_left_alone_has_an_end(desk: Desk) -> None:
    desk.ready("a", permits=1)
    for call in range(1, 12):
        desk.call()
        desk.feed(CallRefused(call, "a"))
        desk.feed(CallCancelled(call))
        desk.pass_time(PENALTY_MAX_NS)

    assert sent(desk.call()) == [(12, "a")]


def test_an_end_shows_that_the_replica_has_room_again(desk: Desk) -> None:
    desk.ready("a", permits=2)
    desk.call()
    desk.call()
    desk.feed(CallRefused(2, "a"))

    assert desk.end(1, "a") == (Send(2, "a", 2),)


def test_a_refused_call_keeps_its_place(desk: Desk) -> None:
    desk.ready("a", permits=1)
    desk.call()
    desk.call()
    desk.feed(CallRefused(1, "a"))

    assert desk.ready("b", permits=1) == (Send(1, "b", 2),)


def test_a_replica_that_refuses_because_it_drains_is_sent_nothing_more(desk: Desk) -> None:
    desk.ready("a", permits=2)
    desk.call()

    assert desk.feed(CallRefused(1, "a", draining=True)) == (Wake("v"),)
    assert desk.call() == ()
    assert desk.state.queued("v") == 2


def test_a_refused_call_that_nobody_waits_for_is_dropped(desk: Desk) -> None:
    desk.ready("a", permits=1)
    desk.call()
    desk.feed(CallCancelled(1))

    assert desk.feed(CallRefused(1, "a")) == ()
    assert not desk.state.calls


def test_a_refused_call_ends_when_its_deadline_or_its_version_is_gone(desk: Desk) -> None:
    desk.ready("a", permits=2)
    desk.call(deadline_ns=desk.now_ns + SECOND)
    desk.call()
    desk.now_ns += SECOND

    (late,) = desk.feed(CallRefused(1, "a"))
    assert isinstance(late, Refuse)
    assert late.code == "deadline"
    desk.feed(VersionGone("v"))
    assert desk.feed(CallRefused(2, "a")) == (Refuse(2, "version_not_found"),)


# -- leaving and lost


def test_a_leaving_replica_gets_nothing_and_keeps_what_it_has(desk: Desk) -> None:
    desk.ready("a", permits=2)
    desk.call()
    desk.feed(ReplicaLeaving("a"))

    assert desk.call() == (Wake("v"),)
    assert desk.end(1, "a") == ()
    assert desk.feed(ReplicaLeaving("a")) == ()


def test_a_leaving_replica_that_is_ready_again_takes_calls_again(desk: Desk) -> None:
    desk.ready("a", permits=2)
    desk.call()
    desk.feed(ReplicaLeaving("a"))
    desk.call()

    assert desk.ready("a", permits=2) == (Send(2, "a", 1),)


def test_a_lost_replica_loses_each_of_its_calls_once(desk: Desk) -> None:
    desk.ready("a", permits=3)
    desk.call()
    desk.call()
    desk.call()
    desk.end(2, "a")
    desk.feed(CallCancelled(3))

    assert desk.feed(ReplicaLost("a")) == (Lost(1), Lost(3))
    assert desk.feed(ReplicaLost("a")) == ()
    assert desk.end(1, "a") == ()


def test_a_loss_wakes_the_controller_when_calls_wait(desk: Desk) -> None:
    desk.ready("a", permits=1)
    desk.call()
    desk.call()

    assert desk.feed(ReplicaLost("a")) == (Lost(1), Wake("v"))


def test_a_replica_swapped_in_place_serves_its_new_version(desk: Desk) -> None:
    desk.serve("w")
    desk.ready("a", permits=2)
    desk.call()
    desk.call("w")

    assert desk.ready("a", permits=2, version="w") == (Send(2, "a", 1),)
    assert desk.call("v") == (Wake("v"),)
    desk.end(1, "a")
    assert sent(desk.call("w")) == [(4, "a")]


def test_what_a_swapped_replica_refuses_of_its_old_version_frees_room_for_the_new(
    desk: Desk,
) -> None:
    desk.serve("w")
    desk.ready("a", permits=1)
    desk.call()
    desk.ready("a", permits=1, version="w")
    desk.call("w")

    assert sent(desk.feed(CallRefused(1, "a", handed_back=True))) == [(2, "a")]


# -- cancelled


def test_a_waiting_call_that_is_cancelled_leaves_without_a_word(desk: Desk) -> None:
    desk.call()

    assert desk.feed(CallCancelled(1)) == ()
    assert desk.ready("a") == ()


def test_a_running_call_that_is_cancelled_keeps_its_permit_until_it_ends(desk: Desk) -> None:
    desk.ready("a", permits=1)
    desk.call()

    assert desk.feed(CallCancelled(1)) == (Cancel(1, "a"),)
    assert desk.feed(CallCancelled(1)) == ()
    assert desk.call() == (Wake("v"),)
    assert desk.end(1, "a") == (Send(2, "a", 1),)


# -- waking the controller


def test_a_burst_wakes_the_controller_once_and_once_more_if_calls_still_wait(desk: Desk) -> None:
    assert desk.call() == (Wake("v"),)
    desk.now_ns += MILLISECOND
    assert desk.call() == ()
    assert desk.state.next_due_ns == desk.now_ns - MILLISECOND + WAKE_EVERY_NS

    assert desk.pass_time(WAKE_EVERY_NS - MILLISECOND) == (Wake("v"),)
    assert desk.pass_time(SECOND) == ()
    assert desk.call() == (Wake("v"),)


def test_nobody_is_woken_for_calls_that_wait_no_more(desk: Desk) -> None:
    desk.call()
    desk.call()
    desk.feed(CallCancelled(1))
    desk.feed(CallCancelled(2))

    assert desk.pass_time(WAKE_EVERY_NS) == ()


def test_after_a_change_the_next_call_that_waits_wakes_at_once(desk: Desk) -> None:
    desk.call()
    desk.ready("a", permits=1)

    assert desk.call() == (Wake("v"),)
