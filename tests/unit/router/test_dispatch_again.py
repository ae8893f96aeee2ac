"""When does a call that was lost with its replica run again?"""

import pytest

from glowplug.clock import SECOND
from glowplug_router.dispatch import (
    ATTEMPTS_MAX,
    Again,
    CallBegan,
    CallCancelled,
    Lost,
    Refuse,
    ReplicaLost,
    Send,
    VersionGone,
    Wake,
)
from glowplug_router.dispatch.budget import FLOOR, WINDOW_NS, Budget
from unit.router.desk import Desk, sent


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.serve(retry_safe=True, max_permits=100)
    desk.ready("a")
    return desk


def test_a_call_that_is_safe_to_run_again_goes_to_another_replica_at_once(desk: Desk) -> None:
    desk.call()
    desk.ready("b")

    assert desk.feed(ReplicaLost("a")) == (Again(1), Send(1, "b", 2))


def test_without_another_replica_it_waits_at_its_place(desk: Desk) -> None:
    desk.call()
    desk.call()

    assert desk.feed(ReplicaLost("a")) == (Again(1), Wake("v"))
    assert desk.ready("b") == (Send(1, "b", 2),)


def test_a_call_of_a_version_that_does_not_say_so_is_lost(desk: Desk) -> None:
    desk.serve(retry_safe=False)
    desk.call()
    desk.ready("b")

    assert desk.feed(ReplicaLost("a")) == (Lost(1),)


def test_a_call_whose_answer_has_begun_is_lost(desk: Desk) -> None:
    desk.call()
    desk.feed(CallBegan(1))
    desk.feed(CallBegan(99))

    assert desk.feed(ReplicaLost("a")) == (Lost(1),)


def test_a_call_that_nobody_waits_for_is_lost(desk: Desk) -> None:
    desk.call()
    desk.feed(CallCancelled(1))

    assert desk.feed(ReplicaLost("a")) == (Lost(1),)


def test_a_call_past_its_deadline_or_of_a_version_that_is_gone_is_lost(desk: Desk) -> None:
    desk.ready("b")
    desk.call(deadline_ns=desk.now_ns + SECOND)
    desk.call()
    desk.now_ns += SECOND
    assert desk.feed(ReplicaLost("a")) == (Lost(1),)

    desk.feed(VersionGone("v"))
    assert desk.feed(ReplicaLost("b")) == (Lost(2),)


def test_attempts_are_counted_together_with_refusals(desk: Desk) -> None:
    desk.call()
    for attempt in range(2, ATTEMPTS_MAX + 1):
        assert desk.feed(ReplicaLost("a"))[0] == Again(1)
        desk.now_ns += WINDOW_NS
        assert desk.ready("a")[-1] == Send(1, "a", attempt)

    assert desk.feed(ReplicaLost("a")) == (Lost(1),)


def test_of_many_calls_lost_at_once_a_few_run_again() -> None:
    desk = Desk()
    desk.serve(retry_safe=True, max_permits=100)
    desk.ready("a", permits=20)
    for _ in range(20):
        desk.call()

    effects = desk.feed(ReplicaLost("a"))
    assert sum(isinstance(effect, Again) for effect in effects) == FLOOR
    assert sum(isinstance(effect, Lost) for effect in effects) == 20 - FLOOR


def test_one_retry_is_earned_by_ten_recent_ends_and_the_floor_comes_back() -> None:
    budget = Budget()
    now_ns, ends = SECOND, 0

    def taken() -> int:
        return sum(budget.take(ends, now_ns) for _ in range(1000))

    assert taken() == FLOOR
    now_ns, ends = now_ns + SECOND, ends + 200
    assert taken() == 20
    now_ns += WINDOW_NS
    assert taken() == FLOOR
    now_ns, ends = now_ns + 10 * WINDOW_NS, ends + 1000  # 100 of them in the last window
    assert taken() == 10


def test_a_call_that_waits_again_still_ends_by_its_limits(desk: Desk) -> None:
    desk.serve(retry_safe=True, start_ns=SECOND)
    desk.call()
    desk.feed(ReplicaLost("a"))

    (refusal,) = desk.pass_time(SECOND)
    assert isinstance(refusal, Refuse)
    assert refusal.code == "start_timeout"
    assert sent(desk.ready("b")) == []
