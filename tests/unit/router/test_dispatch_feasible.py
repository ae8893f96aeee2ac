"""Is a call refused at once when it cannot make its deadline, and only then?"""

import pytest

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.dispatch import CallArrived, Refuse, ReplicaLeaving, Wake, step
from glowplug_router.dispatch.bias import FACTOR_MAX, FORGET_NS, Bias
from glowplug_router.dispatch.service import LEARNED_MIN, Service
from unit.router.desk import Desk, refused, sent
from unit.router.rush import Asked, rush


@pytest.fixture
def desk() -> Desk:
    """Return a desk whose only replica is known to take 100 ms a call."""
    desk = Desk()
    desk.serve(max_permits=1, hold=1000)
    desk.ready("a")
    desk.run(*[100 * MILLISECOND] * 10)
    return desk


def test_a_call_that_would_wait_too_long_is_refused_at_once(desk: Desk) -> None:
    for _ in range(4):
        desk.call()  # one runs, three wait: 350 ms until it is its turn

    assert refused(desk.call(within_ns=300 * MILLISECOND, klass="batch")) == [(15, "infeasible")]
    assert not refused(desk.call(within_ns=460 * MILLISECOND, klass="batch"))


def test_the_retry_after_of_an_infeasible_call_is_the_time_in_which_the_queue_drains(
    desk: Desk,
) -> None:
    for _ in range(4):
        desk.call()

    (refusal,) = desk.call(within_ns=200 * MILLISECOND, klass="batch")
    assert isinstance(refusal, Refuse)
    assert refusal.retry_after_ns == pytest.approx(400 * MILLISECOND, rel=0.1)


def test_who_could_not_make_it_even_alone_is_not_told_to_come_back(desk: Desk) -> None:
    assert desk.call(within_ns=50 * MILLISECOND) == (Refuse(11, "infeasible"),)
    desk.call()

    assert desk.call(within_ns=50 * MILLISECOND) == (Wake("v"), Refuse(13, "infeasible"))
    assert desk.call(within_ns=50 * MILLISECOND) == (Refuse(14, "infeasible"),)


def test_without_a_deadline_of_ones_own_one_waits_like_everybody(desk: Desk) -> None:
    for _ in range(10):
        desk.call()

    assert not refused(desk.call(deadline_ns=desk.now_ns + 100 * MILLISECOND))


def test_only_calls_that_go_before_it_count(desk: Desk) -> None:
    for _ in range(10):
        desk.call(tenant="flood")
        desk.call(tenant="flood", klass="batch")
    wish_ns = 260 * MILLISECOND

    # Its class and better ones; of them its own tenant's, and as many of each other's.
    assert not refused(desk.call(tenant="ann", klass="critical", within_ns=wish_ns))
    assert not refused(desk.call(tenant="bob", klass="standard", within_ns=360 * MILLISECOND))
    assert refused(desk.call(tenant="flood", klass="batch", within_ns=wish_ns))


def test_a_short_deadline_passes_the_calls_of_its_own_tenant(desk: Desk) -> None:
    for _ in range(20):
        desk.call()

    assert not refused(desk.call(within_ns=200 * MILLISECOND))
    assert refused(desk.call(within_ns=240 * MILLISECOND))


def test_interactive_calls_that_are_served_newest_first_are_not_refused_for_the_old_ones(
    desk: Desk,
) -> None:
    for _ in range(20):
        desk.call(klass="interactive", within_ns=10 * SECOND)
    assert refused(desk.call(klass="interactive", within_ns=15 * SECOND)) == []
    desk.now_ns += 300 * MILLISECOND

    assert not refused(desk.call(klass="interactive", within_ns=20 * SECOND))
    assert refused(desk.call(klass="interactive", within_ns=400 * MILLISECOND))


def test_what_is_not_known_is_no_reason_to_refuse() -> None:
    desk = Desk()
    desk.serve(max_permits=1)
    desk.ready("a")
    desk.run(*[100 * MILLISECOND] * (LEARNED_MIN - 1))
    desk.call()

    assert not refused(desk.call(within_ns=MILLISECOND))
    desk.ready("a", permits=0)
    assert not refused(desk.call(within_ns=MILLISECOND))


def test_a_call_that_is_next_but_would_be_late_gives_its_turn_to_one_that_is_not(
    desk: Desk,
) -> None:
    desk.call()
    desk.call(within_ns=300 * MILLISECOND)
    desk.call()
    desk.now_ns += 250 * MILLISECOND

    effects = desk.end(11, "a", 250 * MILLISECOND)
    assert refused(effects) == [(12, "infeasible")]
    assert sent(effects) == [(13, "a")]


def test_of_work_that_varies_a_call_at_its_turn_is_refused_only_when_nine_of_ten_are_late() -> None:
    service = Service()
    for number in range(1000):
        service.note(number * 37 % 100 * MILLISECOND)

    assert service.is_learned
    assert service.mean_ns == pytest.approx(50 * MILLISECOND, rel=0.6)
    assert service.shortest_ns == pytest.approx(10 * MILLISECOND, abs=8 * MILLISECOND)
    assert service.longest_ns == pytest.approx(90 * MILLISECOND, abs=15 * MILLISECOND)


def test_of_a_long_tail_twice_the_mean_is_reckoned_with() -> None:
    service = Service()
    for number in range(400):
        service.note(SECOND if number % 5 == 0 else MILLISECOND)

    assert service.longest_ns <= 2 * service.mean_ns


# -- while nothing is ready


def cold(desk: Desk) -> None:
    """Let the version start twice, in 2 s, and go cold again."""
    for name in ("a", "b"):
        desk.call()
        desk.pass_time(2 * SECOND)
        desk.ready(name)
        desk.end(desk.last_call, name, 100 * MILLISECOND)
        desk.feed(ReplicaLeaving(name))


def test_a_start_that_takes_longer_than_the_deadline_is_not_waited_for() -> None:
    desk = Desk()
    desk.serve()
    assert not refused(desk.call(within_ns=SECOND))  # nobody knows yet
    desk.pass_time(2 * SECOND)
    cold(desk)

    (wake, refusal) = desk.call(within_ns=SECOND)
    assert isinstance(wake, Wake)  # and yet somebody wants it
    assert isinstance(refusal, Refuse)
    assert refusal.code == "infeasible"
    assert refusal.retry_after_ns == pytest.approx(2 * SECOND, rel=0.01)
    assert not refused(desk.call(within_ns=3 * SECOND))


def test_what_is_left_of_a_start_is_what_counts_and_a_late_one_is_given_the_benefit() -> None:
    desk = Desk()
    desk.serve()
    cold(desk)
    desk.call()
    desk.pass_time(1500 * MILLISECOND)

    assert refused(desk.call(within_ns=400 * MILLISECOND))
    assert not refused(desk.call(within_ns=600 * MILLISECOND))
    desk.pass_time(SECOND)
    assert not refused(desk.call(within_ns=100 * MILLISECOND))


def test_a_full_hold_says_to_come_back_when_the_start_is_over() -> None:
    desk = Desk()
    desk.serve()
    cold(desk)
    desk.serve(hold=0)

    refusal = desk.call()[-1]
    assert isinstance(refusal, Refuse)
    assert refusal.retry_after_ns == pytest.approx(2 * SECOND, rel=0.01)


# -- how good it is


def test_the_error_of_past_waits_corrects_those_to_come_and_is_forgotten() -> None:
    bias = Bias()
    for _ in range(100):
        bias.note(2, 100.0, 400, SECOND)

    assert bias.factor(2, SECOND) == pytest.approx(4.0, rel=0.01)
    assert bias.factor(3, SECOND) == 1.0
    assert bias.factor(2, SECOND + FORGET_NS // 2) == pytest.approx(2.5, rel=0.01)
    assert bias.factor(2, SECOND + FORGET_NS) == 1.0
    bias.note(1, 1.0, 10**9, SECOND)
    assert bias.factor(1, SECOND) <= FACTOR_MAX


@pytest.mark.parametrize("load", [0.5, 1.5, 3.0])
def test_most_of_what_is_let_in_makes_it_and_the_device_is_not_left_idle(load: float) -> None:
    cost_ns, permits = 20 * MILLISECOND, 4
    every_ns = int(cost_ns / permits / load)
    asked = [
        Asked(SECOND + number * every_ns, cost_ns, f"t{number % 3}", within_ns=200 * MILLISECOND)
        for number in range(20 * SECOND // every_ns)
    ]
    result = rush(asked, permits, until_ns=21 * SECOND)
    sends = sum(len(waits) for waits in result.waits.values())

    assert result.late <= 0.01 * sends
    assert result.codes["deadline"] <= 0.02 * len(asked)
    assert result.given.total() >= 0.97 * min(load, 1.0) * permits * 20 * SECOND


def test_better_calls_still_to_come_are_learned_from_the_waits_they_caused() -> None:
    """Four fifths of the device go to critical calls that nobody sees yet when a standard call arrives."""
    cost_ns = 10 * MILLISECOND
    critical = [
        Asked(SECOND + number * 50 * MILLISECOND // 4, cost_ns, "c", "critical")
        for number in range(1600)
    ]
    standard = [
        Asked(SECOND + number * 20 * MILLISECOND, cost_ns, "s", within_ns=500 * MILLISECOND)
        for number in range(1000)
    ]
    result = rush(critical + standard, 1, until_ns=21 * SECOND)

    assert result.codes["deadline"] + result.late <= 0.1 * len(standard)
    assert result.codes["infeasible"] >= 0.4 * len(standard)
    assert result.given["s"] >= 0.18 * 20 * SECOND


def test_an_arrival_at_a_queue_of_ten_thousand_costs_no_search(desk: Desk) -> None:
    desk.serve(hold=10_000)
    for number in range(1000):
        step(desk.state, CallArrived(5000 + number, "v", 0), desk.now_ns)

    assert refused(desk.call(within_ns=MILLISECOND)) == [(11, "infeasible")]
