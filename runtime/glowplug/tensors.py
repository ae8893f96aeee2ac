"""What is a tensor as bytes, apart from any library? Its element type, shape and data, and a file of several.

The file is safetensors: eight bytes of length, a JSON header that says where each tensor lies, then the data, gapless.
Nothing in it is believed before it is checked, and nothing is copied: what is read are views of the body.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct

import msgspec

from glowplug.errors import InvalidRequestError

DIMENSIONS_MAX = 32  # numpy 1 takes no more
LISTS_MAX = 1_000_000  # of no elements, in a tensor without data: as JSON, each is a list
EMPTY_MAX = 1 << 24  # the other sides of such a tensor, multiplied: what its sum may have
TENSORS_MAX = 4096  # in one file
HEADER_MAX = 16 * 1024 * 1024  # bytes; arguments that are no tensors travel in it as well
METADATA = "__metadata__"
_LENGTH = Struct("<Q")
_NPY_MAGIC = b"\x93NUMPY"
_NPY_LENGTH = Struct("<H")
_NPY_HEADER = re.compile(
    r"\{'descr': '([^']{2,4})', 'fortran_order': False, 'shape': \(((?:\d{1,15}(?:, \d{1,15})*,?)?)\), \} *\n?"
)
_NPY_ALIGNMENT = 64  # of the data, as numpy itself writes it
_ALIGNMENT = 8  # of the data: the widest element there is


@dataclass(frozen=True, slots=True)
class ElementType:
    """One kind of number, and what the formats call it; "" where a format has no name for it."""

    name: str
    size_bytes: int
    safetensors: str
    oip: str = ""


ELEMENT_TYPES: dict[str, ElementType] = {
    one.name: one
    for one in (
        ElementType("bool", 1, "BOOL", "BOOL"),
        ElementType("uint8", 1, "U8", "UINT8"),
        ElementType("uint16", 2, "U16", "UINT16"),
        ElementType("uint32", 4, "U32", "UINT32"),
        ElementType("uint64", 8, "U64", "UINT64"),
        ElementType("int8", 1, "I8", "INT8"),
        ElementType("int16", 2, "I16", "INT16"),
        ElementType("int32", 4, "I32", "INT32"),
        ElementType("int64", 8, "I64", "INT64"),
        ElementType("float16", 2, "F16", "FP16"),
        ElementType("bfloat16", 2, "BF16", "BF16"),
        ElementType("float32", 4, "F32", "FP32"),
        ElementType("float64", 8, "F64", "FP64"),
        ElementType("complex64", 8, "C64"),
        ElementType("float8_e4m3fn", 1, "F8_E4M3"),
        ElementType("float8_e5m2", 1, "F8_E5M2"),
    )
}
_NPY_TYPES = {
    "|b1": "bool", "|u1": "uint8", "|i1": "int8", "<u2": "uint16", "<i2": "int16", "<u4": "uint32", "<i4": "int32",
    "<u8": "uint64", "<i8": "int64", "<f2": "float16", "<f4": "float32", "<f8": "float64", "<c8": "complex64",
}  # fmt: skip  # as numpy writes them
BY_SAFETENSORS = {one.safetensors: one for one in ELEMENT_TYPES.values()}
BY_OIP = {one.oip: one for one in ELEMENT_TYPES.values() if one.oip}


@dataclass(frozen=True, slots=True)
class RawTensor:
    """A tensor without a library: little-endian, row after row. `data` may be any contiguous buffer."""

    dtype: str  # a key of ELEMENT_TYPES
    shape: tuple[int, ...]
    data: memoryview | bytes

    @property
    def size_bytes(self) -> int:
        """Return how many bytes dtype and shape ask for."""
        return math.prod(self.shape) * ELEMENT_TYPES[self.dtype].size_bytes


class _Entry(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


_header = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_entry = msgspec.json.Decoder(_Entry).decode
_metadata = msgspec.json.Decoder(dict[str, str]).decode
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read_safetensors(body: bytes | memoryview) -> tuple[dict[str, RawTensor], dict[str, str]]:
    """Return the tensors of a file by name, as views of it, and its metadata.

    Raises:
        InvalidRequestError: bad_request, before anything larger than the header was made of it.
    """
    view = memoryview(body)
    if len(view) < _LENGTH.size:
        raise malformed("it is shorter than the length of its header")
    size = _LENGTH.unpack_from(view)[0]
    if size > min(HEADER_MAX, len(view) - _LENGTH.size):
        raise malformed(f"its header of {size} bytes does not fit")
    try:
        found = _header(view[_LENGTH.size : _LENGTH.size + size])
        metadata = _metadata(found.pop(METADATA, b"{}"))
        entries = {name: _entry(raw) for name, raw in found.items()}
    except _UNREADABLE as error:
        raise malformed(f"its header cannot be read: {error}") from None
    if len(entries) > TENSORS_MAX:
        raise malformed(f"it has {len(entries)} tensors, and {TENSORS_MAX} is the most")
    return _views(entries, view[_LENGTH.size + size :]), metadata


def write_safetensors(
    tensors: Mapping[str, RawTensor], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return a file with these tensors, their data copied once; the widest come first, so that all are aligned."""
    ordered = sorted(tensors, key=lambda name: -ELEMENT_TYPES[tensors[name].dtype].size_bytes)
    header: dict[str, object] = {METADATA: dict(metadata)} if metadata else {}
    at = 0
    for name in ordered:
        one = tensors[name]
        end = at + one.size_bytes
        code = ELEMENT_TYPES[one.dtype].safetensors
        header[name] = {"dtype": code, "shape": one.shape, "data_offsets": (at, end)}
        at = end
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join([_LENGTH.pack(len(text)), text, *(tensors[name].data for name in ordered)])


def read_npy(body: bytes) -> RawTensor:
    """Return the tensor of a .npy file, a view of it; raise ValueError for anything else."""
    size = _NPY_LENGTH.unpack_from(body, 8)[0] if len(body) >= 10 else 0
    found = _NPY_HEADER.fullmatch(body[10 : 10 + size].decode("latin-1"))
    if body[:6] != _NPY_MAGIC or body[6:7] != b"\x01" or found is None:
        raise ValueError("these bytes are no .npy file of version 1 with plain numbers in rows")
    kind = _NPY_TYPES.get(found[1])
    if kind is None:
        raise ValueError(
            f"the .npy file holds {found[1]}: save it as one of {', '.join(ELEMENT_TYPES)}"
        )
    shape = tuple(int(side) for side in found[2].replace(" ", "").split(",") if side)
    raw = RawTensor(kind, shape, memoryview(body)[10 + size :])
    if not is_possible(shape):
        raise ValueError("the .npy file has a shape that cannot be")
    if raw.size_bytes != len(raw.data):
        raise ValueError(
            f"the .npy file has {len(raw.data)} bytes of data, its header says {raw.size_bytes}"
        )
    return raw


def write_npy(tensor: RawTensor) -> bytes:
    """Return a tensor as a .npy file; raise ValueError for an element type that numpy has not."""
    kind = next((code for code, name in _NPY_TYPES.items() if name == tensor.dtype), None)
    if kind is None:
        raise ValueError(f"a .npy file cannot hold {tensor.dtype}")
    sides = "".join(f"{side}, " for side in tensor.shape).removesuffix(" ")
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sides}), }}"
    text += " " * (-(10 + len(text) + 1) % _NPY_ALIGNMENT) + "\n"
    return b"".join(
        [_NPY_MAGIC, b"\x01\x00", _NPY_LENGTH.pack(len(text)), text.encode(), tensor.data]
    )


def malformed(why: str) -> InvalidRequestError:
    """Return the refusal of a body that is no file of tensors."""
    return InvalidRequestError(
        f"the body is no tensor file: {why}", code="bad_request", executed="no"
    )


def check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Refuse a shape that no library would take."""
    if not is_possible(shape):
        raise malformed(f"{name[:80]!r} has a shape that cannot be")


def is_possible(shape: Sequence[int]) -> bool:
    """Say whether a library would take the shape. Data bounds it, but for one without any: that could claim all."""
    if len(shape) > DIMENSIONS_MAX or any(not 0 <= side < 1 << 48 for side in shape):
        return False
    if 0 not in shape:
        return True
    lists = math.prod(itertools.takewhile(bool, shape))
    return lists <= LISTS_MAX and math.prod(side for side in shape if side) <= EMPTY_MAX


def _views(entries: Mapping[str, _Entry], data: memoryview) -> dict[str, RawTensor]:
    at = 0
    tensors: dict[str, RawTensor] = {}
    for name, entry in sorted(entries.items(), key=lambda one: one[1].data_offsets):
        kind = BY_SAFETENSORS.get(entry.dtype)
        if kind is None:
            raise malformed(f"{name[:80]!r} has the dtype {entry.dtype[:20]!r}, which nobody knows")
        check_shape(name, entry.shape)
        begin, end = entry.data_offsets
        size = math.prod(entry.shape) * kind.size_bytes
        # Each begins where the one before ended: no overlap, no gap, none past the end.
        if begin != at or end - begin != size or end > len(data):
            raise malformed(f"{name[:80]!r} does not lie where its shape and dtype say")
        tensors[name] = RawTensor(kind.name, entry.shape, data[begin:end])
        at = end
    if at != len(data):
        raise malformed(f"{len(data) - at} bytes belong to no tensor")
    return tensors
