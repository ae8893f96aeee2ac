"""Has a connection taken too long, and what is to be done about it? Every phase has a limit."""

from typing import Literal

from glowplug_router.gateway.settings import GatewaySettings

Phase = Literal["idle", "head", "body", "linger"]
Verdict = Literal[
    "", "abort", "close", "head", "body"
]  # the last two: answer 408, this part did not arrive in time


def verdict(
    settings: GatewaySettings,
    phase: Phase,
    waited_ns: int,
    *,
    body_ns: int = 0,
    stalled_ns: int = 0,
    is_busy: bool = False,
    is_paused: bool = False,
    is_upload: bool = False,
) -> Verdict:
    """Return what a connection's time says.

    Args:
        settings: The limits.
        phase: What it is in.
        waited_ns: For how long, or since the last piece of a body.
        body_ns: Since the body began.
        stalled_ns: For how long the client has taken nothing of what we write.
        is_busy: A request of it is being answered.
        is_paused: We are the ones who do not read.
        is_upload: The body goes to the control API: it may take any time, as long as it moves.
    """
    if stalled_ns > settings.write_stall_ns:
        return "abort"
    match phase:
        case "linger":
            return "abort" if waited_ns > settings.linger_ns else ""
        case "idle":
            return "close" if waited_ns > settings.keep_alive_ns and not is_busy else ""
        case "head":
            return "head" if waited_ns > settings.head_ns and not is_paused else ""
        case "body":
            is_over = waited_ns > settings.body_idle_ns or (
                body_ns > settings.body_total_ns and not is_upload
            )
            return "body" if is_over and not is_paused else ""
