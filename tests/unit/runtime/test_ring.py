"""Are places in shared memory given, checked and taken back without ever overlapping or reaching outside?"""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import WireError
from glowplug.wire.ring import PAGE_BYTES, Arrivals, Extents, Place

SIZE = 64 * PAGE_BYTES


def freed(*places: Place) -> bytes:
    return b"".join(place.freed() for place in places)


def pages(place: Place) -> range:
    return range(place.offset // PAGE_BYTES, -(-(place.offset + place.size) // PAGE_BYTES))


@given(st.lists(st.integers(1, 40 * PAGE_BYTES), max_size=60), st.randoms(use_true_random=False))
def test_places_that_are_out_never_overlap_and_all_room_comes_back(
    sizes: list[int], chance: Random
) -> None:
    extents, out = Extents(SIZE), list[Place]()
    for size in sizes:
        place = extents.take(size)
        if place is not None:
            out.append(place)
        taken = [page for one in out for page in pages(one)]
        assert len(taken) == len(set(taken))
        assert all(0 <= page < SIZE // PAGE_BYTES for page in taken)
        while out and chance.random() < 0.4:
            extents.free(freed(out.pop(chance.randrange(len(out)))))
    extents.free(freed(*out))

    assert extents.is_idle
    whole = extents.take(SIZE)
    assert whole is not None
    assert (whole.offset, whole.size) == (0, SIZE)


def test_the_lowest_room_that_fits_is_used_again_first() -> None:
    extents = Extents(SIZE)
    first, second, third = (extents.take(PAGE_BYTES + 1) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third == Place(4 * PAGE_BYTES, PAGE_BYTES + 1, 3)

    extents.free(freed(first, second))
    assert extents.take(4 * PAGE_BYTES) == Place(0, 4 * PAGE_BYTES, 4)
    assert extents.reach == 6 * PAGE_BYTES


def test_there_is_room_for_exactly_as_much_as_there_is() -> None:
    assert Extents(SIZE).take(SIZE) == Place(0, SIZE, 1)
    assert Extents(SIZE).take(SIZE + 1) is None

    extents = Extents(SIZE)
    assert extents.take(SIZE - PAGE_BYTES) is not None
    assert extents.take(PAGE_BYTES + 1) is None
    assert extents.take(PAGE_BYTES) == Place(SIZE - PAGE_BYTES, PAGE_BYTES, 2)


def test_what_is_not_out_cannot_be_given_back() -> None:
    extents = Extents(SIZE)
    place = extents.take(PAGE_BYTES)
    assert place is not None

    for lie in (
        place._replace(generation=2),
        place._replace(generation=0),
        place._replace(offset=PAGE_BYTES),
        Place(2**64 - 1, 1, 2**64 - 1),
    ):
        with pytest.raises(WireError, match="nothing of generation"):
            extents.free(freed(lie))
    extents.free(freed(place))
    with pytest.raises(WireError, match="nothing of generation 1 is out at 0"):
        extents.free(freed(place))
    with pytest.raises(WireError, match="of 15 bytes is no row of places"):
        extents.free(bytes(15))


def test_the_reader_takes_each_place_once_and_in_order() -> None:
    arrivals = Arrivals(SIZE)
    places = [Place(0, SIZE, 1), Place(PAGE_BYTES, 5, 2)]
    for place in places:
        assert arrivals.check(place.packed(), SIZE) == place
        arrivals.given_back()

    for generation in (1, 2, 4, 2**64 - 1):
        with pytest.raises(WireError, match="comes after generation 2"):
            arrivals.check(Place(0, 5, generation).packed(), SIZE)
    assert arrivals.check(Place(0, 5, 3).packed(), SIZE) == Place(0, 5, 3)


def test_a_place_that_is_out_is_not_named_again() -> None:
    arrivals = Arrivals(SIZE)
    for place in (Place(PAGE_BYTES, PAGE_BYTES, 1), Place(4 * PAGE_BYTES, PAGE_BYTES, 2)):
        assert arrivals.check(place.packed(), SIZE) == place

    for offset, size in ((1, 1), (1, 2), (0, 2), (0, 64), (4, 1), (3, 2), (2, 3)):
        with pytest.raises(WireError, match="are out, and were named again"):
            arrivals.check(Place(offset * PAGE_BYTES, size * PAGE_BYTES, 3).packed(), SIZE)
    between = Place(2 * PAGE_BYTES, 2 * PAGE_BYTES, 3)
    assert arrivals.check(between.packed(), SIZE) == between
    arrivals.given_back()
    assert arrivals.check(Place(0, SIZE, 4).packed(), SIZE) == Place(0, SIZE, 4)


def test_a_place_ends_where_the_memory_ends_and_a_body_at_its_bound() -> None:
    assert Arrivals(SIZE).check(Place(SIZE - 5, 5, 1).packed(), 5) == Place(SIZE - 5, 5, 1)

    with pytest.raises(WireError, match="reaches beyond"):
        Arrivals(SIZE).check(Place(SIZE - 5, 6, 1).packed(), 6)
    with pytest.raises(WireError, match="over the bounds: body 6 B"):
        Arrivals(SIZE).check(Place(SIZE - 5, 6, 1).packed(), 5)
    with pytest.raises(WireError, match="has 24 bytes, not 23"):
        Arrivals(SIZE).check(bytes(23), 5)


u64s = st.sampled_from([0, 1, 2, SIZE - 1, SIZE, SIZE + 1, 2**32, 2**64 - 1]) | st.integers(
    0, 2**64 - 1
)


@given(st.lists(st.builds(Place, u64s, u64s, u64s), max_size=8), u64s)
def test_no_place_that_is_taken_reaches_outside(places: list[Place], body_max: int) -> None:
    arrivals = Arrivals(SIZE)
    for number, place in enumerate(places, 1):
        try:
            got = arrivals.check(place.packed(), body_max)
        except WireError:
            return
        assert got == place
        assert got.offset + got.size <= SIZE
        assert got.size <= body_max
        assert got.generation == number
