"""Which lengths share a padded batch?"""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from glowplug.worker.lengths import group_of

SHORT_AND_LONG = [10, 11, 12, 300, 310]


def test_short_and_long_are_apart_where_padding_costs_more_than_a_batch() -> None:
    assert group_of(0, SHORT_AND_LONG, 8, 0, 50) == (0, 3)
    assert group_of(4, SHORT_AND_LONG, 8, 0, 50) == (3, 5)


def test_all_share_one_where_a_batch_costs_more_than_padding() -> None:
    assert group_of(0, SHORT_AND_LONG, 8, 0, 10_000) == (0, 5)


def test_the_bounds_of_a_batch_cut_what_would_else_be_one() -> None:
    assert group_of(0, [10] * 5, 2, 0, 10_000) in {(0, 1), (0, 2)}
    assert group_of(4, [10] * 5, 8, 20, 10_000) in {(3, 5), (4, 5)}


def test_a_call_over_the_bound_is_alone() -> None:
    assert group_of(1, [10, 900], 8, 100, 1) == (1, 2)


lengths_ = st.lists(st.integers(1, 60), min_size=1, max_size=7).map(sorted)


@given(lengths_, st.integers(1, 4), st.integers(1, 200), st.data())
def test_the_groups_cost_what_the_best_of_all_cuts_does(
    lengths: list[int], most: int, batch_units: int, data: st.DataObject
) -> None:
    count = len(lengths)
    groups = {group_of(at, lengths, most, 0, batch_units) for at in range(count)}
    cost = sum(batch_units + (end - begin) * lengths[end - 1] for begin, end in groups)

    best = min(
        sum(
            batch_units + (end - begin) * lengths[end - 1]
            for begin, end in zip((0, *cuts), (*cuts, count), strict=True)
        )
        for number in range(count)
        for cuts in combinations(range(1, count), number)
        if all(end - begin <= most for begin, end in zip((0, *cuts), (*cuts, count), strict=True))
    )
    assert cost == best
    at = data.draw(st.integers(0, count - 1))
    begin, end = group_of(at, lengths, most, 0, batch_units)
    assert begin <= at < end
