"""How long before a deadline must a batch end?"""

from random import Random

from glowplug.clock import MICROSECOND, MILLISECOND, SECOND
from glowplug.worker.leeway import FLOOR_NS, MOST_NS, SHARE, Leeway


def test_a_leeway_begins_at_what_an_idle_machine_needs() -> None:
    assert Leeway().of(SECOND) == FLOOR_NS


def test_a_leeway_is_never_more_than_its_share_of_what_a_call_has_left() -> None:
    leeway = Leeway()

    assert leeway.of(SHARE * FLOOR_NS) == FLOOR_NS
    assert leeway.of(SHARE * FLOOR_NS - SHARE) == FLOOR_NS - 1
    assert leeway.of(0) == 0
    assert leeway.of(-SECOND) == 0


def test_a_leeway_covers_the_way_of_nearly_all_batches_there_and_as_much_again() -> None:
    random, leeway = Random(3), Leeway()
    ways = [random.randint(0, 2 * MILLISECOND) for _ in range(4000)]

    for way_ns in ways:
        leeway.saw(way_ns)

    seen_ns = (leeway.ns - FLOOR_NS) // 2
    assert 0.9 < sum(way_ns <= seen_ns for way_ns in ways) / len(ways) < 0.99


def test_one_pause_moves_a_leeway_by_little_and_many_by_no_more_than_is_worth_planning_for() -> (
    None
):
    leeway = Leeway()

    leeway.saw(SECOND)
    assert leeway.ns <= FLOOR_NS + 100 * MICROSECOND

    for _ in range(10_000):
        leeway.saw(SECOND)
    assert leeway.ns == MOST_NS


def test_a_leeway_shrinks_again_when_the_machine_has_time() -> None:
    leeway = Leeway()
    for _ in range(40):
        leeway.saw(5 * MILLISECOND)

    for _ in range(2000):
        leeway.saw(0)

    assert leeway.ns == FLOOR_NS
