"""How does a body of the Open Inference Protocol's binary form become arguments, and an answer such a body?

The body is a JSON header, whose length the header `Inference-Header-Content-Length` gives, then the data of the tensors
in the order in which it lists them (KServe v2, binary tensor extension). Inputs are parameters by name; what is no
tensor may be an input of one element, or stand in the request's `parameters`. BYTES are texts, each after its length.
"""

import base64
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct, unpack
from typing import Any

import msgspec

from glowplug.arrays import PLACE, Library, Sink, array_of
from glowplug.errors import CallError, InvalidRequestError
from glowplug.schema import Contract, takes_bytes
from glowplug.tensor_bodies import OUTPUT, arguments_of_document, named
from glowplug.tensors import BY_OIP, ELEMENT_TYPES, TENSORS_MAX, RawTensor, check_shape

LENGTH_HEADER = "inference-header-content-length"
_ITEM = Struct("<I")
_BYTES = "BYTES"
# Of a request as a whole: they say how to run or answer it, and are no arguments.
_CONTROLS = frozenset(
    {"binary_data_output", "priority", "sequence_end", "sequence_id", "sequence_start", "timeout"}
)
_SCALARS = (str, int, float, bool)
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_CODES = {
    "bool": "?", "uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q", "int8": "b", "int16": "h", "int32": "i",
    "int64": "q", "float16": "e", "float32": "f", "float64": "d",
}  # fmt: skip  # of the struct module


class _Tensor(msgspec.Struct, frozen=True):
    name: str
    shape: tuple[int, ...] = ()
    datatype: str = ""
    parameters: dict[str, Any] = {}
    data: Any = None


class _Request(msgspec.Struct, frozen=True):
    inputs: tuple[_Tensor, ...]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: tuple[_Tensor, ...] | None = None


_request = msgspec.json.Decoder(_Request).decode


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says about its answer."""

    id: str
    is_binary: bool
    outputs: Mapping[str, bool] | None  # name -> binary; None = all of them

    def wants(self, name: str) -> bool:
        """Say whether an output was asked for."""
        return self.outputs is None or name in self.outputs

    def wants_binary(self, name: str) -> bool:
        """Say whether an output goes behind the header."""
        return self.is_binary if self.outputs is None else self.outputs[name]


def arguments_of_oip(
    contract: Contract, body: bytes, header_bytes: int
) -> tuple[dict[str, Any], Asked]:
    """Return the keyword arguments of a body, arrays being views of it, and what its caller wants back."""
    if not 0 < header_bytes <= len(body):
        raise _bad(
            f"Inference-Header-Content-Length is {header_bytes}, the body has {len(body)} bytes"
        )
    view = memoryview(body)
    try:
        request = _request(view[:header_bytes])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(f"its JSON header cannot be read: {error}") from None
    if len(request.inputs) > TENSORS_MAX:
        raise _bad(f"it has {len(request.inputs)} inputs, and {TENSORS_MAX} is the most")
    document: dict[str, Any] = {
        name: value for name, value in request.parameters.items() if name not in _CONTROLS
    }
    tensors: dict[str, RawTensor] = {}
    at = header_bytes
    for one in request.inputs:
        if one.name in document:
            raise _bad(f"{one.name[:80]!r} is there twice")
        check_shape(one.name, one.shape)
        size = one.parameters.get("binary_data_size")
        data = None if size is None else _slice(view, at, size, one.name)
        at += 0 if data is None else len(data)
        document[one.name] = _value(contract, one, data, tensors)
    if at != len(body):
        raise _bad(f"{len(body) - at} bytes belong to no input")
    arguments = arguments_of_document(contract, msgspec.json.encode(document), tensors)
    return arguments, _asked(request)


def oip_of_answer(
    contract: Contract, value: Any, asked: Asked, version: str
) -> tuple[bytes, int | None]:
    """Return the body of an answer and the length of its header, None where it is all JSON."""
    sink = Sink()
    document, tensors = named(msgspec.json.decode(contract.json_of_answer(value, sink)), sink)
    if not isinstance(document, dict) or document.keys() == {PLACE}:
        document = {OUTPUT: document}
    outputs: list[dict[str, Any]] = []
    rest: dict[str, Any] = {}
    data: list[memoryview | bytes] = []
    for name, one in [*tensors.items(), *document.items()]:
        if not asked.wants(name) or (name in tensors and one is not tensors[name]):
            continue
        texts = _texts_of(one)
        if not isinstance(one, RawTensor) and texts is None:
            rest[name] = one if isinstance(one, _SCALARS) else msgspec.json.encode(one).decode()
            continue
        output = _described(name, one, texts)
        if asked.wants_binary(name):
            data.append(one.data if isinstance(one, RawTensor) else _packed(texts or []))
            output["parameters"] = {"binary_data_size": len(data[-1])}
        else:
            output["data"] = _listed(one) if isinstance(one, RawTensor) else texts
        outputs.append(output)
    head: dict[str, Any] = {"model_name": contract.label, "outputs": outputs}
    head |= {"model_version": version} if version else {}
    head |= {"id": asked.id} if asked.id else {}
    head |= {"parameters": rest} if rest else {}
    text = msgspec.json.encode(head)
    return b"".join([text, *data]), len(text) if data else None


def _asked(request: _Request) -> Asked:
    outputs = None
    if request.outputs:
        outputs = {one.name: one.parameters.get("binary_data") is True for one in request.outputs}
    return Asked(request.id[:200], request.parameters.get("binary_data_output") is True, outputs)


def _value(
    contract: Contract, one: _Tensor, data: memoryview | None, tensors: dict[str, RawTensor]
) -> Any:
    """Return what stands in the document for an input."""
    count = math.prod(one.shape)
    if one.datatype == _BYTES:
        items = _texts(one, data, count, as_bytes=takes_bytes(contract.types.get(one.name)))
        return _plain(contract, one.name, items)
    kind = BY_OIP.get(one.datatype)
    if kind is None:
        raise _bad(f"{one.name[:80]!r} has the datatype {one.datatype[:20]!r}, which nobody knows")
    if data is None:
        items = _flat(one.data)
        if len(items) != count:
            raise _bad(f"{one.name[:80]!r} has {len(items)} elements, and its shape says {count}")
        if one.name in contract.tensors:
            # As small as JSON is: the lists are put into the shape, and converted like any others.
            return _shaped(items, one.shape)
        return _plain(contract, one.name, items)
    raw = RawTensor(kind.name, one.shape, data)
    if raw.size_bytes != len(data):
        raise _bad(f"{one.name[:80]!r} has {len(data)} bytes, and its shape needs {raw.size_bytes}")
    if one.name in contract.tensors or count != 1:
        tensors[one.name] = raw
        return {PLACE: one.name}
    return _plain(contract, one.name, [_scalar(raw)])


def _plain(contract: Contract, name: str, items: list[Any]) -> Any:
    """Return an input for a parameter that is no tensor: one element is a value, unless a list is asked for."""
    schema = (contract.schema.request or {}).get("properties", {}).get(name, {})
    kinds = [schema.get("type"), *(one.get("type") for one in schema.get("anyOf", ()))]
    return items[0] if len(items) == 1 and "array" not in kinds else items


def _texts(one: _Tensor, data: memoryview | None, count: int, *, as_bytes: bool) -> list[str]:
    if data is None:
        items = _flat(one.data)
        if len(items) != count or not all(isinstance(item, str) for item in items):
            raise _bad(f"{one.name[:80]!r} is no list of {count} texts")
        return items
    found: list[str] = []
    at = 0
    while at < len(data):
        if len(data) - at < _ITEM.size:
            raise _bad(f"{one.name[:80]!r} ends within a length")
        size = _ITEM.unpack_from(data, at)[0]
        at += _ITEM.size
        item = bytes(data[at : at + size])
        at += size
        if len(item) != size or len(found) >= count:
            raise _bad(f"{one.name[:80]!r} does not hold the {count} texts of its shape")
        try:
            found.append(base64.b64encode(item).decode() if as_bytes else item.decode())
        except UnicodeDecodeError:
            raise _bad(f"{one.name[:80]!r} is no UTF-8, and its parameter takes text") from None
    if len(found) != count:
        raise _bad(f"{one.name[:80]!r} does not hold the {count} texts of its shape")
    return found


def _slice(view: memoryview, at: int, size: Any, name: str) -> memoryview:
    if type(size) is not int or not 0 <= size <= len(view) - at:
        raise _bad(f"binary_data_size of {name[:80]!r} is {str(size)[:40]}, which is not there")
    return view[at : at + size]


def _flat(data: Any) -> list[Any]:
    """Return the elements of flat or nested lists, in order."""
    items = data if isinstance(data, list) else [data]
    while items and isinstance(items[0], list):
        if not all(isinstance(one, list) for one in items):
            raise _bad("an input's data is neither flat nor nested evenly")
        items = [inner for one in items for inner in one]
    return items


def _shaped(items: list[Any], shape: Sequence[int]) -> Any:
    if not shape:
        return items[0]
    for side in reversed(shape[1:]):
        items = [items[at : at + side] for at in range(0, len(items), side)] if side else []
    return items


def _described(name: str, one: Any, texts: list[str] | None) -> dict[str, Any]:
    if texts is not None:
        return {"name": name, "datatype": _BYTES, "shape": [len(texts)]}
    datatype = ELEMENT_TYPES[one.dtype].oip
    if not datatype:
        raise CallError(
            f"the protocol has no datatype for {one.dtype}",
            code="bad_response",
            hint="ask for it with `Accept: application/safetensors`",
            executed="yes",
        )
    return {"name": name, "datatype": datatype, "shape": one.shape}


def _texts_of(value: Any) -> list[str] | None:
    """Return the items of a text, or of a list of them; None for anything else."""
    texts = [value] if isinstance(value, str) else value
    is_texts = isinstance(texts, list) and texts and all(isinstance(one, str) for one in texts)
    return texts if is_texts else None


def _packed(texts: list[str]) -> bytes:
    encoded = [one.encode() for one in texts]
    return b"".join(part for one in encoded for part in (_ITEM.pack(len(one)), one))


def _listed(raw: RawTensor) -> list[Any]:
    library: Library = "torch" if "torch" in sys.modules else "numpy"
    values = array_of(raw, library).reshape(-1).tolist()
    return [one if math.isfinite(one) else _NOT_FINITE[str(one)] for one in values]


def _scalar(raw: RawTensor) -> Any:
    if raw.dtype not in _CODES:
        raise _bad(f"an input of one {raw.dtype} is no argument")
    return unpack("<" + _CODES[raw.dtype], raw.data)[0]


def _bad(why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"the inference request is malformed: {why}", code="bad_request", executed="no"
    )
