"""What goes to a replica beyond its permits, and what when it comes back?"""

import pytest

from glowplug.clock import MILLISECOND
from glowplug_router.dispatch import (
    CallCancelled,
    CallRefused,
    Cancel,
    Lost,
    Refuse,
    ReplicaLeaving,
    ReplicaLost,
    Send,
)
from unit.router.desk import Desk, refused, sent


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.serve(max_permits=2)
    desk.ready("a", ahead=2)
    return desk


def early(desk: Desk, replica: str = "a") -> list[int]:
    return [call.id for call in desk.state.replicas[replica].early]


def test_when_every_permit_is_taken_calls_go_ahead_and_no_further(desk: Desk) -> None:
    assert [sent(desk.call()) for _ in range(4)] == [[(1, "a")], [(2, "a")], [(3, "a")], []]
    assert early(desk) == [2, 3]
    assert desk.state.inflight("v") == 3


def test_a_free_permit_anywhere_is_better_than_going_ahead(desk: Desk) -> None:
    desk.call()
    desk.ready("b")

    assert sent(desk.call()) == [(2, "b")]
    assert sent(desk.call()) == [(3, "a")]


def test_of_several_the_one_with_fewest_ahead_takes_the_next(desk: Desk) -> None:
    desk.ready("b", ahead=2)
    for _ in range(6):
        desk.call()

    assert (len(early(desk, "a")), len(early(desk, "b"))) == (2, 2)
    assert not sent(desk.call())


def test_an_end_lets_the_oldest_that_was_taken_ahead_hold_a_permit(desk: Desk) -> None:
    for _ in range(4):
        desk.call()

    assert sent(desk.end(1, "a", MILLISECOND)) == [(4, "a")]
    assert early(desk) == [3, 4]
    assert {call.id for call in desk.state.versions["v"].holders} == {2}


def test_a_call_with_a_parent_never_goes_ahead(desk: Desk) -> None:
    desk.serve("w", max_permits=1)
    desk.ready("w1", version="w")
    desk.call("w")
    desk.call()

    assert sent(desk.call(parent=1)) == []
    assert sent(desk.call()) == []  # it was there first: nobody passes it
    assert sent(desk.call(klass="critical")) == [(5, "a")]  # but who is to go before it
    assert sent(desk.end(2, "a", MILLISECOND)) == []
    assert sent(desk.end(5, "a", MILLISECOND)) == [(3, "a")]


def test_what_was_taken_ahead_holds_nothing_that_others_could_wait_for(desk: Desk) -> None:
    """A call ahead has not begun, so it cannot be what a call made from the one before it waits for."""
    desk.serve(max_permits=1)
    desk.call()
    desk.call()

    assert refused(desk.call(parent=1)) == [(3, "deadlock")]


def test_a_call_taken_ahead_that_made_calls_before_we_heard_is_counted_when_we_do(
    desk: Desk,
) -> None:
    desk.serve("w", max_permits=1)
    desk.ready("w1", version="w")
    desk.call("w")
    desk.call()
    desk.call()
    desk.call("w", parent=3)
    desk.end(2, "a")

    assert desk.state.versions["v"].blocked == 1
    desk.end(3, "a")
    assert desk.state.versions["v"].blocked == 0


def test_a_call_handed_back_keeps_its_place_and_its_attempt_and_nobody_is_punished(
    desk: Desk,
) -> None:
    for _ in range(4):
        desk.call()
    desk.ready("a", ahead=0)

    assert sent(desk.feed(CallRefused(2, "a", handed_back=True))) == []
    assert sent(desk.feed(CallRefused(3, "a", handed_back=True))) == []
    assert desk.end(1, "a") == (Send(2, "a", 1),)
    assert desk.end(2, "a") == (Send(3, "a", 1),)


def test_a_call_that_was_handed_back_once_waits_for_a_permit(desk: Desk) -> None:
    desk.call()
    desk.call()

    assert sent(desk.feed(CallRefused(2, "a", handed_back=True))) == []
    assert sent(desk.ready("b", ahead=2)) == [(2, "b")]


def test_to_hand_the_same_call_back_again_is_to_refuse_it(desk: Desk) -> None:
    desk.call()
    desk.call()
    desk.feed(CallRefused(2, "a", handed_back=True))
    desk.end(1, "a")
    attempts = 1
    while not refused(effects := desk.feed(CallRefused(2, "a", handed_back=True))):
        attempts += 1
        while not sent(effects):
            due_ns = desk.state.next_due_ns
            assert due_ns is not None
            effects = desk.pass_time(max(0, due_ns - desk.now_ns))

    assert attempts == 5
    assert refused(effects) == [(2, "overloaded")]


def test_nothing_goes_ahead_to_a_replica_that_leaves_or_is_gone(desk: Desk) -> None:
    desk.call()
    desk.feed(ReplicaLeaving("a"))

    assert not sent(desk.call())
    assert desk.feed(ReplicaLost("a"))[0] == Lost(1)


def test_what_was_taken_ahead_by_a_replica_that_leaves_holds_no_permit_when_it_begins(
    desk: Desk,
) -> None:
    desk.call()
    desk.call()
    desk.feed(ReplicaLeaving("a"))
    desk.end(1, "a")

    assert not desk.state.versions["v"].holders
    assert early(desk) == []


def test_a_call_ahead_can_be_cancelled(desk: Desk) -> None:
    desk.call()
    desk.call()

    assert desk.feed(CallCancelled(2)) == (Cancel(2, "a"),)
    desk.end(1, "a")
    assert not desk.state.versions["v"].holders
    assert desk.end(2, "a") == ()


def test_more_permits_let_calls_that_were_taken_ahead_begin(desk: Desk) -> None:
    for _ in range(3):
        desk.call()
    desk.ready("a", permits=2, ahead=2)

    assert early(desk) == [3]


def test_a_refused_call_ahead_goes_elsewhere_at_once(desk: Desk) -> None:
    desk.call()
    desk.ready("b")
    desk.call()
    desk.call()
    desk.end(2, "b")

    assert desk.feed(CallRefused(3, "a")) == (Send(3, "b", 2),)
    assert not any(isinstance(effect, Refuse) for effect in desk.call())


def test_while_some_wait_who_comes_back_and_may_go_at_once_does(desk: Desk) -> None:
    desk.ready("a", ahead=0)
    desk.call()
    desk.call()

    assert sent(desk.ready("a", ahead=1)) == [(2, "a")]
