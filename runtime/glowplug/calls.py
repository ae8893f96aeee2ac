"""How does a caller write down arguments and read the answer? With the endpoint's types, or without knowing them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, get_args, get_origin

from glowplug.context import Answer
from glowplug.errors import CallError, InvalidRequestError
from glowplug.multipart import Part, encode_multipart
from glowplug.schema import JSON, RAW, SAFETENSORS, Contract
from glowplug.tensor_bodies import (
    answer_of_file,
    file_of_arguments,
    file_of_values,
    library_in,
    values_of_file,
)


class CallFormat(Protocol):
    """Both directions of one endpoint's calls, from the caller's side."""

    def request(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, bytes]:
        """Return content type and body."""
        ...

    def accept(self, sent: str) -> str:
        """Return what the answer to a body of this content type may be, the best first."""
        ...

    def value(self, answer: Answer) -> Any:
        """Return what the endpoint returned."""
        ...

    def item(self, text: bytes) -> Any:
        """Return one item of a stream."""
        ...


@dataclass(frozen=True, slots=True)
class TypedFormat:
    """For an endpoint whose code is here: arguments are checked before they leave, answers come back as declared."""

    contract: Contract

    def request(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, bytes]:
        """Return JSON; the bytes themselves for a lone `bytes`; a file of tensors; a form where there are files."""
        try:
            return self._written(self._bound(args, kwargs))
        except InvalidRequestError as error:
            error.hint = f"it is declared as `{self._signature()}`"
            raise

    def _written(self, values: Mapping[str, Any]) -> tuple[str, bytes]:
        contract = self.contract
        if contract.schema.raw_body in values:
            return RAW, bytes(contract.arguments_from_values(values)[contract.schema.raw_body])
        if contract.tensors:
            return SAFETENSORS, file_of_arguments(contract, values)
        if not contract.schema.files:
            return JSON, contract.json_of_arguments(values)
        checked = contract.arguments_from_values(values)
        parts: list[Part] = []
        for name in values:
            files = checked[name] if isinstance(checked[name], list) else [checked[name]]
            if (
                name in contract.schema.files
                and files
                and all(isinstance(one, bytes) for one in files)
            ):
                parts += [Part(name, one, filename=name, content_type=RAW) for one in files]
            else:
                parts.append(
                    Part(name, contract.json_of_argument(name, checked[name]), content_type=JSON)
                )
        return encode_multipart(parts)

    def accept(self, sent: str) -> str:
        """Return JSON, or a file of tensors where the answer has some."""
        return _TENSORS if self.contract.gives_tensors else JSON

    def value(self, answer: Answer) -> Any:
        """Return the answer as the declared type."""
        if _is_raw(answer):
            return answer.body
        if _kind(answer) == SAFETENSORS:
            return answer_of_file(self.contract, answer.body)
        return self.contract.answer_from_json(answer.body)

    def item(self, text: bytes) -> Any:
        """Return one item as the declared type."""
        return self.contract.answer_from_json(text)

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        names = list(self.contract.types)
        if len(args) > len(names):
            raise InvalidRequestError(
                f"`{self.contract.label}` takes {_counted(len(names))}, not {len(args)}",
                executed="no",
            )
        values = dict(zip(names, args, strict=False))
        twice = sorted(values.keys() & kwargs.keys())
        if twice:
            raise InvalidRequestError(
                f"`{self.contract.label}` got two values for `{twice[0]}`", executed="no"
            )
        return {**values, **kwargs}

    def _signature(self) -> str:
        types = self.contract.types
        given = ", ".join(f"{name}: {_type_name(kind)}" for name, kind in types.items())
        return f"{self.contract.label}({given})"


@dataclass(frozen=True, slots=True)
class UntypedFormat:
    """For an endpoint found by name: arguments by name, plain JSON values back."""

    label: str

    def request(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, bytes]:
        """Return JSON; a file of tensors where there are some; the bytes for a single `bytes`, or a form with more."""
        if len(args) == 1 and not kwargs and isinstance(args[0], bytes):
            return RAW, args[0]
        if args:
            raise InvalidRequestError(
                f"{self.label} was found by name: pass its arguments by name",
                executed="no",
                hint=f"write `.remote(name=…)`; `glowplug status {self.label}` shows the names",
            )
        if len(kwargs) == 1 and all(isinstance(value, bytes) for value in kwargs.values()):
            return RAW, next(iter(kwargs.values()))
        if library_in(kwargs) is not None:
            return SAFETENSORS, file_of_values(kwargs)
        if not any(isinstance(value, bytes) for value in kwargs.values()):
            return JSON, _to_json(kwargs)
        parts = [
            Part(name, value, filename=name, content_type=RAW)
            if isinstance(value, bytes)
            else Part(name, _to_json(value), content_type=JSON)
            for name, value in kwargs.items()
        ]
        return encode_multipart(parts)

    def accept(self, sent: str) -> str:
        """Return JSON; who sent tensors can read them as well."""
        return _TENSORS if sent == SAFETENSORS else JSON

    def value(self, answer: Answer) -> Any:
        """Return the answer's JSON, its bytes, or its tensors as arrays of numpy."""
        if _kind(answer) in _PIECES:
            raise CallError(
                f"{self.label} yields its answer in pieces",
                code="bad_response",
                executed="yes",
                hint="call `.stream(...)` (or `.astream(...)`) and go through the items",
            )
        if _kind(answer) == SAFETENSORS:
            return values_of_file(answer.body, "numpy")
        return answer.body if _is_raw(answer) else _from_json(answer.body)

    def item(self, text: bytes) -> Any:
        """Return the item's JSON."""
        return _from_json(text)


def _counted(number: int) -> str:
    return f"{number} argument" if number == 1 else f"{number} arguments"


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _type_name(get_args(annotation)[0])
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _is_raw(answer: Answer) -> bool:
    return _kind(answer) == RAW


_TENSORS = f"{SAFETENSORS}, {JSON}"
_PIECES = ("text/event-stream", "application/x-ndjson")


def _kind(answer: Answer) -> str:
    return answer.headers.get("content-type", JSON).partition(";")[0].strip().lower()


def _to_json(value: Any) -> bytes:
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return to_json(value, bytes_mode="base64", inf_nan_mode="strings")
    except PydanticSerializationError as error:
        raise InvalidRequestError(
            f"the arguments cannot be written as JSON: {error}",
            executed="no",
            hint="pass numbers, texts, lists, dicts, bytes, arrays, dataclasses or pydantic models",
        ) from None


def _from_json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CallError(
            f"the answer is not JSON: {error}", code="bad_response", executed="yes"
        ) from None
