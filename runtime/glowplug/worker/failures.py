"""What does a caller hear when a call goes wrong in the rank?"""

from dataclasses import dataclass
from typing import Any, Literal

from glowplug.codec import problem, problem_of
from glowplug.errors import CallError, Executed, GlowplugError
from glowplug.problems import PROBLEMS
from glowplug.remote_errors import exception_fields
from glowplug.wire.frames import META_MAX
from glowplug.wire.messages import Failure, pack
from glowplug.worker.compute import UserCodeExit

Stage = Literal["decode", "run", "encode"]
DETAIL_MAX = 2_000  # characters of an exception's text in `detail`; the whole is in the log
assert META_MAX > 8 * DETAIL_MAX, "a failure's meta must fit its frame"


@dataclass(frozen=True, slots=True)
class Fault:
    """A failed call: the frame's meta and its problem document."""

    code: str
    executed: Executed
    meta: bytes
    body: bytes

    @property
    def status(self) -> int:
        """Return the HTTP status the caller will see."""
        return PROBLEMS[self.code].status if self.code in PROBLEMS else 500


def fault(code: str, detail: str, executed: Executed, request_id: str) -> Fault:
    """Return the failure for something that went wrong around user code."""
    phase = "queue" if executed == "no" else "run"
    body = problem(code, detail, request_id=request_id, phase=phase, executed=executed)
    return _fault(code, detail, executed, body)


def fault_of(error: BaseException, stage: Stage, request_id: str, *, show: bool) -> Fault:
    """Return the failure for what decoding, running or encoding raised.

    Args:
        error: What was raised.
        stage: Where; only decoding is sure not to have run anything.
        request_id: Of the call.
        show: The caller may see the traceback.
    """
    if isinstance(error, UserCodeExit) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, CallError) and stage != "run":
        executed: Executed = "no" if stage == "decode" else "yes"
        error.executed = executed
        error.phase = error.phase or stage
        return _fault(error.code, error.message, executed, problem_of(error, request_id=request_id))
    if isinstance(error, MemoryError):
        detail = "the endpoint ran out of memory (MemoryError)"
        return _fault(
            "out_of_memory",
            detail,
            "yes",
            problem("out_of_memory", detail, request_id=request_id, phase=stage, executed="yes"),
        )
    fields = {name: _sayable(value) for name, value in exception_fields(error).items()}
    if not show:
        fields.pop("traceback", None)
    detail = said(error)
    body = problem(
        "endpoint_error",
        detail,
        request_id=request_id,
        phase="run",
        executed="yes",
        exception=fields,
        hint=error.hint if isinstance(error, GlowplugError) else "",
    )
    return _fault("endpoint_error", detail, "yes", body)


def said(error: BaseException) -> str:
    """Return an exception as one line of text: its class and what it says."""
    try:
        text = error.message if isinstance(error, GlowplugError) else str(error)
    except Exception:  # a user's __str__ may raise anything
        text = "(its text cannot be had)"
    name = type(error).__qualname__
    return sayable(f"{name}: {text}"[:DETAIL_MAX] if text else name)


def sayable(text: str) -> str:
    """Return a text that can be sent: in one that cannot, such as a file name of odd bytes, these are written out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _sayable(value: Any) -> Any:
    """Return JSON of which every text can be sent."""
    match value:
        case str():
            return sayable(value)
        case dict():
            return {sayable(name): _sayable(one) for name, one in value.items()}
        case list() | tuple():
            return [_sayable(one) for one in value]
        case _:
            return value


def _fault(code: str, detail: str, executed: Executed, body: bytes) -> Fault:
    retryable = code in PROBLEMS and PROBLEMS[code].retryable
    meta = pack(Failure(code, executed, retryable, sayable(detail[:DETAIL_MAX])))
    return Fault(code, executed, meta, body)
