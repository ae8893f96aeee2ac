"""Which replica takes a call?"""

from collections import Counter
from heapq import heappop, heappush

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.dispatch import CallArrived, CallEnded, Event, ReplicaReady, step
from glowplug_router.dispatch.affinity import WINDOW, preferred, seed_of
from glowplug_router.dispatch.health import SLOW_START_NS
from unit.router.desk import Desk, sent


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.serve(max_permits=100)
    return desk


def learn(desk: Desk, replica: str, service_ns: int) -> None:
    """Let a replica, alone with a free permit, run a call of this length."""
    ((call, there),) = sent(desk.call())
    assert there == replica
    desk.end(call, replica, service_ns)


def test_a_call_goes_where_the_answer_is_expected_soonest(desk: Desk) -> None:
    desk.ready("slow", permits=4)
    learn(desk, "slow", 90 * MILLISECOND)
    desk.ready("fast", permits=4)
    desk.now_ns += SLOW_START_NS
    desk.pass_time(0)
    for _ in range(2):
        desk.end(*sent(desk.call())[0], 30 * MILLISECOND)
    if desk.state.replicas["fast"].mean_ns == 0:
        pytest.fail("the new one was never tried")
    first = [replica for _ in range(2) for _, replica in sent(desk.call())]
    rest = Counter(replica for _ in range(6) for _, replica in sent(desk.call()))

    assert first == [
        "fast",
        "fast",
    ]  # a second call there is expected before the first at the other
    assert rest == {"fast": 2, "slow": 4}  # work is never kept waiting for a better place
    assert desk.state.replicas["fast"].mean_ns < desk.state.replicas["slow"].mean_ns


def test_the_faster_of_two_is_filled_first(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.ready(name, permits=8)
    desk.pass_time(SLOW_START_NS)
    for name, service_ns in (("a", 10 * MILLISECOND), ("b", 40 * MILLISECOND)):
        desk.state.replicas[name].mean_ns = service_ns
        desk.state.versions["v"].pool.settle(desk.state.replicas[name])

    assert [replica for _ in range(5) for _, replica in sent(desk.call())] == ["a"] * 3 + ["b", "a"]


def test_nobody_is_preferred_for_a_difference_that_means_nothing(desk: Desk) -> None:
    for name in ("a", "b", "c"):
        desk.ready(name)
    there: list[str] = []
    for service_ns in (101, 99, 100, 102, 98, 100):
        ((call, replica),) = sent(desk.call())
        desk.end(call, replica, service_ns * MILLISECOND)
        there.append(replica)

    assert there == ["a", "b", "c", "a", "b", "c"]


# -- affinity


def test_calls_of_one_affinity_go_to_one_replica(desk: Desk) -> None:
    for name in ("a", "b", "c", "d"):
        desk.ready(name, permits=4)
    desk.pass_time(SLOW_START_NS)
    homes = {}
    for text in ("x", "y", "z", "u", "v", "w"):
        there = set()
        for _ in range(3):
            ((call, replica),) = sent(desk.call(affinity=text))
            desk.end(call, replica, MILLISECOND)
            there.add(replica)
        assert len(there) == 1
        homes[text] = there.pop()

    assert len(set(homes.values())) > 1


def test_affinity_costs_at_most_twice_the_shortest_delay(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.ready(name, permits=4)
    desk.pass_time(SLOW_START_NS)
    there = [sent(desk.call(affinity="x"))[0][1] for _ in range(8)]

    home = there[0]
    assert there[:2] == [home, home]  # twice the delay of an idle one
    assert there[2] != home
    assert Counter(there) == {"a": 4, "b": 4}


def test_a_waiting_call_goes_to_the_replica_it_likes_when_both_are_free(desk: Desk) -> None:
    for name in ("a", "b", "c"):
        desk.ready(name)
    liked = sent(desk.call(affinity="x"))[0]
    others = [sent(desk.call())[0] for _ in range(2)]
    desk.call(affinity="x")
    assert desk.state.queued("v") == 1
    desk.feed(ReplicaReady(others[0][1], "v", 0))  # its permit goes with its call
    desk.end(*others[0])
    assert desk.state.queued("v") == 1
    desk.ready(others[0][1])

    # The one it likes is busy: it goes where there is room. When both are free, it goes where it likes to be.
    assert desk.state.queued("v") == 0
    desk.end(*liked)
    assert sent(desk.call(affinity="x"))[0][1] == liked[1]


@given(st.integers(2, WINDOW), st.text(max_size=20))
@settings(max_examples=100)
def test_when_a_replica_goes_only_those_that_liked_it_move(count: int, text: str) -> None:
    ring = sorted((seed_of(f"r{number}"), f"r{number}", f"r{number}") for number in range(count))
    liked = preferred(ring, text)
    gone = next(name for _, _, name in ring if name != liked)

    assert preferred([entry for entry in ring if entry[2] != gone], text) == liked


def test_in_a_large_pool_few_others_move() -> None:
    ring = sorted((seed_of(f"r{number}"), f"r{number}", f"r{number}") for number in range(200))
    liked = {f"text {n}": preferred(ring, f"text {n}") for n in range(2000)}
    rest = [entry for entry in ring if entry[2] != "r7"]
    moved = sum(preferred(rest, text) != before for text, before in liked.items())

    assert moved <= 4 * 2000 / 200


@pytest.mark.parametrize("count", [3, WINDOW, 200])
def test_texts_are_spread_over_all_replicas(count: int) -> None:
    ring = sorted((seed_of(f"r{number}"), f"r{number}", f"r{number}") for number in range(count))
    counts = Counter(preferred(ring, f"text {number}") for number in range(100 * count))

    assert len(counts) == count
    assert max(counts.values()) <= 300


# -- three speeds


def test_with_replicas_of_three_speeds_the_load_goes_by_speed() -> None:
    desk = Desk()
    desk.serve(hold=10_000, max_permits=100)
    speed_ms = {"fast": 10, "usual": 20, "slow": 50}
    now_ns = desk.now_ns
    for name in speed_ms:
        step(desk.state, ReplicaReady(name, "v", 4), now_ns)
    todo: list[tuple[int, int, Event]] = [
        (now_ns + number * 2 * MILLISECOND, number, CallArrived(number, "v", 0))
        for number in range(1, 4000)
    ]
    counts: Counter[str] = Counter()
    while todo:
        now_ns, _, event = heappop(todo)
        for call, replica in sent(step(desk.state, event, now_ns)):
            counts[replica] += 1
            service_ns = speed_ms[replica] * MILLISECOND
            ended = CallEnded(call, replica, service_ns)
            heappush(todo, (now_ns + service_ns, 10_000 + call, ended))

    assert counts["fast"] > counts["usual"] > counts["slow"]
    assert counts["fast"] >= 3 * counts["slow"]
    assert now_ns < desk.now_ns + 9 * SECOND
