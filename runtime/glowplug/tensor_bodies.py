"""How do arguments and answers with tensors in them become one body? A JSON document, and the tensors beside it.

In safetensors the document is the metadata entry "json"; where it says {"$tensor": name}, the tensor of that name is
meant. A file without the entry is an object with a member for each tensor, so that files of any origin can be sent.
An answer that is one bare tensor is called "output".
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from glowplug.arrays import PLACE, Library, Sink, Source, array_of, library_of, raw_of
from glowplug.errors import CallError, InvalidRequestError
from glowplug.schema import Contract
from glowplug.tensors import RawTensor, read_safetensors, write_npy, write_safetensors

DOCUMENT = "json"
OUTPUT = "output"
_PLAIN = {bool, int, float, str, bytes, type(None)}
_encode, _decode = msgspec.json.encode, msgspec.json.decode


def arguments_of_file(contract: Contract, body: bytes) -> dict[str, Any]:
    """Return the keyword arguments of a safetensors body; arrays are views of it."""
    tensors, metadata = read_safetensors(body)
    text = metadata.get(DOCUMENT) or _encode({name: {PLACE: name} for name in tensors})
    return arguments_of_document(contract, text, tensors)


def arguments_of_document(
    contract: Contract, text: bytes | str, tensors: Mapping[str, RawTensor]
) -> dict[str, Any]:
    """Return the keyword arguments of a document with tensors beside it, each of which it must name."""
    source = Source(tensors)
    arguments = contract.arguments_from_json(text, source)
    if source.left:
        raise InvalidRequestError(
            f"`{contract.label}` has no place for the tensor {source.left[0][:80]!r}", executed="no"
        )
    return arguments


def file_of_arguments(contract: Contract, values: Mapping[str, Any]) -> bytes:
    """Return the safetensors body of a call; a tensor is called as its parameter."""
    sink = Sink()
    return _file(contract.json_of_arguments(values, sink), sink)


def file_of_answer(contract: Contract, value: Any) -> bytes:
    """Return the safetensors body of an answer."""
    sink = Sink()
    return _file(contract.json_of_answer(value, sink), sink)


def file_of_values(values: Mapping[str, Any]) -> bytes:
    """Return the body for arguments whose types nobody here knows."""
    from pydantic_core import PydanticSerializationError, to_json

    sink = Sink()
    try:
        text = to_json(
            values,
            bytes_mode="base64",
            inf_nan_mode="strings",
            fallback=lambda one: sink.put(raw_of(one)),
        )
    except (PydanticSerializationError, AttributeError, ValueError) as error:
        raise InvalidRequestError(f"the arguments cannot be sent: {error}", executed="no") from None
    return _file(text, sink)


def answer_of_file(contract: Contract, body: bytes) -> Any:
    """Return the answer as declared; arrays are views of the body."""
    try:
        tensors, metadata = read_safetensors(body)
    except InvalidRequestError as error:
        raise _bad_answer(error) from None
    text = metadata.get(DOCUMENT, "").encode() or _encode({name: {PLACE: name} for name in tensors})
    return contract.answer_from_json(text, Source(tensors))


def values_of_file(body: bytes, library: Library) -> Any:
    """Return what a file says, its tensors as arrays of a library, for a caller who does not know the types."""
    try:
        tensors, metadata = read_safetensors(body)
        arrays = {name: array_of(one, library) for name, one in tensors.items()}
        return _filled(_decode(metadata[DOCUMENT]), arrays) if DOCUMENT in metadata else arrays
    except (InvalidRequestError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise _bad_answer(error) from None


def npy_of_file(body: bytes) -> bytes:
    """Return an answer that is one array as a .npy file; raise ValueError for any other answer."""
    try:
        tensors, metadata = read_safetensors(body)
        document = _decode(metadata.get(DOCUMENT, "null"))
    except (InvalidRequestError, msgspec.MsgspecError) as error:
        raise ValueError(f"the answer is no file of tensors: {error}") from None
    if list(tensors) != [OUTPUT] or document not in (None, {PLACE: OUTPUT}):
        raise ValueError("the answer is not one array")
    return write_npy(tensors[OUTPUT])


def library_in(values: Any) -> Library | None:
    """Return the library of the first array among arguments, None where there is none."""
    match values:
        case Mapping():
            return next(filter(None, map(library_in, values.values())), None)
        case list() | tuple():
            # By type first: a list of a million floats is looked through in passing.
            if {type(one) for one in values} <= _PLAIN:
                return None
            return next(filter(None, map(library_in, values)), None)
        case _:
            return library_of(type(values))


def named(document: Any, sink: Sink) -> tuple[Any, dict[str, RawTensor]]:
    """Return a document and its tensors under names that say where in it they stand."""
    tensors: dict[str, RawTensor] = {}

    def walk(one: Any, path: tuple[str, ...]) -> Any:
        match one:
            case {"$tensor": str(number)} if len(one) == 1 and number in sink.tensors:
                name = _unused(".".join(path) or OUTPUT, tensors)
                tensors[name] = sink.tensors[number]
                return {PLACE: name}
            case dict():
                return {key: walk(inner, (*path, str(key))) for key, inner in one.items()}
            case list():
                return [walk(inner, (*path, str(at))) for at, inner in enumerate(one)]
            case _:
                return one

    return walk(document, ()), tensors


def _file(text: bytes, sink: Sink) -> bytes:
    document, tensors = named(_decode(text), sink)
    if document == {name: {PLACE: name} for name in tensors}:
        return write_safetensors(tensors)
    return write_safetensors(tensors, {DOCUMENT: _encode(document).decode()})


def _unused(name: str, taken: Mapping[str, object]) -> str:
    while name in taken or name == "__metadata__":
        name += "'"
    return name


def _filled(document: Any, arrays: Mapping[str, Any]) -> Any:
    match document:
        case {"$tensor": str(name)} if len(document) == 1 and name in arrays:
            return arrays[name]
        case dict():
            return {key: _filled(inner, arrays) for key, inner in document.items()}
        case list():
            return [_filled(inner, arrays) for inner in document]
        case _:
            return document


def _bad_answer(error: Exception) -> CallError:
    return CallError(f"the answer cannot be read: {error}", code="bad_response", executed="yes")
