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

Every code has one row in `PROBLEMS`: HTTP status, retryable, hint. The HTTP answer is RFC 9457 problem+json.
"""

from dataclasses import dataclass
from typing import Any, Literal

Executed = Literal["no", "yes", "maybe"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of the public table of codes."""

    status: int
    title: str
    retryable: bool
    hint: str


PROBLEMS: dict[str, Problem] = {
    "invalid_json": Problem(400, "The body is not JSON", False, "send a JSON object with one member for each parameter"),
    "invalid_request": Problem(422, "The arguments do not fit", False, "see `errors` for the fields, /openapi.json for the schema"),
    "bad_request": Problem(400, "The request is malformed", False, "see `detail`"),
    "unsupported_media_type": Problem(415, "The content type is not accepted here", False, "send application/json, multipart/form-data, or raw bytes where the endpoint takes `bytes`"),
    "unauthorized": Problem(401, "No valid key", False, "send `Authorization: Bearer <key>`; `glowplug keys create` makes one"),
    "forbidden": Problem(403, "The key may not do this", False, "use a key whose scopes cover it: `glowplug keys list`"),
    "misdirected": Problem(421, "This router does not answer for that Host", False, "use the URL that `glowplug status` prints, or add the name with --allow-host"),
    "not_found": Problem(404, "No such endpoint", False, "`glowplug status` lists what is deployed"),
    "version_not_found": Problem(404, "No such version", False, "`glowplug history` lists the versions"),
    "method_not_allowed": Problem(405, "Endpoints take POST", False, "use POST"),
    "too_large": Problem(413, "The body is over the limit", False, "send less, or raise the limit: `glowplug up --body-limit 200MB`"),
    "headers_too_large": Problem(431, "The headers are over the limit", False, "send at most 32 KiB and 128 header fields"),
    "request_timeout": Problem(408, "The request did not arrive in time", True, "send the headers within 10 s and never pause the body for 30 s"),
    "overloaded": Problem(429, "No room", True, "retry after `Retry-After`; raise `scale.max` or `concurrency` if this is usual"),
    "hold_full": Problem(429, "Too many calls wait for the first replica", True, "retry after `Retry-After`; raise `scale.hold`, or keep one warm with `scale.min=1`"),
    "busy": Problem(503, "The replica has no free permit", True, "the router tries another replica by itself"),
    "draining": Problem(503, "The replica is leaving", True, "the router tries another replica by itself"),
    "unavailable": Problem(503, "Nothing can take the call", True, "`glowplug status --why` says why"),
    "start_failed": Problem(503, "The endpoint could not start", False, "`glowplug logs` shows the failing start; fix it and deploy again"),
    "stopped": Problem(503, "The app is stopped", False, "`glowplug deploy` starts it again"),
    "control_unavailable": Problem(503, "The controller is restarting", True, "retry in a second; calls to endpoints go on meanwhile"),
    "queue_timeout": Problem(504, "The call waited too long for a replica", True, "raise `timeout.queue`, or `scale.max`"),
    "start_timeout": Problem(504, "The replica did not start in time", True, "raise `timeout.start`, or keep one warm with `scale.min=1`"),
    "run_timeout": Problem(504, "The endpoint ran too long", False, "raise `timeout.run`, or make the work smaller"),
    "deadline": Problem(504, "The deadline passed", True, "send a later `Glowplug-Deadline`"),
    "deadlock": Problem(508, "The call waits for itself", False, "raise `scale.max` or `concurrency` of the endpoint that calls back into its own chain"),
    "too_deep": Problem(508, "Endpoints call each other too deeply", False, "at most 8 endpoints may be in one chain"),
    "replica_lost": Problem(502, "The replica died under the call", True, "it may have run; retry if running twice is harmless"),
    "out_of_memory": Problem(502, "The replica was killed for memory", False, "raise `memory=` of the endpoint, or lower its concurrency"),
    "endpoint_error": Problem(500, "The endpoint raised an exception", False, "`glowplug logs <request id>` shows the traceback"),
    "bad_response": Problem(500, "The endpoint returned what cannot be sent", False, "return JSON types, dataclasses, pydantic models or bytes"),
    "cancelled": Problem(499, "The caller went away", False, "nothing to do"),
    "shutting_down": Problem(503, "The router is stopping", True, "retry in a moment"),
    "store_locked": Problem(503, "The store is locked", True, "another process holds the database; `glowplug doctor` names it"),
    "disk_full": Problem(507, "No space left", True, "free some space; `glowplug doctor` shows where"),
    "digest_mismatch": Problem(400, "The bytes do not have the digest they claim", True, "upload them again"),
    "conflict": Problem(409, "Somebody else changed it first", True, "look with `glowplug history` and try again"),
    "deploy_failed": Problem(409, "The new version did not pass", False, "see `detail`; the old version still serves"),
    "internal": Problem(500, "glowplug itself failed", True, "`glowplug logs --system` has the traceback; please report it"),
}


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
    return cls(message, code=code, executed=executed, request_id=request_id, retry_after_s=retry_after_s, phase=phase, hint=hint)
