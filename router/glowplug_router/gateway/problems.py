"""What does the caller read when a call fails? Problem documents, and the sentence for each refusal."""

from collections.abc import Callable
from dataclasses import dataclass

from glowplug.clock import SECOND
from glowplug.codec import PROBLEM, problem
from glowplug.errors import Executed
from glowplug.problems import PROBLEMS

CONTENT_TYPE = PROBLEM


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no answer. `document` is a ready problem document, from the replica."""

    code: str
    detail: str = ""
    executed: Executed = "no"
    phase: str = ""
    retry_after_ns: int = 0
    hint: str = ""
    document: bytes = b""
    headers: bytes = b""  # further header lines, each with its CRLF

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        row = PROBLEMS.get(self.code)
        return row.status if row is not None else 500

    @property
    def retry_after_s(self) -> int | None:
        """Return whole seconds for Retry-After: rounded up, so that nobody comes back too early."""
        return -(-self.retry_after_ns // SECOND) if self.retry_after_ns > 0 else None


def document(trouble: Trouble, request_id: str) -> bytes:
    """Return the RFC 9457 document."""
    if trouble.document:
        return trouble.document
    return problem(
        trouble.code,
        trouble.detail,
        request_id=request_id,
        phase=trouble.phase,
        executed=trouble.executed,
        hint=trouble.hint,
        retry_after_s=trouble.retry_after_s,
    )


Sentence = Callable[[str], str]
_REFUSALS: dict[str, tuple[str, Sentence]] = {
    "overloaded": ("queue", lambda key: f"{key}: every permit is taken and the queue is full"),
    "hold_full": (
        "start",
        lambda key: f"{key}: as many calls as `hold` allows already wait for the first replica",
    ),
    "infeasible": (
        "queue",
        lambda key: (
            f"{key}: by what waits before it and what a call takes, the deadline could not be met"
        ),
    ),
    "queue_timeout": ("queue", lambda key: f"{key}: no permit came free within `timeout.queue`"),
    "start_timeout": ("start", lambda key: f"{key}: no replica was ready within `timeout.start`"),
    "deadline": ("queue", lambda key: f"{key}: the deadline passed before the call could run"),
    "deadlock": ("queue", lambda key: f"{key}: only calls that wait for this one hold its permits"),
    "start_failed": ("start", lambda key: f"{key}: its replicas fail to start"),
    "version_not_found": ("", lambda key: f"{key} is served no more"),
    "shutting_down": ("queue", lambda key: f"{key}: the router stopped before the call could run"),
}


def refusal(code: str, key: str, *, why: str = "", retry_after_ns: int = 0) -> Trouble:
    """Return the trouble of a call that was never run; `key` is its version, `why` what is known besides."""
    phase, sentence = _REFUSALS.get(code, ("queue", lambda key: f"{key} cannot take the call"))
    detail = f"{sentence(key)}: {why}" if why else sentence(key)
    return Trouble(code, detail, phase=phase, retry_after_ns=retry_after_ns)


def bad_request(detail: str, hint: str = "") -> Trouble:
    """Return the trouble of a request that is malformed."""
    return Trouble("bad_request", detail, hint=hint)
