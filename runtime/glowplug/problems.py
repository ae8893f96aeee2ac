"""What does each code mean to a caller: which status, is a retry any use, what should be done?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of the public table of codes."""

    status: int
    title: str
    retryable: bool
    hint: str


REQUEST_ID = "<request id>"  # in a hint, where the id goes once it is known


def with_request_id(hint: str, request_id: str) -> str:
    """Return a hint with the id of the call it is about, so that its command works as pasted."""
    return hint.replace(REQUEST_ID, request_id) if request_id else hint


PROBLEMS: dict[str, Problem] = {
    "invalid_json": Problem(
        400, "The body is not JSON", False, "send a JSON object with one member for each parameter"
    ),
    "invalid_request": Problem(
        422,
        "The arguments do not fit",
        False,
        "`detail` says what is wrong; /openapi.json has the schema of each endpoint",
    ),
    "bad_request": Problem(400, "The request is malformed", False, "see `detail`"),
    "unsupported_media_type": Problem(
        415,
        "The content type is not accepted here",
        False,
        "send application/json, application/msgpack or multipart/form-data; application/safetensors where the endpoint"
        " takes arrays, raw bytes where it takes `bytes`",
    ),
    "unauthorized": Problem(
        401,
        "No valid key",
        False,
        "send `Authorization: Bearer <key>`; `glowplug keys create` makes one",
    ),
    "forbidden": Problem(
        403,
        "The key may not do this",
        False,
        "use a key whose scopes cover it: `glowplug keys list`",
    ),
    "misdirected": Problem(
        421,
        "This router does not answer for that Host",
        False,
        "use the URL that `glowplug status` prints, or add the name with --allow-host",
    ),
    "not_found": Problem(
        404, "No such endpoint", False, "`glowplug status` lists what is deployed"
    ),
    "version_not_found": Problem(
        404, "No such version", False, "`glowplug history APP` lists the versions"
    ),
    "method_not_allowed": Problem(405, "Endpoints take POST", False, "use POST"),
    "too_large": Problem(
        413,
        "The body is over the limit",
        False,
        "send less, upload the body first (POST /-/api/payloads), or raise the limit: `glowplug up --body-limit 200MB`",
    ),
    "headers_too_large": Problem(
        431, "The headers are over the limit", False, "send at most 32 KiB and 128 header fields"
    ),
    "request_timeout": Problem(
        408,
        "The request did not arrive in time",
        True,
        "send the headers within 10 s and never pause the body for 30 s",
    ),
    "overloaded": Problem(
        429,
        "No room",
        True,
        "retry after `Retry-After`; raise `scale.max` or `concurrency` if this is usual",
    ),
    "hold_full": Problem(
        429,
        "Too many calls wait for the first replica",
        True,
        "retry after `Retry-After`; raise `scale.hold`, or keep one warm with `scale.min=1`",
    ),
    "busy": Problem(
        503, "The replica has no free permit", True, "the router tries another replica by itself"
    ),
    "draining": Problem(
        503, "The replica is leaving", True, "the router tries another replica by itself"
    ),
    "unavailable": Problem(
        503, "Nothing can take the call", True, "`glowplug status --why` says why"
    ),
    "start_failed": Problem(
        503,
        "The endpoint could not start",
        False,
        "`glowplug logs` shows the failing start; fix it and deploy again",
    ),
    "stopped": Problem(503, "The app is stopped", False, "`glowplug deploy` starts it again"),
    "control_unavailable": Problem(
        503,
        "The controller is restarting",
        True,
        "retry in a second; calls to endpoints go on meanwhile",
    ),
    "infeasible": Problem(
        503,
        "The call could not be answered in time",
        True,
        "retry after `Retry-After`, or send a later `Glowplug-Deadline`; raise `scale.max` if this is usual",
    ),
    "queue_timeout": Problem(
        504, "The call waited too long for a replica", True, "raise `timeout.queue`, or `scale.max`"
    ),
    "start_timeout": Problem(
        504,
        "The replica did not start in time",
        True,
        "raise `timeout.start`, or keep one warm with `scale.min=1`",
    ),
    "run_timeout": Problem(
        504, "The endpoint ran too long", False, "raise `timeout.run`, or make the work smaller"
    ),
    "deadline": Problem(504, "The deadline passed", True, "send a later `Glowplug-Deadline`"),
    "deadlock": Problem(
        508,
        "The call waits for itself",
        False,
        "raise `scale.max` or `concurrency` of the endpoint that calls back into its own chain",
    ),
    "too_deep": Problem(
        508,
        "Endpoints call each other too deeply",
        False,
        "at most 8 endpoints may be in one chain",
    ),
    "replica_lost": Problem(
        502,
        "The replica died under the call",
        True,
        "it may have run; retry if running twice is harmless",
    ),
    "out_of_memory": Problem(
        502,
        "The replica was killed for memory",
        False,
        "raise `memory=` of the endpoint, or lower its concurrency",
    ),
    "endpoint_error": Problem(
        500,
        "The endpoint raised an exception",
        False,
        "`glowplug logs <request id>` shows the traceback",
    ),
    "bad_response": Problem(
        500,
        "The endpoint returned what cannot be sent",
        False,
        "return JSON types, dataclasses, pydantic models or bytes",
    ),
    "cancelled": Problem(499, "The caller went away", False, "nothing to do"),
    "slow_reader": Problem(
        408,
        "The answer was not read",
        True,
        "read the stream as it comes; what waited for you was over the bound",
    ),
    "shutting_down": Problem(503, "The router is stopping", True, "retry in a moment"),
    "store_locked": Problem(
        503,
        "The store is locked",
        True,
        "another process holds router/router.db of GLOWPLUG_HOME: `fuser` on that file names it",
    ),
    "disk_full": Problem(
        507, "No space left", True, "free some space; `glowplug doctor` shows where"
    ),
    "payload_gone": Problem(
        410,
        "The uploaded body is not there, or no longer",
        True,
        "upload it again: POST /-/api/payloads, then call with the new reference",
    ),
    "digest_mismatch": Problem(
        400, "The bytes do not have the digest they claim", True, "upload them again"
    ),
    "conflict": Problem(
        409,
        "Somebody else changed it first",
        True,
        "look with `glowplug history APP` and try again",
    ),
    "deploy_failed": Problem(
        409, "The new version did not pass", False, "see `detail`; the old version still serves"
    ),
    "internal": Problem(
        500,
        "glowplug itself failed",
        True,
        "`glowplug logs --system` has the traceback; please report it",
    ),
    "unreachable": Problem(
        503,
        "No router answers there",
        True,
        "is it running? `glowplug up` starts one, `glowplug status` asks it",
    ),
}
