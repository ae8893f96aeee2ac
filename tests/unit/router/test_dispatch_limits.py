"""How long, and how many, may wait?"""

import pytest

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.dispatch import (
    EXPIRE_PER_STEP,
    QUEUE_PER_PERMIT,
    CallArrived,
    CallCancelled,
    CallRefused,
    Effect,
    Refuse,
    ReplicaLeaving,
    ReplicaLost,
    Tick,
    VersionGone,
    Wake,
    step,
)
from glowplug_router.dispatch.drain import (
    RETRY_MAX_NS,
    RETRY_MIN_NS,
    RETRY_UNKNOWN_NS,
    DrainRate,
)
from glowplug_router.dispatch.timers import Timers
from unit.router.desk import Desk, sent


@pytest.fixture
def desk() -> Desk:
    return Desk()


def codes(effects: tuple[Effect, ...]) -> list[tuple[int, str]]:
    return [(effect.call, effect.code) for effect in effects if isinstance(effect, Refuse)]


# -- how many


def test_while_nothing_is_ready_at_most_hold_calls_wait(desk: Desk) -> None:
    desk.serve(hold=2)
    desk.call()
    desk.call()

    assert codes(desk.call()) == [(3, "hold_full")]


def test_with_no_hold_at_all_the_controller_is_still_woken(desk: Desk) -> None:
    desk.serve(hold=0)

    assert desk.call() == (Wake("v"), Refuse(1, "hold_full", RETRY_UNKNOWN_NS))


def test_while_a_replica_is_ready_the_queue_is_bounded_by_the_permits_of_full_scale(
    desk: Desk,
) -> None:
    desk.serve(hold=1, max_permits=1)
    desk.ready("a", permits=1)
    for _ in range(1 + QUEUE_PER_PERMIT):
        assert not codes(desk.call())

    assert codes(desk.call()) == [(QUEUE_PER_PERMIT + 2, "overloaded")]


def test_the_queue_has_room_for_hold_calls_at_least(desk: Desk) -> None:
    desk.serve(hold=QUEUE_PER_PERMIT + 1, max_permits=1)
    desk.ready("a", permits=1)
    for _ in range(2 + QUEUE_PER_PERMIT):
        assert not codes(desk.call())

    assert codes(desk.call()) == [(QUEUE_PER_PERMIT + 3, "overloaded")]


# -- how long


def test_time_without_a_ready_replica_counts_against_the_start_limit(desk: Desk) -> None:
    desk.serve(queue_ns=1, start_ns=5 * SECOND)
    desk.call()

    assert desk.pass_time(5 * SECOND - 1) == ()
    assert codes(desk.pass_time(1)) == [(1, "start_timeout")]


def test_time_with_a_ready_replica_counts_against_the_queue_limit(desk: Desk) -> None:
    desk.serve(queue_ns=5 * SECOND, start_ns=1)
    desk.ready("a")
    desk.call()
    desk.call()

    assert desk.pass_time(5 * SECOND - 1) == ()
    assert codes(desk.pass_time(1)) == [(2, "queue_timeout")]


def test_the_two_limits_never_add_up_to_each_other(desk: Desk) -> None:
    desk.serve(queue_ns=2 * SECOND, start_ns=3 * SECOND)
    desk.call()
    desk.call()
    desk.pass_time(2 * SECOND)  # 2 of 3 s of starting
    desk.ready("a")
    desk.pass_time(SECOND)  # 1 of 2 s of queueing
    desk.feed(ReplicaLeaving("a"))

    assert codes(desk.pass_time(SECOND - 1)) == []
    desk.ready("b", permits=0)
    assert codes(desk.pass_time(SECOND - 1)) == []
    assert codes(desk.pass_time(1)) == [(2, "queue_timeout")]


def test_the_oldest_call_ends_first_whatever_its_class(desk: Desk) -> None:
    desk.serve(start_ns=5 * SECOND)
    desk.call(klass="batch")
    desk.now_ns += SECOND
    desk.call(klass="critical")

    assert codes(desk.pass_time(4 * SECOND)) == [(1, "start_timeout")]
    assert codes(desk.pass_time(SECOND)) == [(2, "start_timeout")]


def test_a_refused_call_does_not_get_its_waiting_time_back(desk: Desk) -> None:
    desk.serve(queue_ns=2 * SECOND)
    desk.ready("a")
    desk.call()
    desk.now_ns += SECOND
    desk.feed(CallRefused(1, "a"))
    desk.ready("a", permits=0)

    assert codes(desk.pass_time(SECOND)) == [(1, "queue_timeout")]


def test_a_waiting_call_ends_at_its_deadline(desk: Desk) -> None:
    desk.serve()
    desk.call(deadline_ns=desk.now_ns + SECOND)

    assert codes(desk.pass_time(SECOND - 1)) == []
    assert codes(desk.pass_time(1)) == [(1, "deadline")]


def test_a_deadline_that_has_passed_is_refused_at_the_door(desk: Desk) -> None:
    desk.serve()
    desk.ready("a")

    assert codes(desk.call(deadline_ns=desk.now_ns)) == [(1, "deadline")]


def test_a_call_that_was_sent_is_not_ended_by_its_deadline(desk: Desk) -> None:
    desk.serve()
    desk.call(deadline_ns=desk.now_ns + SECOND)
    desk.ready("a")

    assert desk.pass_time(2 * SECOND) == ()
    assert desk.state.next_due_ns is None


def test_any_event_expires_what_is_due_when_the_tick_is_late(desk: Desk) -> None:
    desk.serve(start_ns=SECOND)
    desk.call()
    desk.now_ns += 2 * SECOND

    assert codes(desk.ready("a")) == [(1, "start_timeout")]


def test_limits_that_change_hold_for_calls_that_wait_already(desk: Desk) -> None:
    desk.serve(start_ns=10 * SECOND)
    desk.call()
    desk.now_ns += SECOND

    assert codes(desk.serve(start_ns=SECOND)) == [(1, "start_timeout")]


def test_next_due_is_the_earliest_of_all_limits(desk: Desk) -> None:
    assert desk.state.next_due_ns is None
    desk.serve(start_ns=10 * SECOND)
    desk.call()
    assert desk.state.next_due_ns == desk.now_ns + 10 * SECOND
    desk.call(deadline_ns=desk.now_ns + 3)
    assert desk.state.next_due_ns == desk.now_ns + 3
    desk.feed(CallCancelled(2))
    desk.pass_time(SECOND)

    assert desk.state.next_due_ns == desk.now_ns + 9 * SECOND


# -- no hope


def test_a_version_that_cannot_start_refuses_those_that_wait_and_those_that_come(
    desk: Desk,
) -> None:
    desk.serve()
    desk.call()

    assert codes(desk.serve(failed="ImportError")) == [(1, "start_failed")]
    assert desk.call() == (Refuse(2, "start_failed"),)


def test_a_replica_that_is_ready_goes_on_although_no_other_can_start(desk: Desk) -> None:
    desk.serve()
    desk.ready("a")
    desk.call()
    desk.call()

    assert desk.serve(failed="out of memory") == ()
    assert codes(desk.feed(ReplicaLost("a"))) == [(2, "start_failed")]


def test_a_version_that_is_gone_refuses_those_that_wait_and_finishes_those_that_run(
    desk: Desk,
) -> None:
    desk.serve()
    desk.ready("a")
    desk.call()
    desk.call()

    assert codes(desk.feed(VersionGone("v"))) == [(2, "version_not_found")]
    assert codes(desk.call()) == [(3, "version_not_found")]
    desk.end(1, "a")
    desk.feed(ReplicaLost("a"))
    assert not desk.state.versions


def test_a_version_that_is_gone_before_its_replica_is_linked_leaves_nothing(desk: Desk) -> None:
    desk.ready("a")
    desk.feed(VersionGone("v"))
    desk.feed(ReplicaLost("a"))

    assert not desk.state.versions
    assert not desk.state.replicas


def crowd(desk: Desk, size: int, deadline_ns: int = 0) -> None:
    for number in range(size):
        step(desk.state, CallArrived(1000 + number, "v", deadline_ns), desk.now_ns)


def test_a_long_queue_is_refused_in_pieces_that_do_not_stop_the_gateway(desk: Desk) -> None:
    desk.serve(hold=2 * EXPIRE_PER_STEP)
    crowd(desk, EXPIRE_PER_STEP + 10)

    assert len(codes(desk.feed(VersionGone("v")))) == EXPIRE_PER_STEP
    due_ns = desk.state.next_due_ns
    assert due_ns is not None
    assert due_ns <= desk.now_ns
    assert len(codes(desk.feed(Tick()))) == 10
    assert not desk.state.versions


def test_many_deadlines_at_once_are_answered_in_pieces_too(desk: Desk) -> None:
    desk.serve(hold=2 * EXPIRE_PER_STEP)
    crowd(desk, EXPIRE_PER_STEP + 10, deadline_ns=desk.now_ns + 1)

    assert len(codes(desk.pass_time(1))) == EXPIRE_PER_STEP
    assert len(codes(desk.feed(Tick()))) == 10


def test_a_version_that_is_gone_is_forgotten_when_its_last_caller_went_away(desk: Desk) -> None:
    desk.serve(hold=2 * EXPIRE_PER_STEP)
    crowd(desk, EXPIRE_PER_STEP + 1)
    step(desk.state, VersionGone("v"), desk.now_ns)
    step(desk.state, CallCancelled(1000 + EXPIRE_PER_STEP), desk.now_ns - 1)

    assert not desk.state.versions


# -- when to come back


def test_retry_after_comes_from_how_fast_calls_end(desk: Desk) -> None:
    desk.serve(hold=1, max_permits=0)
    desk.ready("a")
    for call in range(1, 101):
        desk.call()
        desk.now_ns += 500 * MILLISECOND
        desk.end(call, "a")
    desk.call()
    desk.call()

    (refused,) = desk.call()[-1:]
    assert isinstance(refused, Refuse)
    assert refused.code == "overloaded"
    assert refused.retry_after_ns == pytest.approx(2 * 500 * MILLISECOND, rel=0.1)


def test_the_rate_of_ends_is_right_from_the_first_second_on() -> None:
    rate = DrainRate()
    for number in range(1, 11):
        rate.note(number * 100 * MILLISECOND)

    assert rate.wait_ns(10, SECOND) == pytest.approx(SECOND, rel=0.15)


def test_waits_are_kept_between_a_busy_loop_and_go_away() -> None:
    rate = DrainRate()
    assert rate.wait_ns(5, SECOND) == RETRY_UNKNOWN_NS
    rate.note(SECOND)

    assert rate.wait_ns(0, SECOND) == RETRY_MIN_NS
    assert rate.wait_ns(10**9, SECOND) == RETRY_MAX_NS
    assert rate.wait_ns(1, 10**15) == RETRY_MAX_NS


# -- bounded memory


def test_what_waits_no_more_leaves_nothing_in_queue_and_timers(desk: Desk) -> None:
    desk.serve(hold=10, start_ns=10**15)
    desk.call(deadline_ns=10**16)
    for call in range(2, 3000):
        step(desk.state, CallArrived(call, "v", 10**15), desk.now_ns)
        step(desk.state, CallCancelled(call), desk.now_ns)

    assert len(desk.state.timers) == 2  # its deadline, and the limit of the version
    assert sent(desk.ready("a")) == [(1, "a")]


def test_a_timer_that_was_set_again_goes_off_once() -> None:
    class Target:
        timer_ns = 0
        timer_serial = 0

    target, timers = Target(), Timers[Target]()
    timers.set(target, 5)
    timers.set_no_later(target, 9)
    timers.set_no_later(target, 3)

    assert timers.pop(2) is None
    assert timers.pop(9) is target
    assert timers.pop(9) is None
    assert timers.first_ns is None
