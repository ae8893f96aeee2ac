"""Does the sorted list keep its order, whatever goes in and out?"""

from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug_router.dispatch.levels import Levels, level_of
from glowplug_router.dispatch.ordered import BLOCK_MAX, Ordered

KEYS = st.lists(st.integers(0, 60), max_size=200)


@settings(max_examples=100)
@given(KEYS, st.integers(0, 60))
def test_it_holds_what_a_plain_sorted_list_would(keys: list[int], asked: int) -> None:
    """A key that is in goes out."""
    entries: Ordered[tuple[int, str]] = Ordered()
    model: list[int] = []
    for key in keys:
        if key in model:
            entries.remove((key,))
            model.remove(key)
        else:
            entries.add((key, "x"))
            model.append(key)

    expected = [(key, "x") for key in sorted(model)]
    assert list(entries) == expected
    assert list(reversed(entries)) == expected[::-1]
    assert len(entries) == len(model)
    assert entries.first() == (expected[0] if expected else None)
    assert entries.last() == (expected[-1] if expected else None)
    assert entries.before((asked,)) == sum(key < asked for key in model)


def test_many_entries_lie_in_blocks_that_come_and_go() -> None:
    entries: Ordered[tuple[int]] = Ordered()
    count = 3 * BLOCK_MAX
    for number in range(count):
        entries.add((number * 7919 % count,))

    assert [key for (key,) in entries] == list(range(count))
    assert entries.before((count // 2,)) == count // 2
    for number in range(count - 1):
        entries.remove((number,))
    assert list(reversed(entries)) == [(count - 1,)]
    entries.remove((count - 1,))
    assert (len(entries), entries.first(), entries.last()) == (0, None, None)


def test_levels_give_the_lowest_and_the_highest_and_take_turns_on_one_level() -> None:
    levels: Levels[str] = Levels()
    assert levels.lowest() is None
    assert levels.highest() is None
    for thing, level in (("a", 3), ("b", 3), ("c", 70)):
        levels.put(thing, level)

    assert (levels.lowest(), levels.highest()) == ("a", "c")
    levels.renew("a", 3)
    assert levels.lowest() == "b"
    levels.take("b", 3)
    levels.take("a", 3)
    assert levels.lowest() == "c"


@given(st.integers(0, 10**6))
def test_a_higher_count_is_never_on_a_lower_level(count: int) -> None:
    assert level_of(count) <= level_of(count + 1)
    assert level_of(2 * count + 8) > level_of(count)
