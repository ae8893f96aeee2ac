"""What may go into an endpoint and come out of it? The typed signature, compiled to validators and JSON schema.

pydantic is imported here, on the first need, and nowhere at `import glowplug`. `bytes` are base64 in JSON, both ways;
not-a-number and infinities are the strings "NaN", "Infinity" and "-Infinity", since JSON has no numbers for them.
"""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter as InspectParameter
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from glowplug.arrays import Sink, Source, has_tensors, with_tensors
from glowplug.errors import CallError, DefinitionError, InvalidRequestError
from glowplug.plain import plain_check
from glowplug.signature import Shape, resolved_types
from glowplug.spec import Schema
from glowplug.stubs import stub_in

if TYPE_CHECKING:
    from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
    from pydantic_core import PydanticSerializationError

ERRORS_MAX = 32  # fields named in one answer
RAW = "application/octet-stream"
JSON = "application/json"
EVENTS = "text/event-stream"
MSGPACK = "application/msgpack"
SAFETENSORS = "application/safetensors"
T = TypeVar("T")


@dataclass(frozen=True)
class Contract:
    """The compiled signature of one endpoint."""

    label: str
    schema: Schema
    types: Mapping[str, Any]  # parameter -> type
    model: "type[BaseModel]"
    answer: "TypeAdapter[Any]"  # of the answer; of one item, for a stream
    yields_bytes: bool = False  # a stream of bytes may go out raw
    tensors: frozenset[str] = frozenset()  # parameters that hold some
    gives_tensors: bool = False

    def arguments_from_json(
        self, text: bytes | str, beside: Source | None = None
    ) -> dict[str, Any]:
        """Return the keyword arguments that a JSON object, and the tensors beside it, stand for."""
        try:
            if beside is None:
                return self._read_arguments(text)[0]
            model = self.model.model_validate_json(text, context=beside)
        except _validation_error() as error:
            raise invalid_request(error) from None
        return self._arguments(model)

    def arguments_from_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments that Python values stand for, converted where that loses nothing."""
        from pydantic import ValidationError

        try:
            return self._arguments(self.model.model_validate(dict(values)))
        except ValidationError as error:
            raise invalid_request(error) from None

    def json_of_arguments(self, values: Mapping[str, Any], sink: Sink | None = None) -> bytes:
        """Return the JSON object to send for these arguments, tensors in `sink`; those left out stay out."""
        from pydantic import ValidationError

        try:
            model = self.model.model_validate(dict(values))
        except ValidationError as error:
            raise invalid_request(error) from None
        return model.model_dump_json(
            by_alias=True, exclude_unset=True, warnings="none", context=sink
        ).encode()

    def json_of_argument(self, name: str, value: Any) -> bytes:
        """Return one argument as JSON."""
        return self.parameter(name).dump_json(value, warnings="none")

    def json_of_answer(self, value: Any, sink: Sink | None = None) -> bytes:
        """Return what the endpoint returned (or one item) as JSON, tensors in `sink`, or raise `bad_response`."""
        if self._is_plain(
            value
        ):  # nothing in it can be other than declared: pydantic need not look
            try:
                return self._write_answer(value)
            except _serialization_error():
                pass  # what is declared as anything may hold what is no JSON: that is said below
        return self._written(value, self._write_answer, sink)

    def values_of_answer(self, value: Any, sink: Sink) -> Any:
        """Return what the endpoint returned as Python values, bytes left as they are, or raise `bad_response`."""
        return self._written(value, self.answer.dump_python, sink)

    def _written(self, value: Any, write: Callable[..., T], sink: Sink | None) -> T:
        try:
            if (
                value is not None
            ):  # a forgotten return: pydantic would write null whatever was declared
                return write(value, warnings="error", context=sink)
        except _serialization_error():
            pass  # a tuple for a list, a numpy float for a float: convert as for a request, then try once more
        from pydantic_core import PydanticSerializationError, ValidationError

        try:
            return write(self.answer.validate_python(value), warnings="error", context=sink)
        except (PydanticSerializationError, ValidationError) as error:
            detail = f"`{self.label}` returned {_short(value)}, which is not what it declares: {_first_line(error)}"
            raise CallError(detail, code="bad_response", executed="yes") from None

    def answer_from_json(self, text: bytes, beside: Source | None = None) -> Any:
        """Return the value that an answer (or one item), and the tensors beside it, stand for."""
        from pydantic import ValidationError

        try:
            return self.answer.validate_json(text, context=beside)
        except ValidationError as error:
            detail = (
                f"the answer of `{self.label}` is not what it declares here: {_first_line(error)}"
            )
            raise CallError(
                detail, code="bad_response", hint="is another version deployed?", executed="yes"
            ) from None

    def parameter(self, name: str) -> "TypeAdapter[Any]":
        """Return the validator of one parameter."""
        if name not in self._parameters:
            self._parameters[name] = _adapter(self.types[name])
        return self._parameters[name]

    @cached_property
    def _parameters(self) -> "dict[str, TypeAdapter[Any]]":
        return {}

    def _arguments(self, model: "BaseModel") -> dict[str, Any]:
        values = model.__dict__
        return {name: values[field] for name, field in self._fields}

    # What every call needs is looked up once: pydantic's own wrappers cost as much as the work.

    @cached_property
    def takes_json(self) -> bool:
        """Say whether a JSON body is an object of arguments: not where the body is taken as it is, whatever it is."""
        return not self.schema.raw_body

    @cached_property
    def gives_json(self) -> bool:
        """Say whether the answer is JSON where its caller wants nothing else."""
        return self.schema.media_type == JSON

    @cached_property
    def _fields(self) -> tuple[tuple[str, str], ...]:
        # The fields are called a_<name>, so that a parameter may be called `json` or `_x`; the alias is its name.
        return tuple((name, f"a_{name}") for name in self.types)

    @cached_property
    def _read_arguments(self) -> Callable[[bytes | str], tuple[dict[str, Any], Any, Any]]:
        """Return a validator of the fields alone, under their own names: no model is made to be taken apart again."""
        from pydantic_core import SchemaValidator

        whole: Any = self.model.__pydantic_core_schema__
        shared = whole["type"] == "definitions"
        model = whole["schema"] if shared else whole
        fields: dict[str, Any] = dict(model["schema"])
        fields["fields"] = {
            name: fields["fields"][field] | {"validation_alias": name}
            for name, field in self._fields
        }
        schema: Any = whole | {"schema": fields} if shared else fields
        return SchemaValidator(schema, model["config"]).validate_json

    @cached_property
    def _is_plain(self) -> Callable[[Any], bool]:
        return plain_check(self.answer.core_schema)

    @cached_property
    def _write_answer(self) -> Callable[..., bytes]:
        write: Callable[..., bytes] = self.answer.serializer.to_json
        return write


def contract_of(shape: Shape) -> Contract | None:
    """Compile a signature; None while it mentions a name that its module defines further down."""
    resolved = resolved_types(shape)
    if resolved is None:
        return None
    given = {name: with_tensors(one) for name, one in resolved[0].items()}
    answer = with_tensors(resolved[1])
    for name, annotation in given.items():
        _refuse_stub(annotation, f"the parameter `{name}` of `{shape.label}`")
    _refuse_stub(answer, f"the answer of `{shape.label}`")
    model = _request_model(shape, given)
    adapter = _checked_adapter(answer, f"the answer of `{shape.label}`")
    return Contract(
        label=shape.label,
        schema=_schema(shape, given, answer, model, adapter),
        types=given,
        model=model,
        answer=adapter,
        yields_bytes=shape.streams and _is_exactly_bytes(answer),
        tensors=frozenset(name for name, one in given.items() if has_tensors(one)),
        gives_tensors=not shape.streams and has_tensors(answer),
    )


def _validation_error() -> "type[ValidationError]":
    """Return the class to catch; asked for only when something was raised, so that a good call pays no import."""
    from pydantic import ValidationError

    return ValidationError


def _serialization_error() -> "type[PydanticSerializationError]":
    from pydantic_core import PydanticSerializationError

    return PydanticSerializationError


def invalid_request(error: "ValidationError") -> InvalidRequestError:
    """Return the 400 or 422 for what pydantic found."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found and found[0]["type"] == "json_invalid":
        return InvalidRequestError(
            f"the body is not JSON: {found[0]['msg']}", code="invalid_json", executed="no"
        )
    fields = tuple(
        {"loc": list(one["loc"]), "msg": one["msg"], "type": one["type"]}
        for one in found[:ERRORS_MAX]
    )
    listed = "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in fields[:3]
    )
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    refusal = InvalidRequestError(f"{listed}{more}", executed="no")
    refusal.errors = fields
    return refusal


def takes_bytes(annotation: Any) -> bool:
    """Say whether a file may fill a parameter: `bytes`, or `bytes | None`."""
    plain = _without_none(annotation)
    return plain is bytes


def takes_many_bytes(annotation: Any) -> bool:
    """Say whether several files of one name may fill a parameter: `list[bytes]`."""
    plain = _without_none(annotation)
    return typing.get_origin(plain) is list and typing.get_args(plain) == (bytes,)


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) is Annotated:
        return _without_none(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        left = [one for one in typing.get_args(annotation) if one is not types.NoneType]
        return _without_none(left[0]) if len(left) == 1 else annotation
    return annotation


def _schema(
    shape: Shape,
    given: Mapping[str, Any],
    answer: Any,
    model: "type[BaseModel]",
    adapter: "TypeAdapter[Any]",
) -> Schema:
    raw = next(iter(given)) if len(given) == 1 and _is_exactly_bytes(*given.values()) else ""
    files = (
        ()
        if raw
        else tuple(name for name, one in given.items() if takes_bytes(one) or takes_many_bytes(one))
    )
    plain_media = RAW if _is_exactly_bytes(answer) else JSON
    try:
        request = model.model_json_schema(by_alias=True, mode="validation")
        answered = adapter.json_schema(mode="serialization")
    except Exception as error:  # a user's type may raise anything while it describes itself
        raise DefinitionError(
            f"`{shape.label}` has no JSON schema: {_first_line(error)}", hint=_TRAVELS
        ) from None
    return Schema(
        request=request,
        response=None if shape.streams else answered,
        raw_body=raw,
        files=files,
        streams=shape.streams,
        item=answered if shape.streams else None,
        media_type=EVENTS if shape.streams else plain_media,
    )


def _is_exactly_bytes(annotation: Any) -> bool:
    return (
        typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation
    ) is bytes


def _request_model(shape: Shape, given: Mapping[str, Any]) -> "type[BaseModel]":
    from pydantic import ConfigDict, Field, create_model

    fields: dict[str, Any] = {}
    for one in shape.parameters:
        _checked_adapter(given[one.name], f"the parameter `{one.name}` of `{shape.label}`")
        default = ... if one.default is InspectParameter.empty else one.default
        fields[f"a_{one.name}"] = (given[one.name], Field(default, alias=one.name, title=one.name))
    title = (
        "".join(part.capitalize() for part in shape.label.replace("-", "_").split("_")) + "Request"
    )
    config = ConfigDict(**_config(), extra="forbid", title=title, protected_namespaces=())
    return create_model(title, __config__=config, **fields)


def _config() -> "ConfigDict":
    return {"ser_json_bytes": "base64", "val_json_bytes": "base64", "ser_json_inf_nan": "strings"}


def _checked_adapter(annotation: Any, what: str) -> "TypeAdapter[Any]":
    from pydantic.errors import PydanticUserError

    try:
        return _adapter(annotation)
    except (PydanticUserError, TypeError) as error:
        raise DefinitionError(
            f"{what} cannot travel as JSON: {_first_line(error)}", hint=_TRAVELS
        ) from None


def _adapter(annotation: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter
    from typing_extensions import TypeAliasType

    # The alias is what lets a bare dataclass or TypedDict take our settings; pydantic refuses them otherwise.
    alias: Any = TypeAliasType("Value", annotation)
    return TypeAdapter(alias, config=_config())


_TRAVELS = (
    "use JSON types, bytes, arrays of numpy or torch, dataclasses, pydantic models, TypedDict, Enum, datetime, or lists"
    " and dicts of them; inside a dataclass an array is written Annotated[np.ndarray, Tensor()]"
)


def _refuse_stub(annotation: Any, what: str) -> None:
    path = stub_in(annotation)
    if path is not None and not has_tensors(annotation):
        module = path.partition(".")[0]
        raise DefinitionError(
            f"{what} is a `{path}`, which cannot travel as JSON ({module} is not installed here either)",
            hint=f"install {module} here as well, or take and return list[float], bytes or a dataclass",
        )


def _first_line(error: Exception) -> str:
    if hasattr(error, "errors"):  # of pydantic: its own first line says only how many there are
        return invalid_request(error).message  # type: ignore[arg-type]  # the class costs an import
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith("Pydantic serializer warnings")]
    return (
        useful[0].partition(". Set `arbitrary_types_allowed")[0] if useful else type(error).__name__
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
