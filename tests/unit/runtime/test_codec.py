"""Do calls survive the way over the wire, and do wrong ones get a refusal that says what is wrong?"""

import base64
import json
import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from glowplug import endpoint
from glowplug.calls import TypedFormat
from glowplug.codec import (
    decode_request,
    encode_item,
    encode_response,
    frame_done,
    frame_error,
    frame_item,
    problem,
    problem_of,
    stream_format,
)
from glowplug.context import Answer
from glowplug.endpoints import DeclaredEndpoint
from glowplug.errors import CallError, InvalidRequestError
from glowplug.multipart import Part, encode_multipart
from glowplug.problems import PROBLEMS

JSON = "application/json"


class Colour(Enum):
    RED = "red"


@dataclass
class Box:
    data: bytes
    score: float = 0.0


class Row(TypedDict):
    name: str


class Model(BaseModel):
    n: int


@endpoint
def add(x: int, y: int = 2) -> int:
    return x + y


@endpoint
def size(data: bytes) -> int:
    return len(data)


@endpoint
def upload(
    image: bytes, threshold: float = 0.5, note: str = "", mask: bytes | None = None
) -> bytes:
    return image


@endpoint
def resize(image: bytes, width: int, labels: list[str] | None = None) -> bytes:
    return image


@endpoint
def many(files: list[bytes]) -> list[int]:
    return [len(one) for one in files]


@endpoint
def rich(
    box: Box,
    row: Row,
    model: Model,
    colour: Colour,
    mode: Literal["a", "b"],
    at: datetime,
    path: Path,
    json: dict[str, Any],
) -> Box | None:
    return box


@endpoint
def words(n: int) -> Iterator[str]:
    yield "a"


@endpoint
async def chunks(n: int) -> AsyncIterator[bytes]:
    yield b"a"


def decode(
    target: DeclaredEndpoint[..., Any], body: bytes, content_type: str = JSON, query: str = ""
) -> dict[str, Any]:
    return decode_request(target.contract, content_type, body, query)


def refusal(
    target: DeclaredEndpoint[..., Any], body: bytes, content_type: str = JSON
) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as refused:
        decode(target, body, content_type)
    assert refused.value.executed == "no"
    return refused.value


def test_a_json_object_has_a_member_for_each_parameter() -> None:
    assert decode(add, b'{"x": 1}') == {"x": 1, "y": 2}
    assert decode(add, b'{"x": 1, "y": 5}', "application/json; charset=utf-8") == {"x": 1, "y": 5}


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"nope", b'{"x": 1'])
def test_what_is_no_json_is_refused_as_such(body: bytes) -> None:
    assert refusal(add, body).code == ("invalid_json" if body else "invalid_request")


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        (b"{}", ["x"]),
        (b'{"x": "one"}', ["x"]),
        (b'{"x": 1, "z": 2}', ["z"]),
        (b"[1]", []),
        (b"null", []),
    ],
)
def test_wrong_arguments_are_listed_by_field(body: bytes, loc: list[str]) -> None:
    refused = refusal(add, body)

    assert refused.code == "invalid_request"
    assert refused.errors[0]["loc"] == loc
    assert set(refused.errors[0]) == {"loc", "msg", "type"}


def test_at_most_a_page_of_wrong_fields_is_listed() -> None:
    assert len(refusal(many, json.dumps({"files": [1] * 1000}).encode()).errors) == 32


def test_another_content_type_is_refused_with_those_that_work() -> None:
    assert (
        refusal(add, b"x=1", "application/x-www-form-urlencoded").code == "unsupported_media_type"
    )
    assert decode(add, b'{"x": 1}', "") == {"x": 1, "y": 2}


def test_a_lone_bytes_parameter_takes_any_body_as_it_is() -> None:
    assert decode(size, b"\xff\x00") == {"data": b"\xff\x00"}
    assert decode(size, b"{}", "image/png") == {"data": b"{}"}
    assert size.spec.schema.raw_body == "data"


def test_a_lone_bytes_parameter_also_comes_in_a_form() -> None:
    content_type, body = encode_multipart([Part("data", b"\xff", filename="a.bin")])

    assert decode(size, body, content_type) == {"data": b"\xff"}


def test_files_come_as_parts_and_the_rest_as_text_or_json() -> None:
    content_type, body = encode_multipart(
        [
            Part("image", b"\xff\r\n--x", filename="a.png"),
            Part("threshold", b"0.25"),
            Part("note", b"123"),
        ]
    )

    assert decode(upload, body, content_type) == {
        "image": b"\xff\r\n--x",
        "threshold": 0.25,
        "note": "123",
        "mask": None,
    }
    content_type, body = encode_multipart(
        [Part("image", b"a"), Part("width", b"3"), Part("labels", b'["x", "y"]')]
    )
    assert decode(resize, body, content_type) == {"image": b"a", "width": 3, "labels": ["x", "y"]}


def test_a_body_of_another_type_is_the_only_file_and_the_query_has_the_rest() -> None:
    assert decode(resize, b"\xff", "image/png", "width=3") == {
        "image": b"\xff",
        "width": 3,
        "labels": None,
    }
    with pytest.raises(InvalidRequestError, match="wide"):
        decode(resize, b"\xff", "image/png", "wide=3")
    with pytest.raises(InvalidRequestError, match="query fields"):
        decode(resize, b"\xff", "image/png", "&".join(["width=1"] * 200))


def test_files_are_base64_in_json() -> None:
    text = base64.b64encode(b"\xff\xfe\xfd").decode()

    assert (
        decode(resize, json.dumps({"image": text, "width": 1}).encode())["image"] == b"\xff\xfe\xfd"
    )
    assert refusal(resize, b'{"image": "*", "width": 1}').errors[0]["loc"] == ["image"]


def test_several_files_of_one_name_fill_a_list() -> None:
    content_type, body = encode_multipart(
        [Part("files", b"a", filename="1"), Part("files", b"bc", filename="2")]
    )

    assert decode(many, body, content_type) == {"files": [b"a", b"bc"]}


def test_a_form_with_wrong_parts_is_refused() -> None:
    twice = encode_multipart([Part("width", b"1"), Part("width", b"2"), Part("image", b"")])
    unknown = encode_multipart([Part("image", b""), Part("width", b"1"), Part("x", b"\xff")])

    assert refusal(resize, twice[1], twice[0]).code == "bad_request"
    assert refusal(resize, unknown[1], unknown[0]).errors[0]["loc"] == ["x"]
    assert refusal(resize, b"--x\r\n", "multipart/form-data; boundary=y").code == "bad_request"


def test_rich_types_go_out_and_come_in_unchanged() -> None:
    given = {
        "box": Box(b"\xff\xfb", 1.5),
        "row": {"name": "r"},
        "model": Model(n=3),
        "colour": Colour.RED,
        "mode": "a",
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "path": Path("a/b"),
        "json": {"k": [1, None]},
    }
    content_type, body = TypedFormat(rich.contract).request((), given)

    assert content_type == JSON
    assert decode(rich, body) == given


@pytest.mark.parametrize("target", [upload, resize])
def test_files_go_out_as_a_form_and_come_in_unchanged(target: DeclaredEndpoint[..., Any]) -> None:
    given = {
        "image": b"\x00\r\n--\xff",
        **({"width": 3, "labels": ["1"]} if target is resize else {"note": "null", "mask": None}),
    }
    content_type, body = TypedFormat(target.contract).request((), given)

    assert content_type.startswith("multipart/form-data")
    decoded = decode(target, body, content_type)
    assert {name: decoded[name] for name in given} == given


def test_wrong_arguments_never_leave_the_caller() -> None:
    form = TypedFormat(add.contract)

    for args, kwargs in (((1, 2, 3), {}), ((1,), {"x": 2}), (("a",), {}), ((), {"z": 1})):
        with pytest.raises(InvalidRequestError) as refused:
            form.request(args, kwargs)
        assert refused.value.executed == "no"


def test_an_answer_is_json_as_declared() -> None:
    content_type, encoded = encode_response(rich.contract, Box(b"\xff", math.nan))
    body = bytes(encoded)

    assert (content_type, body) == (JSON, b'{"data":"_w==","score":"NaN"}')
    back = TypedFormat(rich.contract).value(
        Answer(status=200, headers={"content-type": JSON}, body=body)
    )
    assert isinstance(back, Box)
    assert math.isnan(back.score)


def test_bytes_are_answered_as_they_are() -> None:
    assert encode_response(upload.contract, b"\xff") == ("application/octet-stream", b"\xff")
    assert encode_response(upload.contract, bytearray(b"a"))[1] == b"a"


def test_an_answer_that_converts_without_loss_is_converted() -> None:
    assert encode_response(many.contract, (1, 2.0))[1] == b"[1,2]"


@pytest.mark.parametrize(
    ("target", "value"), [(add, "x"), (add, object()), (many, [1.5]), (upload, "text"), (add, None)]
)
def test_an_answer_that_is_not_what_was_declared_is_our_error_and_says_so(
    target: Any, value: object
) -> None:
    with pytest.raises(CallError, match=target.__name__) as refused:
        encode_response(target.contract, value)

    assert refused.value.code == "bad_response"
    assert refused.value.executed == "yes"


def test_an_answer_of_another_version_is_a_bad_response_for_the_caller() -> None:
    with pytest.raises(CallError, match="another version"):
        TypedFormat(add.contract).value(Answer(status=200, headers={}, body=b'"text"'))


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("text/event-stream", "sse"),
        ("*/*", "sse"),
        ("", "sse"),
        ("application/x-ndjson", "ndjson"),
        ("application/json, application/x-ndjson;q=0.9", "ndjson"),
        ("application/octet-stream", "raw"),
    ],
)
def test_the_caller_chooses_how_a_stream_looks(accept: str, form: str) -> None:
    assert stream_format(chunks.contract, accept) == form
    assert stream_format(words.contract, "application/octet-stream") == "sse"


def test_stream_items_are_framed_and_the_end_is_marked() -> None:
    item = encode_item(words.contract, "a\nb")

    assert frame_item("sse", item) == b'event: output\ndata: "a\\nb"\n\n'
    assert frame_item("ndjson", item) == b'{"event":"output","data":"a\\nb"}\n'
    assert frame_item("raw", encode_item(chunks.contract, b"\xff", "raw")) == b"\xff"
    assert frame_done("sse") == b"event: done\ndata: {}\n\n"
    assert frame_done("raw") == b""
    failure = json.loads(frame_error("ndjson", problem("deadline", "too late")))
    assert failure["event"] == "error"
    assert failure["data"]["code"] == "deadline"


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_code_has_a_complete_problem_document(code: str) -> None:
    document = json.loads(
        problem(code, "what happened", request_id="r1", executed="no", retry_after_s=2.5)
    )

    assert document["type"] == f"urn:glowplug:problem:{code}"
    assert document["status"] == PROBLEMS[code].status
    assert document["retry_after"] == 2.5
    assert document.keys() >= {
        "title",
        "detail",
        "code",
        "request_id",
        "executed",
        "retryable",
        "hint",
    }


def test_a_refusal_becomes_a_document_with_its_fields() -> None:
    document = json.loads(problem_of(refusal(add, b"{}"), request_id="r2"))

    assert document["status"] == 422
    assert document["errors"][0]["loc"] == ["x"]
    assert document["request_id"] == "r2"
