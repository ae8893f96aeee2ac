"""Which sizes, keys and lengths share a batch, and who goes first when there are classes?"""

from glowplug.worker.batcher import SHARE, Failed, Late, Run
from unit.runtime.batching.driving import MS, batcher, end, look, put, runs


def test_a_batch_fills_a_size_of_the_engine_or_is_padded_to_the_next() -> None:
    it = batcher((1, 1, 0), max=8, buckets=(1, 4, 8))
    put(it, *"abcde")

    # Four in a batch of 4 are 4 calls in 5 ms; five in a batch of 8 would be 5 in 9 ms.
    assert look(it) == (Run(tuple("abcd"), 4, 0, "full"),)
    assert end(it) == (Run(("e",), 1, 0, "idle"),)
    put(it, *"fgh")
    assert end(it) == (Run(("f", "g", "h"), 4, 0, "idle"),)


def test_an_engine_that_costs_the_same_for_any_size_is_given_all_there_is() -> None:
    it = batcher((9, 0, 0), max=8, buckets=(1, 4, 8))
    put(it, *"abcde")

    assert look(it) == (Run(tuple("abcde"), 8, 0, "idle"),)


def test_only_calls_with_one_key_share_a_batch_and_the_first_one_picks_it() -> None:
    it = batcher(is_keyed=True)
    for call in ("a1", "b1", "a2"):
        put(it, call, key=call[0])

    assert look(it) == (Run(("a1", "a2"), 2, 0, "key"),)
    assert end(it) == (Run(("b1",), 1, 0, "idle"),)


def test_a_call_with_a_key_of_its_own_runs_alone() -> None:
    it = batcher()
    put(it, "a", "b")
    put(it, "poison", key=object())
    put(it, "c")

    assert runs(*look(it), *end(it)) == [("a", "b", "c"), ("poison",)]


class Odd:
    """A key that cannot be compared."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("odd")


def test_keys_that_cannot_be_compared_fail_what_waits_and_nothing_after_it() -> None:
    it = batcher((10, 0, 0), is_keyed=True)
    put(it, "late", deadline_ns=1 * MS)
    put(it, "a", key=Odd())
    put(it, "b", key=Odd())

    late, *failed = look(it)

    assert late == Late("late")
    assert [(one.call, str(one.error)) for one in failed if isinstance(one, Failed)] == [
        ("a", "odd"),
        ("b", "odd"),
    ]
    assert not it.is_busy
    assert len(it) == 0
    assert not it.cancelled("a")
    put(it, "c")
    assert runs(*look(it)) == [("c",)]


def test_padded_weight_is_bounded_by_calls_times_the_longest() -> None:
    it = batcher(is_weighed=True, weight_max=100)
    for call, weight in (("a", 30), ("b", 50), ("c", 10)):
        put(it, call, weight=weight)

    assert look(it) == (Run(("a", "b"), 2, 100, "full"),)
    assert end(it) == (Run(("c",), 1, 10, "idle"),)


def test_packed_weight_is_bounded_by_the_sum() -> None:
    it = batcher(is_weighed=True, weight_max=100, packed=True)
    for call, weight in (("a", 30), ("b", 50), ("c", 10), ("d", 11)):
        put(it, call, weight=weight)

    assert look(it) == (Run(("a", "b", "c"), 3, 90, "full"),)


def test_a_call_over_the_bound_runs_alone() -> None:
    it = batcher(is_weighed=True, weight_max=100)
    put(it, "huge", weight=500)
    put(it, "small", weight=1)

    assert runs(*look(it), *end(it)) == [("huge",), ("small",)]


def test_calls_of_like_length_share_a_batch_once_padding_costs_more_than_a_batch() -> None:
    it = batcher((1, 0, 0.01), max=8, is_weighed=True)  # a batch is worth 100 units
    for call, weight in (("long", 300), ("s1", 10), ("s2", 12), ("long2", 290)):
        put(it, call, weight=weight)

    assert look(it) == (Run(("long", "long2"), 2, 600, "key"),)
    assert end(it) == (Run(("s1", "s2"), 2, 24, "idle"),)


def test_while_a_batch_costs_more_than_padding_all_lengths_share_one() -> None:
    it = batcher((100, 0, 0.01), max=8, is_weighed=True)
    for call, weight in (("long", 300), ("s1", 10), ("s2", 12)):
        put(it, call, weight=weight)

    assert runs(*look(it)) == [("long", "s1", "s2")]


def test_a_call_whose_turn_it_is_gets_it_however_many_wait_of_another_length() -> None:
    it = batcher((1, 0, 0.01), max=2, is_weighed=True)
    put(it, *(f"s{number}" for number in range(20)), weight=10, rank=1)
    put(it, "last", weight=500, rank=2)
    ran = runs(*look(it))
    while not any("last" in batch for batch in ran):
        ran += runs(*end(it))

    # The share for the lower class makes it the head although it lies beyond those that are looked at.
    assert ran[-1] == ("last",)
    assert len(ran) <= SHARE // 2 + 1


def test_a_length_beyond_those_looked_at_is_served_when_its_turn_comes() -> None:
    it = batcher((1, 0, 0.01), max=1, is_weighed=True)
    put(it, *(f"s{number}" for number in range(40)), weight=10, rank=1)
    put(it, "last", weight=500, rank=2)
    ran = runs(*look(it))
    for _ in range(SHARE):
        ran += runs(*end(it))

    assert ("last",) in ran


def test_one_call_in_sixteen_is_of_a_class_that_was_passed_over() -> None:
    it = batcher(max=1)
    put(it, *(f"batch{number}" for number in range(3)), rank=3)
    put(it, *(f"urgent{number}" for number in range(3 * SHARE)), rank=0)
    ran = runs(*look(it))
    while it.is_busy:
        ran += runs(*end(it))

    assert [at for at, (call,) in enumerate(ran[: 2 * SHARE + 2]) if call.startswith("batch")] == [
        SHARE,
        2 * SHARE + 1,
    ]


def test_a_share_that_is_due_waits_for_somebody_lower() -> None:
    it = batcher(max=1)
    put(it, "low", rank=3)
    put(it, *(f"u{number}" for number in range(SHARE + 1)), rank=0)
    look(it)
    for _ in range(SHARE - 1):
        end(it)
    it.cancelled("low")

    assert runs(*end(it)) == [(f"u{SHARE}",)]
