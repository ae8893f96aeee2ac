"""When may the client try the same call again, and after how long? Only where it cannot have run."""

from glowplug.backoff import backoff_ns
from glowplug.clock import MILLISECOND, SECOND
from glowplug.errors import CallError

RETRIES_MAX = 3
BACKOFF_FIRST_NS = 100 * MILLISECOND
BACKOFF_MAX_NS = 2 * SECOND
WAIT_MAX_S = 20.0  # a router that says "in a minute" is a matter for the caller
_AGAIN = frozenset(
    {"busy", "control_unavailable", "draining", "payload_gone", "shutting_down", "unreachable"}
)


def retry_delay_s(
    error: CallError, tries: int, spread: float, left_s: float | None
) -> float | None:
    """Return how long to wait before trying again, or None to give up.

    Args:
        error: what the last try ended with.
        tries: how many there were.
        spread: 0 to 1, different for each call, so that many clients do not come back at once.
        left_s: what is left of the caller's time.
    """
    if error.executed != "no" or error.code not in _AGAIN or tries > RETRIES_MAX:
        return None
    backoff_s = backoff_ns(tries, BACKOFF_FIRST_NS, BACKOFF_MAX_NS) / SECOND * (0.5 + spread)
    delay_s = max(backoff_s, error.retry_after_s or 0.0)
    if delay_s > WAIT_MAX_S or (left_s is not None and delay_s >= left_s):
        return None
    return delay_s
