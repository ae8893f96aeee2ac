"""Is an item that failed a batch known again, for a while?"""

from glowplug.worker.poison import KEPT_MAX, KEPT_NS, WHOLE_MAX, Poison, mark_of


def test_an_item_is_remembered_for_a_while() -> None:
    poison = Poison()
    assert not poison.has(1, 0)
    poison.add(1, 100)

    assert poison.has(1, 100 + KEPT_NS - 1)
    assert not poison.has(2, 100)
    assert not poison.has(1, 100 + KEPT_NS)
    assert not poison.has(1, 100)  # it was forgotten for good


def test_the_oldest_is_forgotten_when_there_are_too_many() -> None:
    poison = Poison()
    for mark in range(KEPT_MAX):
        poison.add(mark, 0)
    poison.add(0, 1)  # again: the newest now
    poison.add(KEPT_MAX, 1)

    assert not poison.has(1, 1)
    assert poison.has(0, 1)
    assert poison.has(KEPT_MAX, 1)


def test_bodies_are_told_apart_by_what_they_hold() -> None:
    assert mark_of(b"a", "") == mark_of(b"a", "")
    assert mark_of(b"a", "") != mark_of(b"b", "")
    assert mark_of(b"a", "x=1") != mark_of(b"a", "x=2")


def test_of_a_large_body_both_ends_and_its_length_count() -> None:
    large = bytes(WHOLE_MAX + 1)

    assert mark_of(large, "") == mark_of(bytes(WHOLE_MAX + 1), "")
    assert mark_of(large, "") != mark_of(b"x" + large[1:], "")
    assert mark_of(large, "") != mark_of(large[:-1] + b"x", "")
    assert mark_of(large, "") != mark_of(large + b"\0", "")
