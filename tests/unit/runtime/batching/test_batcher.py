"""Which calls run together, when, and who is told that it is too late?"""

from collections.abc import Hashable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import SECOND
from glowplug.spec import BatchTuning
from glowplug.worker.batcher import (
    NEVER,
    PATIENCE_NS,
    PROBE_AFTER,
    Batcher,
    Effect,
    Failed,
    Late,
    Run,
    WaitUntil,
)
from unit.runtime.batching.driving import MS, batcher, end, late, look, put, runs

# -- greedy ----------------------------------------------------------------------------------------------


def test_a_device_that_is_free_takes_what_waits_at_once() -> None:
    it = batcher()
    put(it, "a", "b")

    assert look(it) == (Run(("a", "b"), 2, 0, "idle"),)
    assert it.is_busy
    assert len(it) == 0


def test_what_arrives_while_a_batch_runs_is_the_next_batch() -> None:
    it = batcher()
    put(it, "a")
    look(it)
    put(it, "b", "c")

    assert look(it) == ()
    assert end(it) == (Run(("b", "c"), 2, 0, "idle"),)
    assert end(it) == ()
    assert not it.is_busy


def test_a_batch_is_cut_when_it_is_full_and_the_rest_is_the_next() -> None:
    it = batcher()
    put(it, *"abcdef")

    assert look(it) == (Run(tuple("abcd"), 4, 0, "full"),)
    assert end(it) == (Run(("e", "f"), 2, 0, "idle"),)


def test_a_call_that_leaves_before_the_cut_is_in_no_batch() -> None:
    it = batcher()
    put(it, "a", "b", "c")

    assert it.cancelled("b")
    assert not it.cancelled("b")
    assert runs(*look(it)) == [("a", "c")]
    assert not it.cancelled("a")


def test_the_most_urgent_class_goes_first_and_in_it_the_nearest_deadline() -> None:
    it = batcher(max=2)
    put(it, "standard", rank=2)
    put(it, "later", rank=0, deadline_ns=9 * MS)
    put(it, "sooner", rank=0, deadline_ns=8 * MS)

    assert runs(*look(it), *end(it)) == [("sooner", "later"), ("standard",)]


def test_far_deadlines_queue_in_order_of_arrival() -> None:
    it = batcher(max=1)
    put(it, "first", deadline_ns=PATIENCE_NS * 100)
    put(it, "second", at_ms=1, deadline_ns=PATIENCE_NS * 50)
    put(it, "urgent", at_ms=2, deadline_ns=PATIENCE_NS - 1)

    assert runs(*look(it, 3), *end(it, 4), *end(it, 5)) == [("urgent",), ("first",), ("second",)]


# -- waiting ----------------------------------------------------------------------------------------------


def test_a_batch_that_is_not_full_is_held_as_long_as_the_code_asks() -> None:
    it = batcher(wait_ns=5 * MS)
    put(it, "a")

    assert look(it) == (WaitUntil(5 * MS),)
    put(it, "b", at_ms=1)
    assert look(it, 1) == (WaitUntil(5 * MS),)  # it still waits for the same
    assert look(it, 5) == (Run(("a", "b"), 2, 0, "wait"),)


def test_a_look_that_comes_too_early_asks_for_the_same_time_again() -> None:
    it = batcher(wait_ns=5 * MS)
    put(it, "a")
    look(it)

    assert look(it, 4.9) == (WaitUntil(5 * MS),)
    assert look(it, 4.9) == (WaitUntil(5 * MS),)
    assert look(it, 5) == (Run(("a",), 1, 0, "wait"),)


def test_a_full_batch_is_not_held() -> None:
    it = batcher(wait_ns=5 * MS)
    put(it, *"abcd")

    assert look(it) == (Run(tuple("abcd"), 4, 0, "full"),)


def test_a_batch_is_held_no_longer_than_its_deadline_allows() -> None:
    it = batcher((2, 1, 0), wait_ns=50 * MS)
    put(it, "a", deadline_ns=10 * MS)
    (wait,) = look(it)

    assert isinstance(wait, WaitUntil)
    assert 6.5 * MS < wait.at_ns <= 7 * MS  # it takes 3 ms
    (run,) = it.ticked(wait.at_ns)
    assert isinstance(run, Run)
    assert run.reason == "deadline"


def test_other_bounds_hold_from_the_next_batch_on() -> None:
    it = batcher(wait_ns=5 * MS)
    put(it, *"abc")
    look(it)

    assert it.tuned(BatchTuning(max=2, wait_ns=0), 0) == (Run(("a", "b"), 2, 0, "full"),)
    assert it.tuned(BatchTuning(), 0) == ()
    put(it, "d", "e", "f")
    assert runs(*end(it)) == [("c", "d", "e", "f")]


def test_a_bound_over_the_codes_own_is_not_taken() -> None:
    it = batcher()
    it.tuned(BatchTuning(max=99), 0)
    put(it, *"abcdef")

    assert runs(*look(it)) == [tuple("abcd")]


# -- deadlines --------------------------------------------------------------------------------------------


def test_a_call_that_could_not_end_in_time_is_refused_and_never_run() -> None:
    it = batcher((5, 1, 0))
    put(it, "late", deadline_ns=5 * MS)
    put(it, "good", deadline_ns=60 * MS)

    assert look(it) == (Late("late"), Run(("good",), 1, 0, "idle"))


def test_without_a_learned_cost_only_what_is_late_already_is_refused() -> None:
    it = batcher()
    put(it, "late", "other", deadline_ns=5 * MS)

    assert late(*look(it, 6)) == ["late", "other"]
    put(it, "edge", at_ms=6, deadline_ns=7 * MS)
    assert runs(*look(it, 7)) == [("edge",)]


def test_the_size_with_most_calls_in_time_per_second_wins() -> None:
    it = batcher((5, 1, 0), max=8)
    put(
        it, "tight", deadline_ns=7 * MS
    )  # alone it would end in time, and three others would wait for it
    put(it, *"abc", deadline_ns=60 * MS)

    effects = look(it)
    assert late(*effects) == ["tight"]
    assert effects[-1] == Run(("a", "b", "c"), 3, 0, "deadline")


def test_a_smaller_batch_is_cut_when_that_lets_everybody_be_in_time() -> None:
    it = batcher((0.1, 5, 0), max=8)  # nothing is won by being many
    put(it, *"ab", deadline_ns=11 * MS)
    put(it, *"cd", deadline_ns=90 * MS)

    effects = look(it)
    assert late(*effects) == []
    assert effects == (Run(("a", "b"), 2, 0, "deadline"),)
    assert runs(*end(it, 10)) == [("c", "d")]


def test_a_call_without_a_deadline_is_never_refused() -> None:
    it = batcher((5, 1, 0))
    put(it, "patient", deadline_ns=NEVER)

    assert runs(*look(it, 10**9)) == [("patient",)]


def test_without_adaptation_a_batch_is_as_full_as_can_be() -> None:
    it = batcher((0.1, 5, 0), max=8, adaptive=False)
    put(it, *"ab", deadline_ns=11 * MS)
    put(it, *"cd", deadline_ns=90 * MS)

    assert runs(*look(it)) == [tuple("abcd")]


def test_after_many_refusals_in_a_row_one_call_is_tried_all_the_same() -> None:
    it = batcher((500, 1, 0))
    for number in range(PROBE_AFTER):
        put(it, str(number), deadline_ns=50 * MS)
        assert late(*look(it)) == [str(number)]
    put(it, "sooner", deadline_ns=50 * MS)
    put(it, "later", deadline_ns=51 * MS)

    assert look(it) == (Late("sooner"), Run(("later",), 1, 0, "deadline"))
    put(it, "next", deadline_ns=50 * MS)
    assert late(*end(it)) == ["next"]


# -- properties -------------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "cancel", "end", "tick"]),
        st.integers(0, 40),  # milliseconds that pass
        st.integers(1, 300),  # weight, and what is due when
        st.integers(0, 3),  # class, key
    ),
    max_size=80,
)


@given(
    steps,
    st.sampled_from(
        [
            {},
            {"wait_ns": 3 * MS},
            {"is_weighed": True, "weight_max": 400},
            {"is_weighed": True, "packed": True},
            {"is_keyed": True},
            {"buckets": (1, 2, 4)},
            {"adaptive": False},
        ],
    ),
    st.booleans(),
)
def test_every_call_ends_once_and_no_batch_breaks_a_bound(
    events: list[tuple[str, int, int, int]], spec: dict[str, Any], learned: bool
) -> None:
    drill = Drill(batcher((5, 1, 0.01) if learned else None, **spec), spec)
    for number, (what, passed, size, group) in enumerate(events):
        drill.now += passed * MS
        drill.step(what, str(number), size, group)
        # A device that is free with calls waiting is only ever held on purpose.
        assert drill.it.is_busy or not drill.waiting or spec.get("wait_ns")
    while drill.it.is_busy or drill.waiting:
        drill.now += SECOND
        drill.step("end", "", 0, 0)

    assert len(drill.ended) == len(set(drill.ended))


class Drill:
    """A batcher, and what it was given."""

    def __init__(self, it: Batcher[str], spec: dict[str, Any]) -> None:
        self.it = it
        self.now = 0
        self.waiting: dict[str, tuple[int, int]] = {}
        self.ended: list[str] = []
        self.keyed: bool = spec.get("is_keyed", False)
        self.bound: int = 0 if spec.get("packed") else spec.get("weight_max", 0)

    def step(self, what: str, call: str, size: int, group: int) -> None:
        if what == "arrive":
            self.waiting[call] = size, group
            deadline = self.now + size * MS if group else NEVER
            key: Hashable = group if self.keyed else None
            self.it.arrived(call, self.now, deadline_ns=deadline, rank=group, weight=size, key=key)
        elif what == "cancel" and self.waiting:
            del self.waiting[gone := min(self.waiting)]
            assert self.it.cancelled(gone)
        busy = what == "end" and self.it.is_busy
        for effect in self.it.ended(self.now) if busy else self.it.ticked(self.now):
            self.take(effect)
        assert len(self.it) == len(self.waiting)

    def take(self, effect: Effect[str]) -> None:
        match effect:
            case Run(calls, padded):
                assert 1 <= len(calls) <= min(4, padded)
                weights, keys = zip(*(self.waiting.pop(call) for call in calls), strict=True)
                assert not self.keyed or len(set(keys)) == 1
                assert not self.bound or len(calls) == 1 or len(calls) * max(weights) <= self.bound
                self.ended += calls
            case Late(call):
                del self.waiting[call]
                self.ended.append(call)
            case Failed(_, error):
                raise error
            case WaitUntil(at_ns):
                assert at_ns > self.now
