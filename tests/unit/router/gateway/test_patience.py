import pytest

from glowplug.clock import SECOND
from glowplug_router.gateway.patience import Phase, Verdict, verdict
from glowplug_router.gateway.settings import GatewaySettings

LIMITS = GatewaySettings()


@pytest.mark.parametrize(
    ("phase", "limit_s", "then"),
    [("head", 10, "head"), ("body", 30, "body"), ("idle", 75, "close"), ("linger", 2, "abort")],
)
def test_every_phase_has_a_limit(phase: Phase, limit_s: int, then: Verdict) -> None:
    assert verdict(LIMITS, phase, limit_s * SECOND) == ""
    assert verdict(LIMITS, phase, limit_s * SECOND + 1) == then


def test_a_body_that_drips_is_ended_after_ten_minutes_but_an_upload_is_not() -> None:
    assert verdict(LIMITS, "body", SECOND, body_ns=600 * SECOND) == ""
    assert verdict(LIMITS, "body", SECOND, body_ns=601 * SECOND) == "body"
    assert verdict(LIMITS, "body", SECOND, body_ns=601 * SECOND, is_upload=True) == ""


def test_a_connection_that_we_do_not_read_is_not_late() -> None:
    assert verdict(LIMITS, "head", 11 * SECOND, is_paused=True) == ""
    assert verdict(LIMITS, "body", 31 * SECOND, is_paused=True) == ""


def test_a_connection_that_waits_for_its_answer_is_not_idle() -> None:
    assert verdict(LIMITS, "idle", 76 * SECOND, is_busy=True) == ""


def test_a_reader_that_takes_nothing_for_a_minute_is_cut_off() -> None:
    assert verdict(LIMITS, "idle", 0, stalled_ns=60 * SECOND, is_busy=True) == ""
    assert verdict(LIMITS, "idle", 0, stalled_ns=60 * SECOND + 1, is_busy=True) == "abort"
