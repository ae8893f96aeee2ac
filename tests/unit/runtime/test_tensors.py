"""Is a file of tensors read as it was written, by us and by others, and refused when it lies?"""

import io
import json
import math
import struct
import tracemalloc
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import numpy as other

from glowplug.arrays import array_of, raw_of
from glowplug.errors import InvalidRequestError
from glowplug.tensor_bodies import npy_of_file
from glowplug.tensors import (
    ELEMENT_TYPES,
    TENSORS_MAX,
    RawTensor,
    read_npy,
    read_safetensors,
    write_npy,
    write_safetensors,
)

NUMPY_TYPES = sorted(set(ELEMENT_TYPES) - {"bfloat16", "float8_e4m3fn", "float8_e5m2"})
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def raw_tensors(draw: st.DrawFn) -> RawTensor:
    kind = ELEMENT_TYPES[draw(st.sampled_from(sorted(ELEMENT_TYPES)))]
    shape = draw(shapes)
    size = math.prod(shape) * kind.size_bytes
    return RawTensor(kind.name, shape, draw(st.binary(min_size=size, max_size=size)))


files = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
        lambda name: name != "__metadata__"
    ),
    raw_tensors(),
    max_size=5,
)


def file(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


# -- there and back --------------------------------------------------------------------------------------


@given(files, st.dictionaries(st.text(max_size=4), st.text(max_size=9), max_size=3))
def test_what_is_written_is_read_again(
    tensors: dict[str, RawTensor], metadata: dict[str, str]
) -> None:
    try:
        body = write_safetensors(tensors, metadata)
    except UnicodeEncodeError:
        return  # a lone surrogate has no bytes, in names or anywhere
    found, said = read_safetensors(body)

    assert said == metadata
    assert {name: (one.dtype, one.shape, bytes(one.data)) for name, one in found.items()} == {
        name: (one.dtype, one.shape, bytes(one.data)) for name, one in tensors.items()
    }


@given(files)
def test_all_data_is_aligned_for_its_elements(tensors: dict[str, RawTensor]) -> None:
    body = write_safetensors(tensors)
    start = 8 + struct.unpack_from("<Q", body)[0]
    header = json.loads(body[8:start])

    for name, one in tensors.items():
        at = start + header[name]["data_offsets"][0]
        assert at % ELEMENT_TYPES[one.dtype].size_bytes == 0


@given(st.sampled_from(NUMPY_TYPES), shapes, st.booleans(), st.randoms(use_true_random=False))
def test_any_array_comes_back_equal(
    dtype: str, shape: tuple[int, ...], turned: bool, chance: Random
) -> None:
    count = math.prod(shape)
    values = np.array([chance.randrange(2) for _ in range(count)]).astype(dtype).reshape(shape)
    array = values.T if turned else values
    if chance.random() < 0.5:
        array = array.astype(array.dtype.newbyteorder(">"))

    found, _ = read_safetensors(write_safetensors({"x": raw_of(array)}))
    back = array_of(found["x"], "numpy")

    assert back.dtype == np.dtype(dtype)
    assert back.shape == array.shape
    assert (back == array).all()


@pytest.mark.parametrize("dtype", [name for name in NUMPY_TYPES if name != "complex64"])
def test_the_other_implementation_reads_ours_and_we_read_its(dtype: str) -> None:
    arrays = {
        "a": np.arange(6).astype(dtype).reshape(2, 3),
        "b": np.zeros((0, 2), dtype),
        "c": np.array(1, dtype),
    }

    theirs = other.load(write_safetensors({name: raw_of(one) for name, one in arrays.items()}))
    ours, metadata = read_safetensors(other.save(arrays, {"key": "value"}))

    assert metadata == {"key": "value"}
    for name, array in arrays.items():
        assert theirs[name].dtype == array.dtype
        assert np.array_equal(theirs[name], array)
        assert np.array_equal(array_of(ours[name], "numpy"), array)


def test_what_is_read_is_a_view_of_the_body_and_cannot_be_changed() -> None:
    body = write_safetensors({"x": raw_of(np.ones(1000))})

    array = array_of(read_safetensors(body)[0]["x"], "numpy")

    assert np.shares_memory(array, np.frombuffer(body, np.uint8))
    assert not array.flags.writeable
    assert array.copy().flags.writeable


# -- files that lie ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "shorter than the length"),
        (b"\0" * 7, "shorter than the length"),
        (struct.pack("<Q", 2**63), "does not fit"),
        (struct.pack("<Q", 3) + b"{}", "does not fit"),
        (struct.pack("<Q", 0), "cannot be read"),
        (file(b"[]"), "cannot be read"),
        (file(b"{"), "cannot be read"),
        (file(b'{"\xff": 1}'), "cannot be read"),
        (file(b"[" * 100_000), "cannot be read"),
        (file(b'{"x": ' + b"[" * 100_000), "cannot be read"),
        (file({"x": 1}), "cannot be read"),
        (file({"__metadata__": {"a": 1}}), "cannot be read"),
        (file({"x": entry("F32", [1], 0, 4) | {"shape": [1.5]}}, b"1234"), "cannot be read"),
        (file({"x": entry("F99", [1], 0, 4)}, b"1234"), "nobody knows"),
        (file({"x": entry("F32", [-1], 0, 4)}, b"1234"), "cannot be"),
        (file({"x": entry("F32", [1] * 33, 0, 4)}, b"1234"), "cannot be"),
        (file({"x": entry("F32", [0, 2**60], 0, 0)}), "cannot be"),
        (file({"x": entry("F32", [2**48 - 1, 0], 0, 0)}), "cannot be"),
        (file({"x": entry("F32", [20_000_000, 0], 0, 0)}), "cannot be"),
        (file({"x": entry("F32", [1000, 1001, 0], 0, 0)}), "cannot be"),
        (file({"x": entry("F32", [0, 1 << 25], 0, 0)}), "cannot be"),
        (file({"x": entry("F32", [2], 0, 4)}, b"1234"), "does not lie where"),
        (file({"x": entry("F32", [1], 0, 4)}, b"123"), "does not lie where"),
        (file({"x": entry("F32", [1], -4, 0)}, b""), "does not lie where"),
        (file({"x": entry("U8", [2], 1, 3)}, b"123"), "does not lie where"),
        (file({"x": entry("U8", [2], 0, 2), "y": entry("U8", [2], 1, 3)}, b"123"), "does not lie"),
        (file({"x": entry("U8", [1], 0, 1), "y": entry("U8", [1], 2, 3)}, b"123"), "does not lie"),
        (file({"x": entry("U8", [2], 0, 2)}, b"123"), "belong to no tensor"),
        (file({str(n): entry("U8", [0], 0, 0) for n in range(TENSORS_MAX + 1)}), "is the most"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(InvalidRequestError, match=why) as refused:
        read_safetensors(body)

    assert (refused.value.code, refused.value.executed) == ("bad_request", "no")


def test_as_many_tensors_as_may_be_are_read() -> None:
    body = file({str(n): entry("U8", [0], 0, 0) for n in range(TENSORS_MAX)})

    assert len(read_safetensors(body)[0]) == TENSORS_MAX


@pytest.mark.parametrize("shape", [[0, 3, 2048, 2048], [1_000_000, 0], [0], [2, 0, 2]])
def test_an_empty_tensor_of_a_likely_shape_is_read(shape: list[int]) -> None:
    found, _ = read_safetensors(file({"x": entry("F32", shape, 0, 0)}))

    assert found["x"].shape == tuple(shape)


headers = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "BF16", "x"]) | st.text(max_size=3),
        "shape": st.lists(st.integers(-2, 2**70) | st.integers(0, 3), max_size=4),
        "data_offsets": st.tuples(st.integers(-2, 20), st.integers(0, 20) | st.integers(0, 2**70)),
    }
)


@settings(max_examples=300)
@given(
    st.binary(max_size=64)
    | st.builds(
        file,
        headers | st.dictionaries(st.text(max_size=2), entries, max_size=3),
        st.binary(max_size=20),
    )
)
def test_nothing_that_arrives_raises_anything_but_a_refusal(body: bytes) -> None:
    try:
        found, _ = read_safetensors(body)
    except InvalidRequestError:
        return
    assert sum(one.size_bytes for one in found.values()) <= len(body)


def test_a_file_that_claims_much_costs_no_more_than_it_weighs() -> None:
    liars = [
        struct.pack("<Q", 2**40) + b"{}" * 50_000,
        file({"x": entry("F64", [2**40], 0, 2**43)}, b"0" * 100_000),
        file({"x": entry("F64", [0, 2**47], 0, 0)}, b"0" * 100_000),
    ]
    tracemalloc.start()
    try:
        for body in liars:
            with pytest.raises(InvalidRequestError):
                read_safetensors(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 100_000


# -- .npy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NUMPY_TYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 2)])
def test_a_npy_file_is_read_as_numpy_wrote_it(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.ones(shape, dtype)
    held = io.BytesIO()
    np.save(held, array)

    found = read_npy(held.getvalue())

    assert np.array_equal(array_of(found, "numpy"), array)
    assert (found.dtype, found.shape) == (dtype, shape)


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.ones((2, 2)).T.copy("F")])
def test_a_npy_file_of_other_things_is_refused(array: Any) -> None:
    held = io.BytesIO()
    np.save(held, array, allow_pickle=True)

    with pytest.raises(ValueError, match=r"\.npy"):
        read_npy(held.getvalue())


def test_a_npy_file_without_data_may_not_claim_to_be_huge() -> None:
    held = io.BytesIO()
    np.save(held, np.ones((20_000_000, 0), np.float32))

    with pytest.raises(ValueError, match="cannot be"):
        read_npy(held.getvalue())


@given(
    st.binary(max_size=40).map(lambda rest: b"\x93NUMPY\x01\x00" + rest) | st.binary(max_size=40)
)
def test_what_is_no_npy_file_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\.npy"):
        read_npy(body)


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
def test_a_npy_file_is_written_as_numpy_reads_it(shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape), dtype="<f4").reshape(shape)

    body = write_npy(RawTensor("float32", shape, array.tobytes()))

    assert np.array_equal(np.load(io.BytesIO(body)), array)
    assert np.load(io.BytesIO(body)).shape == shape
    assert read_npy(body).shape == shape


def test_what_numpy_has_no_name_for_is_no_npy_file() -> None:
    with pytest.raises(ValueError, match="cannot hold bfloat16"):
        write_npy(RawTensor("bfloat16", (1,), b"xx"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        write_safetensors({"a": RawTensor("uint8", (1,), b"x")}),
        write_safetensors({"output": RawTensor("uint8", (1,), b"x")}, {"json": '{"a": 1}'}),
        write_safetensors({"output": RawTensor("uint8", (1,), b"x")}, {"json": "{"}),
    ],
)
def test_an_answer_that_is_not_one_array_is_no_npy_file(body: bytes) -> None:
    with pytest.raises(ValueError, match="the answer is no"):
        npy_of_file(body)
