"""When is a call tried again?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import Executed, call_error
from glowplug.retry import BACKOFF_MAX_NS, RETRIES_MAX, WAIT_MAX_S, retry_delay_s


@pytest.mark.parametrize(
    "code", ["busy", "draining", "control_unavailable", "shutting_down", "unreachable"]
)
def test_a_call_that_was_turned_away_is_tried_again(code: str) -> None:
    assert retry_delay_s(call_error(code, "x", executed="no"), 1, 0.5, None) == pytest.approx(0.1)


@pytest.mark.parametrize("executed", ["maybe", "yes"])
def test_a_call_that_may_have_run_is_never_tried_again(executed: Executed) -> None:
    assert retry_delay_s(call_error("busy", "x", executed=executed), 1, 0.5, None) is None


@pytest.mark.parametrize(
    "code", ["overloaded", "hold_full", "invalid_request", "deadline", "not_found", "start_failed"]
)
def test_a_refusal_that_is_the_callers_matter_is_passed_on(code: str) -> None:
    assert retry_delay_s(call_error(code, "x", executed="no"), 1, 0.5, None) is None


def test_the_routers_own_estimate_counts_and_a_long_one_ends_it() -> None:
    assert retry_delay_s(call_error("busy", "x", executed="no", retry_after_s=3), 1, 0.5, None) == 3
    assert (
        retry_delay_s(
            call_error("busy", "x", executed="no", retry_after_s=WAIT_MAX_S + 1), 1, 0.5, None
        )
        is None
    )


def test_no_try_starts_after_the_deadline() -> None:
    assert (
        retry_delay_s(call_error("busy", "x", executed="no", retry_after_s=3), 1, 0.5, 3.0) is None
    )


@given(st.integers(1, 100), st.floats(0, 1))
def test_tries_are_few_and_waits_short(tries: int, spread: float) -> None:
    delay = retry_delay_s(call_error("busy", "x", executed="no"), tries, spread, None)

    assert (delay is None) == (tries > RETRIES_MAX)
    assert delay is None or 0 < delay <= 1.5 * BACKOFF_MAX_NS
