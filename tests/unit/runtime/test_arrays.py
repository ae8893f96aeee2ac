"""Do arrays go into endpoints and come out of them in every form, and are those that do not fit refused by name?"""

import base64
import json
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from glowplug import Tensor, endpoint
from glowplug.arrays import has_tensors, library_of, with_tensors
from glowplug.calls import TypedFormat, UntypedFormat
from glowplug.context import Answer
from glowplug.endpoints import DeclaredEndpoint
from glowplug.errors import CallError, DefinitionError, InvalidRequestError
from glowplug.forms import decoded, encoded, form_of
from glowplug.schema import _checked_adapter
from glowplug.stubs import Stub
from glowplug.tensor_bodies import file_of_values, named
from glowplug.tensors import RawTensor, read_safetensors, write_safetensors

Image = Annotated[NDArray[np.uint8], Tensor(shape=(None, None, 3))]
SAFETENSORS = "application/safetensors"


@dataclass
class Found:
    mask: Annotated[np.ndarray, Tensor("bool")]
    score: float


@endpoint
def scale(x: np.ndarray, by: float = 2.0) -> np.ndarray:
    return x * by


@endpoint
def look(
    image: Image, name: str = "", others: list[np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    return {"image": image, "a.b": image}


@endpoint
def find(
    x: NDArray[np.float32], mask: Annotated[np.ndarray, Tensor("bool")] | None = None
) -> Found:
    return Found(x > 0, float(x.sum()))


@endpoint
def plain(x: list[float]) -> float:
    return sum(x)


def sent(target: DeclaredEndpoint[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments as the endpoint gets them."""
    kind, body = TypedFormat(target.contract).request(args, kwargs)
    return decoded(target.contract, form_of((("content-type", kind),)), body)[0]


def answered(target: DeclaredEndpoint[..., Any], value: Any, accept: str = "") -> Any:
    """Return an answer as the caller gets it."""
    form = TypedFormat(target.contract)
    headers, body = encoded(
        target.contract, form_of((("accept", accept or form.accept("")),)), value
    )
    return form.value(Answer(status=200, headers=dict(headers), body=bytes(body)))


def by_json(target: DeclaredEndpoint[..., Any], text: str) -> dict[str, Any]:
    return decoded(
        target.contract, form_of((("content-type", "application/json"),)), text.encode()
    )[0]


def json_of(array: Any) -> Any:
    return json.loads(bytes(encoded(scale.contract, form_of(()), array)[1]))


# -- there and back --------------------------------------------------------------------------------------


def test_arguments_and_answers_with_arrays_survive_the_way() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    image = np.zeros((4, 5, 3), np.uint8)

    assert np.array_equal(sent(scale, x, by=3)["x"], x)
    assert sent(scale, x)["by"] == 2.0
    given = sent(look, image, "name", others=[x, x[::-1]])
    assert (given["image"].shape, given["name"]) == ((4, 5, 3), "name")
    assert np.array_equal(given["others"][1], x[::-1])
    assert np.array_equal(answered(scale, x), x)
    back = answered(look, {"image": image, "a.b": image})
    assert set(back) == {"image", "a.b"}


def test_arrays_inside_a_dataclass_travel_beside_its_other_fields() -> None:
    found = answered(find, Found(np.array([True, False]), 0.5))

    assert found.mask.tolist() == [True, False]
    assert found.score == 0.5


def test_an_array_that_may_be_left_out_may_be_none() -> None:
    x = np.ones(2, np.float32)

    assert sent(find, x)["mask"] is None
    assert sent(find, x, mask=np.array([True]))["mask"].tolist() == [True]


def test_the_file_of_a_call_can_be_read_by_anybody() -> None:
    kind, body = TypedFormat(look.contract).request((np.zeros((1, 1, 3), np.uint8),), {})
    tensors, metadata = read_safetensors(body)

    assert (kind, list(tensors), metadata) == (SAFETENSORS, ["image"], {})


def test_lists_and_numbers_are_arrays_too() -> None:
    assert by_json(scale, '{"x": [[1, 2], [3, 4.5]]}')["x"].tolist() == [[1, 2], [3, 4.5]]
    assert by_json(scale, '{"x": 3}')["x"].shape == ()
    assert by_json(scale, '{"x": []}')["x"].shape == (0,)
    assert np.isnan(by_json(scale, '{"x": [1, "NaN"]}')["x"][1])
    assert by_json(find, '{"x": [1, 2]}')["x"].dtype == np.float32
    assert by_json(look, '{"image": [[[0, 128, 255]]]}')["image"].dtype == np.uint8


def test_a_number_is_an_array_and_what_arithmetic_makes_of_it_is_one_as_well() -> None:
    for kind, body in (
        ("application/json", b'{"x": 3.0}'),
        ("application/msgpack", msgspec.msgpack.encode({"x": 3.0})),
    ):
        form = form_of((("content-type", kind), ("accept", kind)))
        value = scale(**decoded(scale.contract, form, body)[0])

        assert isinstance(value, np.float64)  # no array any more: so numpy has it
        assert isinstance(encoded(scale.contract, form, value)[1], bytes)
    back = answered(scale, np.float32(6))
    assert (back.dtype, back.shape, float(back)) == (np.float32, (), 6.0)
    assert json_of(np.float32(6)) == 6.0
    assert sent(find, np.float32(2))["x"].shape == ()


@pytest.mark.parametrize("shape", [[2**48 - 1, 0], [20_000_000, 0], [0, 1 << 25]])
def test_an_array_without_data_may_not_claim_to_be_huge(shape: list[int]) -> None:
    text = json.dumps({"x": {"dtype": "float32", "shape": shape, "data": ""}})

    with pytest.raises(InvalidRequestError, match="no list of lengths"):
        by_json(scale, text)


def test_an_array_may_be_written_with_its_dtype_in_base64() -> None:
    data = base64.b64encode(np.array([1, 2], np.int16).tobytes()).decode()
    text = json.dumps({"x": {"dtype": "int16", "shape": [2, 1], "data": data}})

    found = by_json(scale, text)["x"]

    assert (found.dtype, found.tolist()) == (np.int16, [[1], [2]])


@given(st.sampled_from(["float64", "int64", "bool"]), st.lists(st.integers(0, 1), max_size=6))
def test_an_array_as_json_is_the_array_again(dtype: str, values: list[int]) -> None:
    array = np.array(values).astype(dtype)
    text = json.dumps({"x": array.tolist()})

    found = by_json(scale, text)["x"]

    assert found.tolist() == array.tolist()
    assert json_of(array) == array.tolist()


def test_infinities_are_words_in_json() -> None:
    words = json_of(np.array([np.nan, np.inf, -np.inf]))

    assert words == ["NaN", "Infinity", "-Infinity"]
    assert by_json(scale, json.dumps({"x": words}))["x"][1] == np.inf


def test_who_does_not_know_the_types_sends_arrays_by_name_and_reads_them_back() -> None:
    form = UntypedFormat("a/b")
    x = np.ones((2, 2), np.float32)
    kind, body = form.request((), {"x": x, "by": 3.0})
    given = decoded(scale.contract, form_of((("content-type", kind),)), body)[0]
    headers, answer = encoded(scale.contract, form_of((("accept", form.accept(kind)),)), x * 3)
    back = form.value(Answer(status=200, headers=dict(headers), body=bytes(answer)))

    assert (given["by"], given["x"].tolist()) == (3.0, [[1, 1], [1, 1]])
    assert isinstance(back, np.ndarray)
    assert back.tolist() == [[3, 3], [3, 3]]


def test_without_arrays_the_untyped_caller_sends_json() -> None:
    assert UntypedFormat("a/b").request((), {"x": [1.0] * 5})[0] == "application/json"
    assert UntypedFormat("a/b").accept("application/json") == "application/json"


def test_a_document_of_the_users_is_never_taken_for_a_tensor() -> None:
    x = np.ones(1)
    body = file_of_values({"x": x, "note": {"$tensor": "x"}, "deep": [{"$tensor": "0"}]})
    tensors, metadata = read_safetensors(body)

    assert list(tensors) == ["x"]
    assert json.loads(metadata["json"])["deep"] == [{"$tensor": "0"}]


# -- what does not fit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "text", "why"),
    [
        (scale, '{"x": "text"}', "nested lists of numbers"),
        (scale, '{"x": [[1], [2, 3]]}', "no tensor"),
        (scale, '{"x": [1, "two"]}', "no tensor"),
        (scale, '{"x": [null]}', "cannot travel"),
        (scale, '{"x": {"a": 1}}', "dtype, shape and data"),
        (scale, '{"x": {"$tensor": "x"}}', "dtype, shape and data"),
        (scale, '{"x": {"dtype": "x", "shape": [], "data": ""}}', "dtype 'x'"),
        (scale, '{"x": {"dtype": "int8", "shape": 1, "data": ""}}', "shape is no list"),
        (scale, '{"x": {"dtype": "int8", "shape": [-1], "data": ""}}', "shape is no list"),
        (scale, '{"x": {"dtype": "int8", "shape": [1], "data": "!"}}', "neither base64"),
        (scale, '{"x": {"dtype": "int8", "shape": [2], "data": "AA=="}}', "1 bytes"),
        (scale, '{"x": {"dtype": "bfloat16", "shape": [1], "data": "AAA="}}', "numpy has no bfloat16"),
        (look, '{"image": [[[0, 1, 256]]]}', "cannot hold"),
        (look, '{"image": [[[0, 1, -1]]]}', "cannot hold"),
        (look, '{"image": [[[0, 1, 1.5]]]}', "cannot hold"),
        (look, '{"image": [[[0, 1]]]}', "shape is"),
        (look, '{"image": [0, 1, 2]}', "shape is"),
    ],
)  # fmt: skip  # a table
def test_lists_that_do_not_fit_are_refused(
    target: DeclaredEndpoint[..., Any], text: str, why: str
) -> None:
    with pytest.raises(InvalidRequestError, match=why) as refused:
        by_json(target, text)

    assert refused.value.code == "invalid_request"
    assert refused.value.errors


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.ones(2), "float64, and float32 is declared"),
        (np.array(["a"]), "cannot travel"),
        (np.array([1j]), "complex128"),
        (np.array([None]), "cannot travel"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_where_they_are_sent(array: Any, why: str) -> None:
    with pytest.raises(InvalidRequestError, match=why):
        TypedFormat(find.contract).request((array,), {})


def test_a_wrong_answer_is_the_endpoints_fault() -> None:
    with pytest.raises(CallError, match=r"image: .*nested lists") as failed:
        encoded(look.contract, form_of((("accept", SAFETENSORS),)), {"image": "not an image"})
    assert (failed.value.code, failed.value.executed) == ("bad_response", "yes")

    with pytest.raises(CallError, match="safetensors, not as JSON"):
        encoded(scale.contract, form_of(()), np.zeros(1, np.complex64))


def test_a_tensor_without_a_parameter_is_refused() -> None:
    body = write_safetensors({"y": RawTensor("uint8", (1,), b"1")})
    with_document = write_safetensors(
        {"x": RawTensor("uint8", (1,), b"1"), "y": RawTensor("uint8", (1,), b"1")},
        {"json": '{"x": {"$tensor": "x"}}'},
    )
    form = form_of((("content-type", SAFETENSORS),))

    with pytest.raises(InvalidRequestError, match="y"):
        decoded(scale.contract, form, body)
    with pytest.raises(InvalidRequestError, match="no place for the tensor 'y'"):
        decoded(scale.contract, form, with_document)
    with pytest.raises(InvalidRequestError, match="no tensor 'z'"):
        decoded(scale.contract, form, write_safetensors({}, {"json": '{"x": {"$tensor": "z"}}'}))


def test_an_endpoint_without_tensors_takes_no_file_of_them() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decoded(plain.contract, form_of((("content-type", SAFETENSORS),)), write_safetensors({}))

    assert refused.value.code == "unsupported_media_type"


def test_an_endpoint_with_tensors_says_which_forms_it_takes() -> None:
    with pytest.raises(InvalidRequestError, match="application/safetensors, not image/png"):
        decoded(scale.contract, form_of((("content-type", "image/png"),)), b"x")


# -- declarations ----------------------------------------------------------------------------------------------


def test_the_schema_says_dtype_and_shape() -> None:
    image = look.spec.schema.request["properties"]["image"]

    assert image["x-tensor"] == {"dtype": "uint8", "shape": [None, None, 3]}
    assert image["type"] == "array"
    assert scale.spec.schema.response["x-tensor"] == {}


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("float33", ()), ("", (-1,)), ("", (True,)), ("", ("n",)), ("", (None,) * 33)],
)
def test_a_tensor_that_cannot_be_is_refused_where_it_is_declared(dtype: str, shape: Any) -> None:
    with pytest.raises(DefinitionError):
        Tensor(dtype, shape=shape)


def test_a_tensor_beside_something_else_is_refused() -> None:
    with pytest.raises(DefinitionError, match="no array"):
        _checked_adapter(Annotated[list[float], Tensor("float32")], "x")


def test_a_bare_array_inside_a_dataclass_is_refused_with_the_way_to_write_it() -> None:
    @dataclass
    class Bare:
        x: np.ndarray

    with pytest.raises(DefinitionError) as refused:
        _checked_adapter(Bare, "bare")

    assert "Tensor()" in refused.value.hint


def test_an_endpoint_of_tensors_can_be_declared_where_torch_is_not_installed() -> None:
    marked = with_tensors(Stub("torch.Tensor"))

    assert library_of(Stub("torch.Tensor")) == "torch"
    assert library_of(Stub("torch.nn.Module")) is None
    assert has_tensors(marked)


@pytest.mark.parametrize(
    ("annotation", "has"),
    [
        (np.ndarray, True),
        (NDArray[np.float32], True),
        (np.ndarray | None, True),
        (list[np.ndarray], True),
        (dict[str, tuple[np.ndarray, ...]], True),
        (Annotated[np.ndarray, "note"], True),
        (list[int], False),
        (int | None, False),
        (np.float32, False),
    ],
    ids=str,
)
def test_arrays_are_found_wherever_they_stand_in_an_annotation(annotation: Any, has: bool) -> None:
    assert has_tensors(with_tensors(annotation)) == has


def test_two_tensors_never_share_a_name() -> None:
    from glowplug.arrays import Sink

    sink = Sink()
    one, two = (sink.put(RawTensor("uint8", (1,), data)) for data in (b"1", b"2"))
    _, tensors = named({"a": {"b": one}, "a.b": two}, sink)

    assert sorted(bytes(tensor.data) for tensor in tensors.values()) == [b"1", b"2"]
