"""Who goes first between classes?"""

from collections import Counter

import pytest

from glowplug.clock import MILLISECOND, SECOND
from glowplug.spec import Class
from glowplug_router.dispatch import CallArrived, CallCancelled, CallEnded, CallRefused, Send, step
from glowplug_router.dispatch.classes import ACTIVE_NS, RESERVED
from unit.router.desk import Desk, sent

ALL: tuple[Class, ...] = ("critical", "interactive", "standard", "batch")


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.serve(hold=10_000, max_permits=100)
    return desk


def shares(desk: Desk, cost_ms: dict[Class, int], ends: int) -> Counter[str]:
    """Let calls of several classes wait without end, one replica with one permit; return device time by class."""
    desk.ready("a", permits=1)
    klass: dict[int, Class] = {}
    given: Counter[str] = Counter()
    number = 0

    def arrive(one: Class) -> None:
        nonlocal number
        number += 1
        klass[number] = one
        flying.extend(sent(step(desk.state, CallArrived(number, "v", 0, klass=one), desk.now_ns)))

    flying: list[tuple[int, str]] = []
    for one in cost_ms:
        for _ in range(3):
            arrive(one)
    for _ in range(ends):
        call, replica = flying.pop()
        time_ns = cost_ms[klass[call]] * MILLISECOND
        given[klass[call]] += time_ns
        desk.now_ns += time_ns
        flying.extend(sent(step(desk.state, CallEnded(call, replica, time_ns), desk.now_ns)))
        arrive(klass[call])
    return Counter({one: given[one] / given.total() for one in given})


def test_a_class_that_waits_gets_its_reserved_share_whatever_the_better_ones_do(desk: Desk) -> None:
    given = shares(desk, dict.fromkeys(ALL, 10), ends=3000)

    assert given["batch"] == pytest.approx(RESERVED[3], abs=0.005)
    assert given["standard"] == pytest.approx(RESERVED[2], abs=0.005)
    assert given["interactive"] == pytest.approx(RESERVED[1], abs=0.005)
    assert given["critical"] == pytest.approx(0.74, abs=0.01)


@pytest.mark.parametrize("cost_ms", [1, 10, 200])
def test_the_share_is_one_of_device_time_not_of_calls(desk: Desk, cost_ms: int) -> None:
    given = shares(desk, {"critical": 10, "batch": cost_ms}, ends=4000)

    assert given["batch"] >= 0.05
    assert given["critical"] >= 0.85


def test_a_share_that_is_not_used_is_lent_and_not_saved_up(desk: Desk) -> None:
    assert shares(desk, {"critical": 10}, ends=500)["critical"] == 1.0
    for number in range(10_000, 10_003):
        step(desk.state, CallArrived(number, "v", 0, klass="batch"), desk.now_ns)

    (call, replica) = next((c.id, c.replica.id) for c in desk.state.calls.values() if c.replica)
    assert sent(desk.end(call, replica, 10 * MILLISECOND))[0][0] < 10_000


def test_what_a_class_got_alone_is_no_debt_later(desk: Desk) -> None:
    """An hour of batch is no reason to keep batch waiting for a day."""
    shares(desk, {"batch": 1000}, ends=1000)
    classes = desk.state.versions["v"].classes

    assert classes.credit[3] >= -2 * SECOND


# -- hold-back


def fill(desk: Desk, klass: Class, count: int) -> int:
    """Let calls arrive and return how many went out."""
    return sum(len(sent(desk.call(klass=klass))) for _ in range(count))


def test_while_a_better_class_calls_batch_leaves_three_permits_of_ten_free(desk: Desk) -> None:
    desk.ready("a", permits=10)
    desk.call(klass="critical")
    desk.end(1, "a")

    assert fill(desk, "batch", 10) == 7
    assert fill(desk, "critical", 5) == 3


def test_standard_and_batch_together_leave_one_permit_of_ten_free(desk: Desk) -> None:
    desk.ready("a", permits=10)
    desk.call(klass="interactive")
    desk.end(1, "a")

    assert fill(desk, "batch", 6) == 6
    assert fill(desk, "standard", 5) == 3
    assert fill(desk, "batch", 1) == 0
    assert fill(desk, "interactive", 2) == 1


def test_standard_calls_hold_batch_back_but_not_themselves(desk: Desk) -> None:
    desk.ready("a", permits=10)
    desk.call(klass="standard")
    desk.end(1, "a")

    assert fill(desk, "batch", 10) == 7
    assert fill(desk, "standard", 10) == 3


def test_nothing_is_held_back_when_no_better_class_has_called_for_ten_seconds(desk: Desk) -> None:
    desk.ready("a", permits=10)
    desk.call(klass="critical")
    desk.end(1, "a")
    desk.now_ns += ACTIVE_NS

    assert fill(desk, "batch", 10) == 10


def test_calls_held_back_go_out_by_themselves_when_the_better_class_has_been_quiet(
    desk: Desk,
) -> None:
    desk.ready("a", permits=10)
    desk.call(klass="critical")
    desk.end(1, "a")
    fill(desk, "batch", 10)

    assert sent(desk.pass_time(ACTIVE_NS - 1)) == []
    assert sent(desk.pass_time(1)) == [(9, "a"), (10, "a"), (11, "a")]


def test_one_permit_may_always_be_used(desk: Desk) -> None:
    desk.ready("a", permits=1)
    desk.call(klass="critical")
    desk.end(1, "a")

    assert desk.call(klass="batch") == (Send(2, "a", 1),)


def test_a_call_made_from_a_running_one_is_never_held_back(desk: Desk) -> None:
    desk.ready("a", permits=2)
    desk.call(klass="critical")
    desk.end(1, "a")
    desk.call(klass="batch")

    assert sent(desk.call(klass="batch")) == []
    # While it waits nothing is held back from its class, so the call before it goes as well.
    assert sent(desk.call(klass="batch", parent=2)) == [(3, "a")]
    assert sent(desk.end(3, "a")) == [(4, "a")]


def test_a_nested_call_whose_parent_is_over_is_held_back_like_any_other(desk: Desk) -> None:
    desk.serve("w", max_permits=4)
    desk.ready("a", permits=2)
    desk.ready("b", version="w")
    desk.call("w", klass="batch")
    desk.call(klass="critical")
    desk.call(klass="critical")
    desk.call(klass="batch", parent=1)
    desk.call(klass="batch")
    desk.end(1, "b")

    assert sent(desk.end(2, "a")) == [(4, "a")]
    assert sent(desk.end(3, "a")) == []


def test_an_end_elsewhere_makes_room_below_the_ceiling(desk: Desk) -> None:
    desk.ready("a", permits=10)
    desk.call(klass="critical")
    desk.end(1, "a")
    fill(desk, "batch", 8)

    assert sent(desk.end(2, "a")) == [(9, "a")]


def test_a_better_call_passes_those_that_are_held_back(desk: Desk) -> None:
    desk.ready("a", permits=2)
    desk.call(klass="critical")
    desk.end(1, "a")
    fill(desk, "batch", 3)

    assert sent(desk.call(klass="standard")) == []  # one permit is for critical calls
    assert sent(desk.call(klass="critical")) == [(6, "a")]
    desk.end(6, "a", MILLISECOND)
    assert sent(desk.feed(CallCancelled(5))) == []


def test_a_call_that_passed_others_and_was_refused_gives_its_charge_back_too(desk: Desk) -> None:
    desk.ready("a", permits=10)
    desk.call(klass="critical")
    desk.end(1, "a")
    fill(desk, "batch", 8)
    assert sent(desk.call(klass="critical")) == [(10, "a")]
    before = desk.state.versions["v"].classes.credit[3]
    desk.feed(CallRefused(10, "a"))

    assert before > 0
    assert desk.state.versions["v"].classes.credit[3] < before


def test_a_call_that_was_refused_gives_its_charge_back(desk: Desk) -> None:
    desk.ready("a", permits=1)
    desk.call(klass="critical")
    for klass in ("critical", "critical", "batch"):
        desk.call(klass=klass)
    desk.end(1, "a", MILLISECOND)
    before = desk.state.versions["v"].classes.credit[3]
    desk.feed(CallRefused(2, "a"))

    assert before > 0
    assert desk.state.versions["v"].classes.credit[3] == pytest.approx(0.0)
