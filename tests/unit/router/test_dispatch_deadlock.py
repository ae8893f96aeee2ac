"""Is a call refused exactly when it could only wait for itself?"""

import pytest

from glowplug_router.dispatch import (
    CallCancelled,
    CallRefused,
    Effect,
    Refuse,
    ReplicaLeaving,
    ReplicaLost,
)
from unit.router.desk import Desk, sent


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    for version in ("a", "b", "c"):
        desk.serve(version, max_permits=1)
        desk.ready(f"{version}1", version=version)
    return desk


def is_deadlock(effects: tuple[Effect, ...]) -> bool:
    return any(isinstance(effect, Refuse) and effect.code == "deadlock" for effect in effects)


def test_an_endpoint_that_calls_itself_with_one_permit_is_refused(desk: Desk) -> None:
    desk.call("a")

    assert desk.call("a", parent=1) == (Refuse(2, "deadlock"),)


def test_with_a_second_permit_it_may_call_itself_once(desk: Desk) -> None:
    desk.serve("a", max_permits=2)
    desk.ready("a1", permits=2, version="a")
    desk.call("a")

    assert sent(desk.call("a", parent=1)) == [(2, "a1")]
    assert is_deadlock(desk.call("a", parent=2))


def test_a_circle_over_two_endpoints_is_refused(desk: Desk) -> None:
    desk.call("a")
    desk.call("b", parent=1)

    assert is_deadlock(desk.call("a", parent=2))


def test_of_two_chains_that_block_each_other_the_newest_is_refused(desk: Desk) -> None:
    desk.call("a")
    desk.call("b")
    assert not is_deadlock(desk.call("b", parent=1))

    assert is_deadlock(desk.call("a", parent=2))


def test_three_chains_in_a_ring_are_seen(desk: Desk) -> None:
    for version in ("a", "b", "c"):
        desk.call(version)
    assert not is_deadlock(desk.call("b", parent=1))
    assert not is_deadlock(desk.call("c", parent=2))

    assert is_deadlock(desk.call("a", parent=3))


def test_while_a_replica_can_still_be_started_nothing_is_a_deadlock(desk: Desk) -> None:
    desk.serve("a", max_permits=2)
    desk.call("a")

    assert not is_deadlock(desk.call("a", parent=1))


def test_a_holder_that_simply_works_is_worth_waiting_for(desk: Desk) -> None:
    desk.serve("a", max_permits=2)
    desk.ready("a2", version="a")
    desk.call("a")
    desk.call("a")

    assert not is_deadlock(desk.call("a", parent=1))
    assert is_deadlock(desk.call("a", parent=2))


def test_when_the_holder_that_worked_ends_the_waiting_call_goes_on(desk: Desk) -> None:
    desk.serve("a", max_permits=2)
    desk.ready("a2", version="a")
    desk.call("a")
    desk.call("a")
    desk.call("a", parent=1)

    assert sent(desk.end(2, "a2")) == [(3, "a2")]


def test_one_acquitted_version_acquits_those_that_wait_for_it(desk: Desk) -> None:
    desk.serve("b", max_permits=2)
    desk.ready("b2", version="b")
    desk.call("a")
    desk.call("b")
    desk.call("b")
    desk.call("b", parent=1)

    # a's holder waits for b, where one call is stuck on c and another simply works.
    desk.call("c")
    desk.call("c", parent=2)
    assert not is_deadlock(desk.call("a", parent=3))


def test_a_suspect_is_acquitted_when_what_it_waits_for_is(desk: Desk) -> None:
    desk.call("a")
    desk.call("b")
    desk.call("c")
    desk.call("c", parent=2)  # b waits for c, where a call simply works

    assert not is_deadlock(desk.call("b", parent=1))


def test_calls_on_a_leaving_replica_do_not_block_its_successor(desk: Desk) -> None:
    desk.call("a")
    desk.feed(ReplicaLeaving("a1"))

    assert not is_deadlock(desk.call("a", parent=1))
    assert sent(desk.ready("a2", version="a")) == [(2, "a2")]


def test_a_cancelled_holder_ends_soon_and_blocks_nobody(desk: Desk) -> None:
    desk.call("a")
    desk.call("b", parent=1)
    desk.call("c", parent=1)
    desk.feed(CallCancelled(1))

    assert not is_deadlock(desk.call("a", parent=2))


def test_a_cancelled_holder_that_was_blocked_is_counted_no_more(desk: Desk) -> None:
    desk.call("b")
    desk.call("a")
    desk.call("b", parent=2)
    desk.feed(CallCancelled(2))
    desk.feed(CallCancelled(3))
    desk.end(2, "a1")

    assert sent(desk.call("a")) == [(4, "a1")]


def test_when_a_parent_is_lost_its_waiting_children_are_nobodys(desk: Desk) -> None:
    desk.call("b")
    desk.call("a")
    desk.call("b", parent=2)
    desk.feed(ReplicaLost("a1"))

    assert sent(desk.end(1, "b1")) == [(3, "b1")]


def test_a_parent_that_ends_takes_its_waiting_calls_off_those_above_it(desk: Desk) -> None:
    desk.call("a")
    desk.call("b", parent=1)
    desk.call("c")
    desk.call("c", parent=2)
    desk.end(2, "b1")

    assert sent(desk.call("b")) == [(5, "b1")]
    assert sent(desk.end(3, "c1")) == [(4, "c1")]


def test_a_parent_that_ends_first_leaves_its_call_running(desk: Desk) -> None:
    desk.call("a")
    desk.call("b", parent=1)
    desk.end(1, "a1")

    assert sent(desk.call("a")) == [(3, "a1")]
    assert desk.end(2, "b1") == ()
    assert sent(desk.call("b")) == [(4, "b1")]


def test_a_parent_that_is_not_in_flight_is_no_parent(desk: Desk) -> None:
    desk.call("a")
    desk.call("a")

    assert not is_deadlock(desk.call("a", parent=2))
    assert not is_deadlock(desk.call("a", parent=99))


def test_a_child_that_a_replica_refuses_is_checked_again(desk: Desk) -> None:
    desk.serve("b", max_permits=2)
    desk.ready("b1", permits=2, version="b")
    desk.call("b")
    desk.call("b", parent=1)
    desk.ready("b1", permits=1, version="b")
    desk.serve("b", max_permits=1)

    assert is_deadlock(desk.feed(CallRefused(2, "b1")))
