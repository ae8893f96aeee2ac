"""How do bytes become arguments, and values bytes? The replica's side of the HTTP contract, without any I/O."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import parse_qsl

from glowplug.errors import CallError, Executed, InvalidRequestError
from glowplug.events import ndjson_event, sse_event
from glowplug.multipart import Part, parse_multipart
from glowplug.problems import PROBLEMS, with_request_id
from glowplug.schema import EVENTS, JSON, RAW, Contract, takes_many_bytes

PROBLEM = "application/problem+json"
NDJSON = "application/x-ndjson"
QUERY_FIELDS_MAX = 128

StreamFormat = Literal["sse", "ndjson", "raw"]
STREAM_TYPES: dict[StreamFormat, str] = {"sse": EVENTS, "ndjson": NDJSON, "raw": RAW}


def decode_request(
    contract: Contract, content_type: str, body: bytes, query: str = ""
) -> dict[str, Any]:
    """Return the keyword arguments of a call.

    A lone `bytes` parameter takes the body as it is, whatever its type. Otherwise JSON is an object with a member for
    each parameter; multipart/form-data has a part for each; and where exactly one parameter takes a file, a body of any
    other type is that file, the rest coming from the query.

    Raises:
        InvalidRequestError: invalid_json, invalid_request (with `errors`), bad_request or unsupported_media_type.
    """
    kind = content_type.partition(";")[0].strip().lower()
    schema = contract.schema
    if kind == "multipart/form-data":
        return _from_form(contract, parse_multipart(content_type, body))
    if schema.raw_body:
        return contract.arguments_from_values({schema.raw_body: body})
    if kind == JSON or kind.endswith("+json") or not kind:
        return contract.arguments_from_json(body or b"{}")
    if len(schema.files) == 1 and kind != "application/x-www-form-urlencoded":
        return _from_file_and_query(contract, schema.files[0], body, query)
    if not body:
        return contract.arguments_from_json(b"{}")
    more = " (a part may be a .npy file), application/safetensors" if contract.tensors else ""
    accepted = f"application/json, application/msgpack, multipart/form-data{more}"
    raise InvalidRequestError(
        f"`{contract.label}` takes {accepted}, not {kind}",
        code="unsupported_media_type",
        executed="no",
    )


def encode_response(contract: Contract, value: Any) -> tuple[str, bytes | bytearray | memoryview]:
    """Return content type and body for what an endpoint returned, or raise `bad_response`."""
    if contract.schema.media_type == RAW:
        return RAW, _as_bytes(contract, value)
    return JSON, contract.json_of_answer(value)


def encode_item(contract: Contract, value: Any, form: StreamFormat = "sse") -> bytes:
    """Return one item that a generator yielded: JSON text, or the bytes themselves in a raw stream."""
    return bytes(_as_bytes(contract, value)) if form == "raw" else contract.json_of_answer(value)


def stream_format(contract: Contract, accept: str) -> StreamFormat:
    """Return how to stream to a caller that accepts this; SSE unless it asks for something else."""
    wanted = [one.partition(";")[0].strip().lower() for one in accept.split(",")]
    for one in wanted:
        if one in (NDJSON, "application/ndjson", "application/jsonl"):
            return "ndjson"
        if one == RAW and contract.yields_bytes:
            return "raw"
        if one in (EVENTS, "*/*"):
            return "sse"
    return "sse"


def frame_item(form: StreamFormat, item: bytes) -> bytes:
    """Return an encoded item as it goes into the body."""
    return item if form == "raw" else _framed(form, "output", item)


def frame_done(form: StreamFormat) -> bytes:
    """Return the end of a stream, which tells a whole one from a broken one; a raw stream ends by ending."""
    return b"" if form == "raw" else _framed(form, "done", b"{}")


def frame_log(form: StreamFormat, line: bytes) -> bytes:
    """Return a line that the code printed, as an event; a raw stream has no room for it."""
    return b"" if form == "raw" else _framed(form, "log", line)


def frame_error(form: StreamFormat, problem_body: bytes) -> bytes:
    """Return a failure in the middle of a stream; a raw stream has no room for it and must be cut off."""
    return b"" if form == "raw" else _framed(form, "error", problem_body)


def problem(
    code: str,
    detail: str,
    *,
    request_id: str = "",
    phase: str = "",
    executed: Executed = "maybe",
    errors: Sequence[Mapping[str, Any]] | None = None,
    exception: Mapping[str, Any] | None = None,
    hint: str = "",
    retry_after_s: float | None = None,
) -> bytes:
    """Return the RFC 9457 document of one refusal or failure."""
    row = PROBLEMS.get(code, PROBLEMS["internal"])
    document: dict[str, Any] = {
        "type": f"urn:glowplug:problem:{code}",
        "title": row.title,
        "status": row.status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        "phase": phase,
        "executed": executed,
        "retryable": row.retryable,
        "hint": with_request_id(hint or row.hint, request_id),
        "retry_after": retry_after_s,
        "errors": list(errors) if errors else None,
        "exception": dict(exception) if exception else None,
    }
    return json.dumps(
        {key: value for key, value in document.items() if value not in (None, "")}, default=str
    ).encode()


def problem_of(error: CallError, *, request_id: str = "") -> bytes:
    """Return the document for one of our own errors."""
    return problem(
        error.code,
        error.message,
        request_id=request_id or error.request_id,
        phase=error.phase,
        executed=error.executed,
        errors=error.errors if isinstance(error, InvalidRequestError) else None,
        hint=error.hint,
        retry_after_s=error.retry_after_s,
    )


def _framed(form: StreamFormat, kind: str, data: bytes) -> bytes:
    return ndjson_event(kind, data) if form == "ndjson" else sse_event(kind, data)


def _as_bytes(contract: Contract, value: Any) -> bytes | bytearray | memoryview:
    if isinstance(value, bytes | bytearray):
        return value  # as it is: the frame takes any buffer, and a large answer is not copied for its type
    if isinstance(value, memoryview):
        return value.cast("B") if value.contiguous else bytes(value)
    detail = f"`{contract.label}` declares bytes and gave {type(value).__name__}"
    raise CallError(detail, code="bad_response", executed="yes")


def _from_form(contract: Contract, parts: Sequence[Part]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for part in parts:
        many = takes_many_bytes(contract.types.get(part.name))
        if part.name in values and not many:
            raise InvalidRequestError(
                f"the form has two parts called {part.name!r}", code="bad_request", executed="no"
            )
        value = _part_value(contract, part)
        values[part.name] = (
            [*values.get(part.name, ()), value] if many and isinstance(value, bytes) else value
        )
    return contract.arguments_from_values(values)


def _part_value(contract: Contract, part: Part) -> Any:
    is_json = part.content_type.partition(";")[0].strip().lower() == JSON and part.filename is None
    is_file = part.name in contract.schema.files or part.name == contract.schema.raw_body
    if is_file and not is_json:
        return part.data
    try:
        text = part.data.decode()
    except UnicodeDecodeError:
        return part.data  # the schema will say what it wants instead
    return (
        _json_value(contract, part.name, text)
        if is_json
        else _text_value(contract, part.name, text)
    )


def _from_file_and_query(contract: Contract, name: str, body: bytes, query: str) -> dict[str, Any]:
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        raise InvalidRequestError(
            f"more than {QUERY_FIELDS_MAX} query fields", code="bad_request", executed="no"
        ) from None
    values = {key: _text_value(contract, key, text) for key, text in fields}
    many = takes_many_bytes(contract.types[name])
    return contract.arguments_from_values({**values, name: [body] if many else body})


def _text_value(contract: Contract, name: str, text: str) -> Any:
    """Read a form field: as the text it is where the parameter takes text (or what text converts to), else as JSON."""
    if name not in contract.types:
        return text
    from pydantic import ValidationError

    try:
        return contract.parameter(name).validate_python(text)
    except ValidationError:
        return _json_value(contract, name, text)


def _json_value(contract: Contract, name: str, text: str) -> Any:
    if name not in contract.types:
        return text
    from pydantic import ValidationError

    try:
        return contract.parameter(name).validate_json(text)
    except ValidationError:
        return text  # the whole is checked again, and the refusal names the field
