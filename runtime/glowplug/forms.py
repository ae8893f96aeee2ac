"""In which form does a call's body come, and in which does its caller want the answer? By Content-Type and Accept.

JSON, msgpack, safetensors and the Open Inference Protocol's binary form say the same things; multipart and raw bytes
take files (`codec`). Compressed bodies are refused: what they become is not bounded by what was sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from glowplug.arrays import Sink
from glowplug.codec import decode_request, encode_response
from glowplug.errors import CallError, InvalidRequestError
from glowplug.oip import LENGTH_HEADER, Asked, arguments_of_oip, oip_of_answer
from glowplug.schema import EVENTS, JSON, MSGPACK, RAW, SAFETENSORS, Contract
from glowplug.tensor_bodies import arguments_of_file, file_of_answer

Headers = tuple[tuple[str, str], ...]
DEPTH_MAX = (
    128  # levels of a msgpack body; each level is one of recursion for whoever goes through it
)
FORMS_MAX = 1024  # remembered sets of headers; callers send a few
_MSGPACKS = frozenset({MSGPACK, "application/vnd.msgpack", "application/x-msgpack"})
OK_JSON: Headers = (("content-type", JSON),)
_OK_RAW: Headers = (("content-type", RAW),)


@dataclass(frozen=True, slots=True)
class Form:
    """What the headers of one call say about its body and its answer."""

    content_type: str = ""
    accept: str = ""
    kind: str = ""  # the content type without its parameters
    answers: str = ""  # of the forms that only some callers read, the one that is wanted
    encoding: str = ""
    oip: int | None = None  # length of the header, in the Open Inference Protocol's binary form
    is_json: bool = False  # both ways, and nothing else is said: nearly all calls


@lru_cache(FORMS_MAX)
def form_of(headers: Headers) -> Form:
    """Return the form that the headers of a call describe."""
    known = dict(headers)
    content_type, accept = known.get("content-type", ""), known.get("accept", "")
    length = known.get(LENGTH_HEADER, "")
    kind, answers = content_type.partition(";")[0].strip().lower(), _wanted(accept)
    encoding = known.get("content-encoding", "").strip().lower()
    return Form(
        content_type,
        accept,
        kind=kind,
        answers=answers,
        encoding=encoding,
        is_json=kind == JSON and answers in ("", JSON) and not encoding and not length,
        oip=(int(length) if length.isascii() and length.isdigit() and len(length) < 12 else -1)
        if length
        else None,
    )


def decoded(
    contract: Contract, form: Form, body: bytes, query: str = ""
) -> tuple[dict[str, Any], Asked | None]:
    """Return the keyword arguments of a call, and what it asks of its answer where the body says so.

    Raises:
        InvalidRequestError: invalid_json, invalid_request (with `errors`), bad_request or unsupported_media_type.
    """
    if form.is_json and contract.takes_json:
        return contract.arguments_from_json(body or b"{}"), None
    if form.encoding not in ("", "identity"):
        raise InvalidRequestError(
            f"the body is compressed ({form.encoding[:40]}), and none such is taken",
            code="unsupported_media_type",
            hint="send it as it is, without Content-Encoding",
            executed="no",
        )
    if form.oip is not None:
        return arguments_of_oip(contract, body, form.oip)
    if contract.schema.raw_body:  # it takes the body as it is, whatever it is
        return decode_request(contract, form.content_type, body, query), None
    if form.kind in _MSGPACKS:
        return contract.arguments_from_values(_unpacked(body)), None
    if form.kind == SAFETENSORS and contract.tensors:
        return arguments_of_file(contract, body), None
    return decode_request(contract, form.content_type, body, query), None


def encoded(
    contract: Contract, form: Form, value: Any, asked: Asked | None = None
) -> tuple[Headers, bytes | bytearray | memoryview]:
    """Return headers and body for what an endpoint returned, or raise `bad_response`."""
    if form.is_json and contract.gives_json:
        return OK_JSON, contract.json_of_answer(value)
    if asked is not None:
        body, length = oip_of_answer(contract, value, asked, "")
        more = (("content-type", RAW), (LENGTH_HEADER, str(length)))
        return (OK_JSON if length is None else more), body
    if contract.schema.media_type != RAW:
        if form.answers == MSGPACK:
            return (("content-type", MSGPACK),), _packed(contract, value)
        if form.answers == SAFETENSORS and contract.gives_tensors:
            return (("content-type", SAFETENSORS),), file_of_answer(contract, value)
    media, data = encode_response(contract, value)
    return (OK_JSON if media == JSON else _OK_RAW), data


def _wanted(accept: str) -> str:
    """Return the first form of a list that is not what everybody reads."""
    for one in accept.split(","):
        kind = one.partition(";")[0].strip().lower()
        if kind in _MSGPACKS:
            return MSGPACK
        if kind in (JSON, SAFETENSORS, EVENTS):
            return kind
    return ""


def _unpacked(body: bytes) -> Mapping[str, Any]:
    try:
        found = msgspec.msgpack.decode(body or b"\x80")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _no_msgpack(str(error)) from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise _no_msgpack("it is no map of arguments by name")
    _check_depth(found)
    return found


def _check_depth(value: Any) -> None:
    """Refuse what is too deep, without going down it by recursion."""
    level = [value]
    for _ in range(DEPTH_MAX):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += [item for item in one.values() if isinstance(item, dict | list)]
            else:
                inner += [item for item in one if isinstance(item, dict | list)]
        if not inner:
            return
        level = inner
    raise _no_msgpack(f"it is over {DEPTH_MAX} levels deep")


def _packed(contract: Contract, value: Any) -> bytes:
    """Return an answer as msgpack: as JSON would say it, but with bytes as bytes."""
    found = contract.values_of_answer(value, Sink(bare=True))
    try:
        # First to what JSON has: msgspec would write times as an extension that few readers know.
        plain = msgspec.to_builtins(
            found, builtin_types=(bytes, bytearray, memoryview), str_keys=True, enc_hook=_other
        )
        return msgspec.msgpack.encode(plain)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        detail = f"`{contract.label}` returned what msgpack cannot hold: {error}"
        raise CallError(detail, code="bad_response", executed="yes") from None


def _other(value: Any) -> Any:
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)


def _no_msgpack(why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"the body is no msgpack of ours: {why}", code="bad_request", executed="no"
    )
