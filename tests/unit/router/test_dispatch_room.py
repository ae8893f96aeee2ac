"""Who may wait when the queue is full?"""

import pytest

from glowplug.spec import Class
from glowplug_router.dispatch import CallArrived, step
from glowplug_router.dispatch.room import DISPLACED_MAX, QUEUE_BYTES_MAX
from unit.router.desk import Desk, refused, sent

HALF = QUEUE_BYTES_MAX // 2


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.serve(hold=20)
    return desk


def fill(desk: Desk, count: int, klass: Class = "batch", tenant: str = "") -> None:
    for _ in range(count):
        assert not refused(desk.call(klass=klass, tenant=tenant))


def test_a_better_call_takes_the_place_of_the_newest_of_the_worst(desk: Desk) -> None:
    fill(desk, 10, "standard")
    fill(desk, 10, "batch")

    assert refused(desk.call(klass="critical")) == [(20, "hold_full")]
    assert refused(desk.call(klass="interactive")) == [(19, "hold_full")]
    assert desk.state.queued("v") == 20


def test_while_a_replica_is_ready_who_makes_way_is_told_overloaded(desk: Desk) -> None:
    desk.serve(hold=20, max_permits=0)
    desk.ready("a", permits=0)
    fill(desk, 20)

    assert refused(desk.call(klass="standard")) == [(20, "overloaded")]


def test_a_class_keeps_its_share_of_the_places_against_better_ones(desk: Desk) -> None:
    fill(desk, 20, "batch")
    for _ in range(18):  # batch keeps a tenth of the places
        assert len(refused(desk.call(klass="critical"))) == 1

    assert refused(desk.call(klass="critical")) == [(39, "hold_full")]
    assert desk.state.versions["v"].waiting.queued == [18, 0, 0, 2]


def test_a_class_that_is_short_of_its_share_takes_it_from_a_better_one(desk: Desk) -> None:
    fill(desk, 20, "critical")

    assert refused(desk.call(klass="batch")) == [(20, "hold_full")]
    assert refused(desk.call(klass="batch")) == [(19, "hold_full")]
    assert refused(desk.call(klass="batch")) == [(23, "hold_full")]


def test_within_a_class_the_tenant_with_most_calls_makes_way(desk: Desk) -> None:
    fill(desk, 15, "standard", "flood")
    fill(desk, 5, "standard", "ann")

    assert refused(desk.call(tenant="bob")) == [(15, "hold_full")]
    assert refused(desk.call(tenant="flood")) == [(22, "hold_full")]
    assert refused(desk.call(tenant="ann")) == [(14, "hold_full")]


def test_of_equals_nobody_makes_way(desk: Desk) -> None:
    fill(desk, 10, "standard", "ann")
    fill(desk, 10, "standard", "bob")

    assert refused(desk.call(tenant="ann")) == [(21, "hold_full")]
    assert refused(desk.call(tenant="bob")) == [(22, "hold_full")]


def test_with_no_room_at_all_nobody_waits() -> None:
    desk = Desk()
    desk.serve(hold=0)

    assert refused(desk.call(klass="critical")) == [(1, "hold_full")]
    assert refused(desk.call(klass="batch")) == [(2, "hold_full")]


# -- bytes


def test_the_bodies_of_waiting_calls_are_bounded_too(desk: Desk) -> None:
    desk.call(size_bytes=HALF)
    desk.call(size_bytes=HALF)

    assert refused(desk.call(size_bytes=1)) == [(3, "hold_full")]
    assert not refused(desk.call(size_bytes=0))
    assert desk.state.queued("v") == 3


def test_a_single_call_may_be_larger_than_the_bound(desk: Desk) -> None:
    assert not refused(desk.call(size_bytes=3 * QUEUE_BYTES_MAX))
    assert refused(desk.call(size_bytes=1)) == [(2, "hold_full")]


def test_for_bytes_too_worse_calls_make_way_and_only_as_many_as_must(desk: Desk) -> None:
    for klass in ("standard", "batch", "batch", "batch"):
        desk.call(klass=klass, size_bytes=QUEUE_BYTES_MAX // 4)

    assert refused(desk.call(klass="critical", size_bytes=HALF)) == [
        (4, "hold_full"),
        (3, "hold_full"),
    ]
    assert refused(desk.call(klass="critical", size_bytes=HALF)) == [
        (2, "hold_full"),
        (1, "hold_full"),
    ]
    assert refused(desk.call(klass="critical", size_bytes=HALF)) == [(7, "hold_full")]


def test_a_place_that_is_had_for_a_body_too_large_is_no_place(desk: Desk) -> None:
    desk.call(klass="standard", size_bytes=QUEUE_BYTES_MAX)
    fill(desk, 19, "batch")

    assert refused(desk.call(klass="batch", size_bytes=1)) == [(21, "hold_full")]
    assert refused(desk.call(klass="critical", size_bytes=1)) == [(1, "hold_full")]
    assert refused(desk.call(klass="critical")) == [(20, "hold_full")]


def test_nobody_makes_way_in_vain(desk: Desk) -> None:
    desk.call(klass="standard", size_bytes=QUEUE_BYTES_MAX - 10)
    desk.call(klass="batch", size_bytes=10)

    assert refused(desk.call(klass="standard", size_bytes=20)) == [(3, "hold_full")]


def test_not_more_make_way_at_once_than_a_step_can_bear() -> None:
    desk = Desk()
    desk.serve(hold=10_000)
    for number in range(2 * DISPLACED_MAX):
        size_bytes = QUEUE_BYTES_MAX // (2 * DISPLACED_MAX)
        event = CallArrived(1000 + number, "v", 0, klass="batch", size_bytes=size_bytes)
        step(desk.state, event, desk.now_ns)

    assert refused(desk.call(klass="critical", size_bytes=HALF + 1)) == [(1, "hold_full")]
    assert len(refused(desk.call(klass="critical", size_bytes=HALF))) == DISPLACED_MAX


def test_a_crowd_at_a_cold_endpoint_leaves_the_others_their_permits() -> None:
    desk = Desk()
    desk.serve("cold", hold=100)
    desk.serve("warm")
    desk.ready("a", version="warm")
    for number in range(10_000):
        step(desk.state, CallArrived(1000 + number, "cold", 0), desk.now_ns)

    assert desk.state.queued("cold") == 100
    assert sent(desk.call("warm")) == [(1, "a")]
