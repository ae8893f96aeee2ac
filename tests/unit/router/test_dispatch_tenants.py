"""Who goes first between the tenants of a class, and between the calls of a tenant?"""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.dispatch import CallArrived, CallCancelled, CallRefused, step
from glowplug_router.dispatch.health import SLOW_START_NS
from glowplug_router.dispatch.line import LIFO_AFTER_NS
from glowplug_router.dispatch.machine import LOOKS_PER_STEP
from glowplug_router.dispatch.tenants import IDLE_MAX
from unit.router.desk import Desk, refused, sent
from unit.router.rush import Asked, jain, rush


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.serve(hold=10_000)
    desk.ready("a", permits=1)
    return desk


def order(desk: Desk, calls: int, service_ns: int = 10 * MILLISECOND) -> list[int]:
    """End one call after the other and return in which order those that wait go out."""
    running = next(call.id for call in desk.state.calls.values() if call.replica)
    gone: list[int] = []
    for _ in range(calls):
        desk.now_ns += service_ns
        ((running, _),) = sent(desk.end(running, "a", service_ns))
        gone.append(running)
    return gone


# -- tenants


def test_tenants_take_turns_however_many_calls_one_of_them_has_waiting(desk: Desk) -> None:
    desk.call(tenant="ann")
    for _ in range(4):
        desk.call(tenant="ann")
    desk.call(tenant="bob")
    desk.call(tenant="bob")

    assert order(desk, 6) == [2, 6, 3, 7, 4, 5]


def test_a_tenant_with_dear_calls_gets_fewer_of_them(desk: Desk) -> None:
    cost_ns = {"ann": 40 * MILLISECOND, "bob": 10 * MILLISECOND}
    tenants = {1: "ann"}
    desk.call(tenant="ann")
    for number in range(2, 82):
        tenants[number] = "ann" if number % 2 else "bob"
        desk.call(tenant=tenants[number])
    running, went = 1, {"ann": 0, "bob": 0}
    for _ in range(50):
        ((running, _),) = sent(desk.end(running, "a", cost_ns[tenants[running]]))
        went[tenants[running]] += 1

    assert went == {"ann": pytest.approx(10, abs=1), "bob": pytest.approx(40, abs=1)}


def test_time_in_which_a_tenant_did_not_call_is_not_saved_up(desk: Desk) -> None:
    desk.call(tenant="ann")
    for _ in range(40):
        desk.call(tenant="ann")
    order(desk, 20)
    for _ in range(4):
        desk.call(tenant="bob")

    assert order(desk, 6) == [22, 42, 23, 43, 24, 44]


def test_who_comes_while_nothing_is_known_of_costs_does_not_pay_for_what_others_were_charged() -> (
    None
):
    desk = Desk()
    desk.serve(hold=10_000)
    for _ in range(20):
        desk.call(tenant="greedy")
    desk.ready("a", permits=4)  # four go out, each taken to cost far more than it does
    desk.call(tenant="small")
    desk.call(tenant="small")
    went: list[int] = []
    for running in (1, 2, 3, 4):
        ((call, _),) = sent(desk.end(running, "a", 5 * MILLISECOND))
        went.append(call)

    assert went == [5, 21, 22, 6]


def test_a_tenant_that_had_more_than_its_share_does_not_shed_that_by_a_pause(desk: Desk) -> None:
    desk.call(tenant="ann")
    desk.call(tenant="dear")
    for _ in range(9):
        desk.call(tenant="ann")
    assert order(desk, 2) == [3, 2]
    desk.end(2, "a", 500 * MILLISECOND)
    desk.call(tenant="dear")

    assert 12 not in order(desk, 4, service_ns=100 * MILLISECOND)
    assert 12 in order(desk, 3, service_ns=100 * MILLISECOND)


def test_a_first_call_that_was_charged_far_too_much_does_not_set_its_tenant_back(
    desk: Desk,
) -> None:
    """Nothing is known of the first calls, so each is charged 100 ms."""
    desk.call(tenant="other")
    for _ in range(20):
        desk.call(tenant="ann")
        desk.call(tenant="bob")
    went = order(desk, 12, service_ns=MILLISECOND)

    assert sorted(call % 2 for call in went) == [0] * 6 + [1] * 6
    assert all(a % 2 != b % 2 for a, b in pairwise(went))


def test_tenants_that_come_and_go_are_forgotten(desk: Desk) -> None:
    desk.call(tenant="ann")
    for number in range(100, 120 + IDLE_MAX):
        step(desk.state, CallArrived(number, "v", 0, f"t{number}"), desk.now_ns)
    tenants = desk.state.versions["v"].waiting.classes[2]

    assert len(tenants) == 20 + IDLE_MAX
    order(desk, 19 + IDLE_MAX)
    assert len(tenants._idle) == IDLE_MAX
    assert len(tenants) == 1
    order(desk, 1)
    assert not tenants._idle
    assert not len(tenants)


DEMAND = (1, 4, 2, 3, 5, 8, 13, 40)  # calls a second of eight tenants
COSTS_MS = (80, 5, 40, 20, 10, 160, 5, 10)


def test_eight_tenants_of_very_different_demand_and_cost_get_the_same_device_time() -> None:
    """All want more than their share: each its calls at its own rate, eight times what there is."""
    asked = [
        Asked(
            SECOND + number * SECOND // (rate * 40),
            cost_ms * MILLISECOND,
            f"t{tenant}",
        )
        for tenant, (rate, cost_ms) in enumerate(zip(DEMAND, COSTS_MS, strict=True))
        for number in range(rate * 40 * 20)
    ]
    result = rush(asked, permits=4, until_ns=21 * SECOND)

    assert jain(result.given.values()) >= 0.98


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 100)), min_size=2, max_size=8),
    st.sampled_from([1, 3, 16]),
)
def test_tenants_that_always_have_calls_waiting_get_the_same_whatever_these_cost(
    tenants: list[tuple[int, int]], permits: int
) -> None:
    asked = [
        Asked(SECOND, cost_ms * MILLISECOND, f"t{tenant}")
        for tenant, (_, cost_ms) in enumerate(tenants)
        for _ in range(permits * 10_000 // cost_ms // len(tenants) * 2 // 4 + 20)
    ]
    result = rush(asked, permits, until_ns=3 * SECOND)
    longest_ns = max(cost_ms for _, cost_ms in tenants) * MILLISECOND

    spread_ns = max(result.given.values()) - min(result.given.values())
    assert spread_ns <= (permits + 3) * longest_ns + 2 * longest_ns


def test_a_full_queue_keeps_out_those_who_filled_it() -> None:
    """A tenant that asks for less than its share gets all it asks for, though the queue is always full."""
    flood = [
        Asked(SECOND + number * MILLISECOND, 10 * MILLISECOND, "flood") for number in range(9000)
    ]
    drip = [
        Asked(SECOND + number * 50 * MILLISECOND, 10 * MILLISECOND, "drip") for number in range(180)
    ]
    result = rush(flood + drip, permits=1, until_ns=10 * SECOND, queue=50)

    assert result.given["drip"] >= 0.97 * 180 * 10 * MILLISECOND


# -- the calls of one tenant


def test_a_call_with_a_deadline_goes_by_it_and_one_without_by_its_limit(desk: Desk) -> None:
    desk.serve(hold=100, queue_ns=10 * SECOND)
    desk.call()
    desk.call()  # 2: by its limit, in 10 s
    desk.call(within_ns=20 * SECOND)
    desk.call(within_ns=5 * SECOND)
    desk.call(within_ns=7 * SECOND)
    desk.call()

    assert order(desk, 5) == [4, 5, 2, 6, 3]


@settings(max_examples=50)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_calls_with_deadlines_go_in_the_order_of_their_deadlines(seconds: list[int]) -> None:
    desk = Desk()
    desk.serve(hold=100)
    desk.ready("a")
    desk.call()
    for one in seconds:
        desk.call(within_ns=one * SECOND)
    went = order(desk, len(seconds), service_ns=1)

    assert [seconds[call - 2] for call in went] == sorted(seconds)
    assert all(a < b for a, b in pairwise(went) if seconds[a - 2] == seconds[b - 2])


def test_of_interactive_calls_the_newest_goes_first_once_they_wait_too_long(desk: Desk) -> None:
    desk.call(klass="interactive")
    desk.call(klass="interactive")
    desk.now_ns += LIFO_AFTER_NS - 1
    desk.call(klass="interactive")
    desk.call(klass="interactive")

    assert sent(desk.end(1, "a")) == [(2, "a")]
    desk.call(klass="interactive")
    desk.now_ns += LIFO_AFTER_NS
    assert sent(desk.end(2, "a")) == [(5, "a")]
    assert sent(desk.end(5, "a")) == [(4, "a")]


def test_calls_of_other_classes_are_served_in_order_however_long_they_wait(desk: Desk) -> None:
    for _ in range(3):
        desk.call(klass="standard")
    desk.now_ns += SECOND

    assert order(desk, 2) == [2, 3]


def test_a_call_that_comes_back_keeps_its_place_within_its_tenant(desk: Desk) -> None:
    desk.call(tenant="ann")
    for _ in range(3):
        desk.call(tenant="ann")
    desk.end(1, "a")
    desk.feed(CallRefused(2, "a"))
    desk.feed(CallCancelled(3))

    assert sent(desk.ready("b")) == [(2, "b")]


def test_many_things_due_at_once_are_looked_at_in_pieces_and_what_expired_is_still_not_sent(
    desk: Desk,
) -> None:
    desk.serve("w", max_permits=1000)
    for number in range(2 * LOOKS_PER_STEP + 1):
        desk.ready(f"w{number}", permits=8, version="w")
    desk.call()
    desk.call(deadline_ns=desk.now_ns + SLOW_START_NS)
    desk.call()
    desk.now_ns += SLOW_START_NS

    effects = desk.end(1, "a", MILLISECOND)
    assert refused(effects) == [(2, "deadline")]
    assert sent(effects) == [(3, "a")]
    due_ns = desk.state.next_due_ns
    assert due_ns is not None
    assert due_ns <= desk.now_ns
    for _ in range(30):
        desk.pass_time(0)
    assert desk.state.replicas[f"w{2 * LOOKS_PER_STEP}"].usable == 8


def test_expired_work_is_never_sent(desk: Desk) -> None:
    desk.call()
    for _ in range(300):
        step(desk.state, CallArrived(1000 + _, "v", desk.now_ns + SECOND), desk.now_ns)
    desk.call(deadline_ns=desk.now_ns + 3 * SECOND)
    desk.now_ns += SECOND
    first = desk.end(1, "a")

    assert sent(first) == []
    rest = desk.pass_time(0)
    assert len(refused(first)) + len(refused(rest)) == 300
    assert {code for _, code in refused(first + rest)} == {"deadline"}
    assert sent(rest) == [(2, "a")]
