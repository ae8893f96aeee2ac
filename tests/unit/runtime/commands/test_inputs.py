"""Does what is typed after -i arrive as it was meant?"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug import endpoint
from glowplug.clock import SECOND
from glowplug.codec import decode_request
from glowplug.commands.inputs import (
    duration,
    encode_inputs,
    explain_misfit,
    file_bytes,
    parse_inputs,
)
from glowplug.errors import ConfigError, InvalidRequestError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@endpoint
def anything(value: Any) -> None:
    """Take what comes."""


@endpoint
def picture(image: bytes, title: str = "", scale: float = 1.0) -> None:
    """Take a file and fields."""


@endpoint
def raw(data: bytes) -> None:
    """Take the body as it is."""


def test_json_is_read_as_json_and_the_rest_as_text() -> None:
    words = [
        "x=3",
        "name=Ada",
        "ok=true",
        "tags=[1, 2]",
        "empty=",
        "sum=a=b",
        'zip="01234"',
        "zip2=01234",
    ]

    assert parse_inputs(words) == {
        "x": 3,
        "name": "Ada",
        "ok": True,
        "tags": [1, 2],
        "empty": "",
        "sum": "a=b",
        "zip": "01234",
        "zip2": "01234",
    }


def test_at_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"\0\1\2")

    assert parse_inputs([f"image=@{file}"]) == {"image": b"\0\1\2"}


@pytest.mark.parametrize("word", ["x", "=3", ""])
def test_what_is_not_name_equals_value_is_refused_with_an_example(word: str) -> None:
    with pytest.raises(ConfigError, match="is not NAME=VALUE") as caught:
        parse_inputs([word])

    assert "-i x=3" in caught.value.hint


def test_an_argument_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        parse_inputs(["x=1", "x=2"])


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nosuch\.png: No such file"):
        parse_inputs(["image=@nosuch.png"])


def test_numbers_that_json_does_not_have_stay_text() -> None:
    assert parse_inputs(["x=NaN", "y=-Infinity"]) == {"x": "NaN", "y": "-Infinity"}


def test_endless_brackets_are_text_and_no_crash() -> None:
    brackets = "[" * 100_000

    assert parse_inputs([f"x={brackets}"]) == {"x": brackets}


@given(VALUES)
def test_any_json_value_arrives_as_it_was_typed(value: Any) -> None:
    inputs = parse_inputs([f"value={json.dumps(value)}"])

    assert decode_request(anything.contract, *encode_inputs(inputs)) == {"value": value}


@given(st.binary(), TEXT, st.floats(-1e9, 1e9))
def test_files_and_fields_arrive_together_as_a_form(data: bytes, title: str, scale: float) -> None:
    content_type, body = encode_inputs({"image": data, "title": title, "scale": scale})

    assert content_type.startswith("multipart/form-data; boundary=")
    decoded = decode_request(picture.contract, content_type, body)
    assert decoded == {"image": data, "title": title, "scale": scale}


@given(st.binary())
def test_the_one_parameter_of_bytes_arrives_as_form_and_as_the_body(data: bytes) -> None:
    as_form = encode_inputs({"data": data})
    as_body = encode_inputs({"data": data}, raw_body="data")

    assert as_body == ("application/octet-stream", data)
    assert decode_request(raw.contract, *as_form) == {"data": data}
    assert decode_request(raw.contract, *as_body) == {"data": data}


def test_a_quote_in_a_name_does_not_break_the_form() -> None:
    _, body = encode_inputs({'a"b\r\nx: y': b"1"})

    assert b'name="a%22b%0D%0Ax: y"' in body


def test_a_number_where_text_is_wanted_is_answered_with_how_to_write_text() -> None:
    error = InvalidRequestError("zip: Input should be a valid string", code="invalid_request")

    explain_misfit(error, {"zip": 1234}, "see there")

    assert error.hint == "-i 'zip=\"1234\"' sends it as text; see there"


@pytest.mark.parametrize(
    ("text", "ns"), [("3", 3 * SECOND), ("0.5", SECOND // 2), ("2m", 120 * SECOND)]
)
def test_a_time_is_a_duration_or_plain_seconds(text: str, ns: int) -> None:
    assert duration(text, "--timeout") == ns


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "3 weeks", ""])
def test_what_is_no_time_is_refused_by_the_option_s_name(text: str) -> None:
    with pytest.raises(ConfigError, match="--timeout"):
        duration(text, "--timeout")


def test_a_file_without_a_name_is_said_to_have_none() -> None:
    with pytest.raises(ConfigError, match="a file without a name"):
        file_bytes("")
