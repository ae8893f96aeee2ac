"""What can go wrong, for whom, and what to do next?

GlowplugError                     every error of ours; has `code` and `hint`
├── DefinitionError               the decorator or the signature is wrong; raised at import, names the fix
├── ConfigError                   a profile, key, port or folder is wrong
├── BuildError                    packaging failed
├── StoreError                    the store is locked, full or damaged
├── NodeError                     a node could not start or keep something
├── WireError                     the other end broke the frame protocol
└── CallError                     a call did not return a value; `executed` says if the work may have run
    ├── InvalidRequestError       the arguments do not fit the schema
    ├── NotAllowedError           no key, a wrong key, or a key without the scope
    ├── NotFoundError             no such app, endpoint or version
    ├── OverloadedError           no room now; `retry_after_s` says when
    ├── UnavailableError          nothing can take the call (starting failed, store away, stopping)
    ├── DeadlineError             the time ran out, waiting or running
    ├── DeadlockError             the call could only wait for a permit its own chain holds
    ├── ReplicaLostError          the replica died under the call
    ├── CancelledByCallerError    the caller went away
    └── RemoteError               the endpoint raised; `remote_traceback` has the frames

Every code has one row in `glowplug.problems.PROBLEMS`: HTTP status, retryable, hint. The HTTP answer is RFC 9457 problem+json.
"""

from typing import Any, Literal

from glowplug.problems import PROBLEMS, with_request_id

Executed = Literal["no", "yes", "maybe"]


class GlowplugError(Exception):
    """Carry a stable code and the next command beside the message."""

    code = "internal"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.hint = hint or (PROBLEMS[self.code].hint if self.code in PROBLEMS else "")

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class DefinitionError(GlowplugError, TypeError):
    """The declaration cannot work as written."""

    code = "definition"


class ConfigError(GlowplugError):
    """A setting of this place (profile, key, port, folder) is wrong."""

    code = "config"


class BuildError(GlowplugError):
    """Sources, requirements or layers could not be put together."""

    code = "build"


class StoreError(GlowplugError):
    """The store cannot be read or written now."""

    code = "store_locked"


class NodeError(GlowplugError):
    """A node could not do as told."""

    code = "start_failed"


class WireError(GlowplugError):
    """The peer sent what the frame protocol does not allow; the connection is closed."""

    code = "wire"


class CallError(GlowplugError):
    """A call ended without a value. `executed` is "no" only where the work cannot have run."""

    code = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str = "",
        executed: Executed = "maybe",
        request_id: str = "",
        retry_after_s: float | None = None,
        phase: str = "",
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.executed: Executed = executed
        self.request_id = request_id
        self.hint = with_request_id(self.hint, request_id)
        self.retry_after_s = retry_after_s
        self.phase = phase

    @property
    def status(self) -> int:
        """Return the HTTP status of this error's code."""
        return PROBLEMS[self.code].status if self.code in PROBLEMS else 500

    @property
    def retryable(self) -> bool:
        """Say whether the same call may succeed later."""
        return self.code in PROBLEMS and PROBLEMS[self.code].retryable


class InvalidRequestError(CallError):
    """The arguments do not fit the schema."""

    code = "invalid_request"
    errors: tuple[dict[str, Any], ...] = ()  # for each field that does not fit: loc, msg, type


class NotAllowedError(CallError):
    """There is no key, or it may not do this."""

    code = "unauthorized"


class NotFoundError(CallError):
    """There is no such app, endpoint or version."""

    code = "not_found"


class OverloadedError(CallError):
    """No replica can take the call in time."""

    code = "overloaded"


class UnavailableError(CallError):
    """Nothing can take the call."""

    code = "unavailable"


class DeadlineError(CallError):
    """The time ran out."""

    code = "deadline"


class DeadlockError(CallError):
    """The call could only wait for a permit its own chain holds."""

    code = "deadlock"


class ReplicaLostError(CallError):
    """The replica died under the call."""

    code = "replica_lost"


class CancelledByCallerError(CallError):
    """The caller went away."""

    code = "cancelled"


class RemoteError(CallError):
    """The endpoint raised an exception whose class is not known here."""

    code = "endpoint_error"

    def __init__(
        self,
        message: str,
        *,
        type_name: str = "",
        remote_traceback: str = "",
        executed: Executed = "yes",
        request_id: str = "",
        arguments: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(message, executed=executed, request_id=request_id)
        self.type_name = type_name  # "module:qualname" of the exception
        self.remote_traceback = remote_traceback
        self.arguments = arguments  # what the exception was made with, as far as JSON can say


_BY_CODE: dict[str, type[CallError]] = {
    "invalid_json": InvalidRequestError,
    "invalid_request": InvalidRequestError,
    "bad_request": InvalidRequestError,
    "unsupported_media_type": InvalidRequestError,
    "too_large": InvalidRequestError,
    "unauthorized": NotAllowedError,
    "forbidden": NotAllowedError,
    "not_found": NotFoundError,
    "version_not_found": NotFoundError,
    "overloaded": OverloadedError,
    "hold_full": OverloadedError,
    "queue_timeout": DeadlineError,
    "start_timeout": DeadlineError,
    "run_timeout": DeadlineError,
    "deadline": DeadlineError,
    "deadlock": DeadlockError,
    "too_deep": DeadlockError,
    "replica_lost": ReplicaLostError,
    "out_of_memory": ReplicaLostError,
    "cancelled": CancelledByCallerError,
    "endpoint_error": RemoteError,
}


def call_error(
    code: str,
    message: str,
    *,
    executed: Executed = "maybe",
    request_id: str = "",
    retry_after_s: float | None = None,
    phase: str = "",
    hint: str = "",
) -> CallError:
    """Return the class of the tree that `code` belongs to, filled in."""
    cls = _BY_CODE.get(code, UnavailableError)
    if cls is RemoteError:
        return RemoteError(message, executed=executed, request_id=request_id)
    return cls(
        message,
        code=code,
        executed=executed,
        request_id=request_id,
        retry_after_s=retry_after_s,
        phase=phase,
        hint=hint,
    )
