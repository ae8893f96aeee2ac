"""Does waiting double, and end at its limit?"""

from hypothesis import given
from hypothesis import strategies as st

from glowplug.backoff import backoff_ns


def test_the_wait_doubles_with_each_failure_up_to_its_limit() -> None:
    waits = [backoff_ns(failures, 100, 500) for failures in range(6)]

    assert waits == [0, 100, 200, 400, 500, 500]


@given(st.integers(0, 10**9))
def test_no_number_of_failures_makes_it_longer_than_the_limit(failures: int) -> None:
    assert 0 <= backoff_ns(failures, 1, 10**9) <= 10**9
