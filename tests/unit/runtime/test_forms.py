"""Do msgpack, the binary form of the Open Inference Protocol and JSON say the same, and are broken ones refused?"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from glowplug import endpoint
from glowplug.endpoints import DeclaredEndpoint
from glowplug.errors import CallError, InvalidRequestError
from glowplug.forms import DEPTH_MAX, Form, decoded, encoded, form_of
from glowplug.oip import LENGTH_HEADER, Asked

MSGPACK = "application/msgpack"


class Colour(Enum):
    RED = "red"


@dataclass
class Box:
    data: bytes
    at: datetime
    colour: Colour
    scores: tuple[float, ...]
    names: set[str]


@endpoint
def pack(box: Box, n: int = 1) -> Box:
    return box


@endpoint
def infer(
    x: NDArray[np.float32],
    k: int = 1,
    title: str = "",
    names: list[str] | None = None,
    blob: bytes = b"",
) -> dict[str, NDArray[np.float32] | str | int | list[str]]:
    return {"y": x, "title": title, "k": k, "names": names or []}


@endpoint
def bare(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x


@endpoint
def raw(data: bytes) -> bytes:
    return data


@endpoint
def count(n: int) -> Iterator[int]:
    yield n


BOX = Box(b"\xff\0", datetime(2026, 1, 2, tzinfo=UTC), Colour.RED, (1.0, float("inf")), {"a"})


def form(content_type: str = "", accept: str = "", **more: str) -> Form:
    names = {"content-type": content_type, "accept": accept} | {
        name.replace("_", "-"): value for name, value in more.items()
    }
    return form_of(tuple((name, value) for name, value in names.items() if value))


def arguments(target: DeclaredEndpoint[..., Any], body: bytes, kind: str = MSGPACK) -> Any:
    return decoded(target.contract, form(kind), body)[0]


# -- msgpack -----------------------------------------------------------------------------------------------


def test_msgpack_carries_what_json_carries_and_bytes_as_bytes() -> None:
    headers, body = encoded(pack.contract, form(accept=MSGPACK), BOX)
    said = msgspec.msgpack.decode(body)

    assert headers == (("content-type", MSGPACK),)
    assert said["data"] == b"\xff\0"
    assert said["at"] == "2026-01-02T00:00:00Z"
    assert said["colour"] == "red"
    assert arguments(pack, msgspec.msgpack.encode({"box": said, "n": 2})) == {"box": BOX, "n": 2}


@pytest.mark.parametrize(
    "kind", ["application/msgpack", "application/vnd.msgpack", "Application/X-MsgPack; a=b"]
)
def test_msgpack_has_three_names(kind: str) -> None:
    assert arguments(infer, msgspec.msgpack.encode({"x": [1.5]}), kind)["x"].tolist() == [1.5]
    assert encoded(bare.contract, form(accept=f"text/html, {kind}"), np.ones(1, np.float32))[0] == (
        ("content-type", MSGPACK),
    )


def test_an_array_in_msgpack_has_its_bytes_beside_dtype_and_shape() -> None:
    x = np.arange(4, dtype=np.float32).reshape(2, 2)
    said = msgspec.msgpack.decode(encoded(bare.contract, form(accept=MSGPACK), x)[1])

    assert said == {"dtype": "float32", "shape": [2, 2], "data": x.tobytes()}
    assert arguments(bare, msgspec.msgpack.encode({"x": said}))["x"].tolist() == x.tolist()


def test_an_empty_msgpack_body_is_a_call_without_arguments() -> None:
    with pytest.raises(InvalidRequestError, match="x: Field required"):
        arguments(bare, b"")


def nested(levels: int) -> bytes:
    return b"\x81\xa1x" + b"\x91" * (levels - 1) + b"\x90"


@pytest.mark.parametrize(
    "body",
    [b"\xc1", b"\x93\x01", b"\x01", b"\x81\x01\x01", b"\xdd\xff\xff\xff\xff", nested(DEPTH_MAX),
     nested(100_000)],
    ids=["reserved", "cut short", "no map", "number for a name", "a lie", "too deep", "much too deep"],
)  # fmt: skip  # a table
def test_what_is_no_msgpack_of_ours_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="no msgpack") as refused:
        arguments(infer, body)

    assert (refused.value.code, refused.value.executed) == ("bad_request", "no")


def test_as_deep_as_may_be_is_looked_at() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        arguments(infer, nested(DEPTH_MAX - 1))

    assert refused.value.code == "invalid_request"


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_any_msgpack_is_taken_or_refused(body: bytes) -> None:
    try:
        arguments(infer, body)
    except InvalidRequestError:
        return


# -- which form ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json, application/msgpack", "application/json"),
        ("application/msgpack, application/json", MSGPACK),
        ("application/safetensors;q=1, application/json", "application/safetensors"),
        ("application/json, application/safetensors", "application/json"),
    ],
)
def test_the_first_form_that_is_known_is_the_answers(accept: str, kind: str) -> None:
    headers, _ = encoded(bare.contract, form(accept=accept), np.ones(1, np.float32))

    assert headers == (("content-type", kind),)


def test_an_answer_without_tensors_is_json_to_who_asks_for_tensors() -> None:
    assert encoded(pack.contract, form(accept="application/safetensors"), BOX)[0] == (
        ("content-type", "application/json"),
    )


def test_bytes_are_bytes_whatever_is_accepted() -> None:
    assert encoded(raw.contract, form(accept=MSGPACK), b"x") == (
        (("content-type", "application/octet-stream"),),
        b"x",
    )
    for kind in ("application/safetensors", MSGPACK, "application/json"):
        assert decoded(raw.contract, form(kind), b"x")[0] == {"data": b"x"}


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP, identity"])
def test_compressed_bodies_are_refused(encoding: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decoded(raw.contract, form(content_encoding=encoding), b"x")

    assert (refused.value.code, refused.value.executed) == ("unsupported_media_type", "no")
    assert "without Content-Encoding" in refused.value.hint


def test_identity_is_no_compression() -> None:
    assert decoded(raw.contract, form(content_encoding="Identity"), b"x")[0] == {"data": b"x"}


# -- the Open Inference Protocol -------------------------------------------------------------------------------


def tensor(name: str, datatype: str, shape: list[int], data: Any = None) -> dict[str, Any]:
    one = {"name": name, "datatype": datatype, "shape": shape}
    more = (
        {"parameters": {"binary_data_size": len(data)}}
        if isinstance(data, bytes)
        else {"data": data}
    )
    return one | more


def request(
    inputs: list[tuple[dict[str, Any], bytes]], target: Any = infer, **more: Any
) -> tuple[dict[str, Any], Asked]:
    head = json.dumps({"inputs": [one for one, _ in inputs]} | more).encode()
    body = head + b"".join(data for _, data in inputs)
    found, asked = decoded(target.contract, form(**{LENGTH_HEADER: str(len(head))}), body)
    assert asked is not None
    return found, asked


def texts(*items: str) -> bytes:
    return b"".join(struct.pack("<I", len(one.encode())) + one.encode() for one in items)


X = np.arange(3, dtype=np.float32).tobytes()
FULL = [
    (tensor("x", "FP32", [3], X), X),
    (tensor("k", "INT32", [1], b"\5\0\0\0"), b"\5\0\0\0"),
    (tensor("title", "BYTES", [1], texts("é")), texts("é")),
    (tensor("names", "BYTES", [2], texts("a", "")), texts("a", "")),
    (tensor("blob", "BYTES", [1], texts("b")), texts("b")),
]


def test_inputs_are_parameters_by_name() -> None:
    found, _ = request(FULL)

    assert found.pop("x").tolist() == [0, 1, 2]
    assert found == {"k": 5, "title": "é", "names": ["a", ""], "blob": b"b"}


def test_inputs_may_be_lists_and_parameters_of_the_request() -> None:
    listed = [tensor("x", "FP32", [2, 2], [1, 2, 3, 4]), tensor("names", "BYTES", [1], ["n"])]

    found, _ = request([(one, b"") for one in listed], parameters={"k": 7, "priority": 3})

    assert found["x"].tolist() == [[1, 2], [3, 4]]
    assert (found["k"], found["names"]) == (7, ["n"])


def answer(value: Any, target: Any = infer, **more: Any) -> tuple[dict[str, Any], bytes]:
    _, asked = request(FULL[:1], target, **more)
    headers, body = encoded(target.contract, form(), value, asked)
    at = int(dict(headers).get(LENGTH_HEADER, len(body)))
    return json.loads(bytes(body[:at])), bytes(body[at:])


def test_outputs_are_binary_where_that_is_asked() -> None:
    x = np.ones((1, 2), np.float32)
    head, data = answer(
        {"y": x, "title": "t", "k": 3}, parameters={"binary_data_output": True}, id="7"
    )

    assert head["outputs"] == [
        tensor("y", "FP32", [1, 2], x.tobytes()),
        tensor("title", "BYTES", [1], texts("t")),
    ]
    assert (head["id"], head["parameters"]) == ("7", {"k": 3})
    assert data == x.tobytes() + texts("t")


def test_outputs_are_lists_by_default_and_only_those_that_were_asked_for() -> None:
    x = np.array([[1, np.nan]], np.float32)
    head, data = answer({"y": x, "title": "t"}, outputs=[{"name": "y"}])

    assert head["outputs"] == [tensor("y", "FP32", [1, 2], [1.0, "NaN"])]
    assert data == b""


def test_a_bare_array_is_called_output() -> None:
    head, data = answer(np.ones(1, np.float32), bare, parameters={"binary_data_output": True})

    assert head["outputs"][0]["name"] == "output"
    assert data == np.ones(1, np.float32).tobytes()


@endpoint
def waves() -> NDArray[np.complex64]:
    return np.zeros(1, np.complex64)


def test_what_the_protocol_has_no_datatype_for_is_said() -> None:
    with pytest.raises(CallError, match="no datatype for complex64") as failed:
        encoded(waves.contract, form(), np.zeros(1, np.complex64), Asked("", True, None))

    assert "application/safetensors" in failed.value.hint


@pytest.mark.parametrize(
    ("one", "data", "why"),
    [
        (tensor("x", "FP32", [3], X), X[:-1], "not there"),
        (tensor("x", "FP32", [3], X), X + b"0", "belong to no input"),
        (tensor("x", "FP32", [2], X), X, "12 bytes, and its shape needs 8"),
        (tensor("x", "FP99", [3], X), X, "nobody knows"),
        (tensor("x", "FP32", [-3], X), X, "cannot be"),
        (tensor("x", "FP32", [3], [1, 2]), b"", "2 elements"),
        (tensor("x", "FP32", [3], [[1, 2], 3]), b"", "neither flat nor nested"),
        (tensor("x", "FP32", [3]) | {"parameters": {"binary_data_size": "12"}}, X, "not there"),
        (tensor("x", "FP32", [3]) | {"parameters": {"binary_data_size": -1}}, b"", "not there"),
        (tensor("title", "BYTES", [1], b"\1"), b"\1", "within a length"),
        (tensor("title", "BYTES", [1], b"\2\0\0\0a"), b"\2\0\0\0a", "does not hold"),
        (tensor("title", "BYTES", [1], texts("a", "b")), texts("a", "b"), "does not hold"),
        (tensor("title", "BYTES", [2], texts("a")), texts("a"), "does not hold"),
        (tensor("title", "BYTES", [1], b"\1\0\0\0\xff"), b"\1\0\0\0\xff", "no UTF-8"),
        (tensor("title", "BYTES", [1], [5]), b"", "no list of 1 texts"),
    ],
)  # fmt: skip  # a table
def test_a_request_that_contradicts_itself_is_refused(
    one: dict[str, Any], data: bytes, why: str
) -> None:
    with pytest.raises(InvalidRequestError, match=why) as refused:
        request([(one, data)])

    assert (refused.value.code, refused.value.executed) == ("bad_request", "no")


@pytest.mark.parametrize("length", ["0", "3", "x", "-1", "9" * 20, "1000"])
def test_a_header_of_another_length_is_refused(length: str) -> None:
    with pytest.raises(InvalidRequestError, match="malformed"):
        decoded(infer.contract, form(**{LENGTH_HEADER: length}), b'{"inputs": []}')


@settings(max_examples=200)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(["x", "k", "title", "names", "blob", "other"]),
                "shape": st.lists(st.integers(-1, 3) | st.integers(), max_size=3),
                "datatype": st.sampled_from(["FP32", "INT8", "BYTES", "BOOL", ""]),
            },
            optional={
                "data": st.lists(st.integers() | st.text(max_size=2) | st.lists(st.floats(), max_size=2), max_size=3),
                "parameters": st.dictionaries(
                    st.just("binary_data_size"), st.integers(-1, 13) | st.text(max_size=1)
                ),
            },
        ),
        max_size=3,
    ),
    st.binary(max_size=16),
)  # fmt: skip  # a grammar
def test_any_request_is_taken_or_refused(inputs: list[dict[str, Any]], data: bytes) -> None:
    head = json.dumps({"inputs": inputs}).encode()
    try:
        decoded(infer.contract, form(**{LENGTH_HEADER: str(len(head))}), head + data)
    except InvalidRequestError:
        return
