"""How does an array of numpy or torch go into a call and come out of it? The pydantic side of tensors.

Neither library is imported before the user's own annotations, arguments or answers have brought it. An array that was
received is a read-only view of the body: `array.copy()` makes one that may be changed. JSON knows tensors as nested
lists (slow, and right), or as {"dtype", "shape", "data"} with base64.
"""

import base64
import binascii
import secrets
import sys
import types
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from glowplug.errors import DefinitionError
from glowplug.stubs import Stub, stub_in
from glowplug.suggest import did_you_mean
from glowplug.tensors import DIMENSIONS_MAX, ELEMENT_TYPES, RawTensor, is_possible, read_npy

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

Library = Literal["numpy", "torch"]
PLACE = "$tensor"  # in a document: {"$tensor": name} stands for the tensor of that name beside it
SCHEMA_KEY = "x-tensor"  # in a JSON schema: what is known of dtype and shape
_STUBS: dict[str, Library] = {
    "numpy.ndarray": "numpy",
    "numpy.typing.NDArray": "numpy",
    "torch.Tensor": "torch",
}
_DATA_KEYS = {"dtype", "shape", "data"}
_CLASSES: dict[tuple[str, str], Library] = {
    ("numpy", "ndarray"): "numpy",
    ("torch", "Tensor"): "torch",
}


class Source:
    """Tensors that came beside a document; remembers which of them the document asked for."""

    def __init__(self, tensors: Mapping[str, RawTensor]) -> None:
        self._tensors = tensors
        self._taken: set[str] = set()

    def take(self, name: str) -> RawTensor:
        """Return a tensor by name."""
        if name not in self._tensors:
            raise ValueError(f"there is no tensor {name[:80]!r} beside the document")
        self._taken.add(name)
        return self._tensors[name]

    @property
    def left(self) -> list[str]:
        """Return the names that nothing has asked for."""
        return [name for name in self._tensors if name not in self._taken]


class Sink:
    """Where tensors go while the document they belong to is written; `bare` writes them into it instead."""

    def __init__(self, *, bare: bool = False) -> None:
        self.tensors: dict[str, RawTensor] = {}
        self.bare = bare  # msgpack: {"dtype", "shape", "data"} with the bytes themselves
        self._mark = secrets.token_hex(8)  # so that no text of the user's is taken for ours

    def put(self, raw: RawTensor) -> dict[str, Any]:
        """Keep a tensor and return what stands for it."""
        if self.bare:
            return {"dtype": raw.dtype, "shape": raw.shape, "data": raw.data}
        name = f"{self._mark}.{len(self.tensors)}"
        self.tensors[name] = raw
        return {PLACE: name}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Say which arrays fit: `Annotated[np.ndarray, Tensor("float32", shape=(None, 3))]`; None is any length.

    A bare `np.ndarray`, `NDArray[np.float32]` or `torch.Tensor` needs none of this, except inside a dataclass.
    """

    dtype: str = ""
    shape: tuple[int | None, ...] | None = None

    def __post_init__(self) -> None:
        if self.dtype and self.dtype not in ELEMENT_TYPES:
            known = did_you_mean(self.dtype, ELEMENT_TYPES)
            raise DefinitionError(f"Tensor({self.dtype!r}): there is no such dtype; {known}")
        for side in self.shape or ():
            if side is not None and (
                isinstance(side, bool) or not isinstance(side, int) or side < 0
            ):
                raise DefinitionError(
                    f"Tensor(shape={self.shape!r}): {side!r} is no length",
                    hint="write a number, or None for any",
                )
        if len(self.shape or ()) > DIMENSIONS_MAX:
            raise DefinitionError(f"Tensor(shape=…): at most {DIMENSIONS_MAX} dimensions")

    def __get_pydantic_core_schema__(
        self, source: Any, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        """Return how pydantic reads and writes such a tensor."""
        from pydantic_core import core_schema

        library = library_of(source)
        if library is None:
            raise DefinitionError(
                f"Tensor(…) stands beside {source!r}, which is no array",
                hint="write Annotated[np.ndarray, Tensor(…)] or Annotated[torch.Tensor, Tensor(…)]",
            )
        fits = Fits(library, self.dtype or _dtype_of(source), self.shape)
        return core_schema.with_info_plain_validator_function(
            fits.read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                fits.write, info_arg=True, when_used="always"
            ),
            metadata={"pydantic_js_functions": [fits.json_schema]},
        )


@dataclass(frozen=True, slots=True)
class Fits:
    """What one parameter or answer takes for a tensor."""

    library: Library
    dtype: str
    shape: tuple[int | None, ...] | None

    def read(self, value: Any, info: Any) -> Any:
        """Return the array that a value stands for; raise ValueError for what is none, or does not fit."""
        raw = _raw_in(value, info.context)
        if raw is not None:
            self._check(raw.dtype, raw.shape)
            return array_of(raw, self.library)
        value = _unscaled(value)
        if library_of(type(value)) is None:
            value = _from_lists(value, self.dtype, self.library)
        self._check(dtype_name(value), tuple(value.shape))
        return (
            value
            if library_of(type(value)) == self.library
            else array_of(raw_of(value), self.library)
        )

    def write(self, value: Any, info: Any) -> Any:
        """Return what stands for an array in a document; raise ValueError for what is no array that fits."""
        value = _unscaled(value)
        if library_of(type(value)) is None:
            raise ValueError(f"{type(value).__name__} is no array")
        self._check(dtype_name(value), tuple(value.shape))
        if isinstance(info.context, Sink):
            return info.context.put(raw_of(value))
        if value.dtype in _unlistable():
            raise ValueError("complex numbers travel as safetensors, not as JSON")
        return value.tolist()

    def json_schema(self, _: Any, handler: "GetJsonSchemaHandler") -> dict[str, Any]:
        """Return the JSON schema: nested lists, with dtype and shape beside them."""
        sizes = None if self.shape is None else list(self.shape)
        known = {"dtype": self.dtype or None, "shape": sizes}
        sides = ", ".join("n" if side is None else str(side) for side in self.shape or ())
        shape = "any shape" if self.shape is None else f"shape ({sides})"
        return {
            "type": "array",
            "items": {},
            "description": f"A tensor of {self.dtype or 'any dtype'}, {shape}; nested lists in JSON.",
            SCHEMA_KEY: {key: value for key, value in known.items() if value is not None},
        }

    def _check(self, dtype: str, shape: tuple[int, ...]) -> None:
        if self.dtype and dtype != self.dtype:
            raise ValueError(
                f"it is {dtype}, and {self.dtype} is declared: .astype({self.dtype!r}) converts"
            )
        if self.shape is None:
            return
        same = len(shape) == len(self.shape) and all(
            wanted is None or side == wanted for side, wanted in zip(shape, self.shape, strict=True)
        )
        if not same:
            wanted = tuple("any" if side is None else side for side in self.shape)
            raise ValueError(f"its shape is {shape}, and {wanted} is declared")


def library_of(kind: Any) -> Library | None:
    """Return the library whose array a class or an annotation is, without importing either."""
    if isinstance(kind, Stub):  # a file that is only read here, to be deployed
        return _STUBS.get((stub_in(kind) or "").partition("[")[0])
    plain = typing.get_origin(kind) or kind
    for one in getattr(plain, "__mro__", ()):
        top = one.__module__.partition(".")[0]
        if (top, one.__name__) in _CLASSES:
            return _CLASSES[top, one.__name__]
    return None


def with_tensors(annotation: Any) -> Any:
    """Return an annotation whose bare arrays are marked as tensors, wherever they stand in it."""
    if library_of(annotation) is not None:
        return Annotated[annotation, Tensor()]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        inner, *marks = arguments
        has_tensor = any(isinstance(mark, Tensor) for mark in marks)
        return annotation if has_tensor else Annotated[(with_tensors(inner), *marks)]
    if not arguments or origin is Literal:
        return annotation
    inside = tuple(with_tensors(one) for one in arguments)
    if all(new is old for new, old in zip(inside, arguments, strict=True)):
        return annotation
    return typing.Union[inside] if origin in (typing.Union, types.UnionType) else origin[inside]  # noqa: UP007  # of a tuple


def has_tensors(annotation: Any) -> bool:
    """Say whether a marked annotation holds tensors."""
    marks = getattr(annotation, "__metadata__", ())
    return any(isinstance(mark, Tensor) for mark in marks) or any(
        has_tensors(one) for one in typing.get_args(annotation)
    )


def dtype_name(array: Any) -> str:
    """Return the name of an array's element type; raise ValueError for one that cannot travel."""
    name = str(array.dtype).removeprefix("torch.")
    if name not in ELEMENT_TYPES:
        # numpy writes the byte order into the name of a foreign one: >f4.
        name = (
            str(getattr(array.dtype.newbyteorder("="), "name", name)) if name[:1] in "<>" else name
        )
    if name not in ELEMENT_TYPES:
        raise ValueError(f"arrays of {name} cannot travel: use one of {', '.join(ELEMENT_TYPES)}")
    return name


def raw_of(array: Any) -> RawTensor:
    """Return an array's bytes, copied only where they do not lie row after row in memory."""
    dtype, shape = dtype_name(array), tuple(array.shape)
    if library_of(type(array)) == "torch":
        return RawTensor(dtype, shape, _torch_bytes(array))
    import numpy as np

    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return RawTensor(dtype, shape, plain.reshape(-1).view(np.uint8).data)


def array_of(raw: RawTensor, library: Library) -> Any:
    """Return a view of received bytes as an array."""
    if library == "torch":
        torch = sys.modules["torch"]  # whoever asks for its tensors has imported it
        kind = getattr(torch, raw.dtype)
        if not raw.size_bytes:
            return torch.empty(raw.shape, dtype=kind)
        with warnings.catch_warnings():
            # The body is nobody else's: writing into it would change this tensor and nothing more.
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            return torch.frombuffer(raw.data, dtype=kind).reshape(raw.shape)
    import numpy as np

    try:
        kind = np.dtype(raw.dtype)
    except TypeError:
        raise ValueError(
            f"numpy has no {raw.dtype}: take a torch.Tensor, or send float32"
        ) from None
    return np.frombuffer(raw.data, dtype=kind.newbyteorder("<")).reshape(raw.shape)


def _unscaled(value: Any) -> Any:
    """Return numpy's scalars, which its arithmetic makes of arrays without sides, as such arrays again."""
    numpy = sys.modules.get("numpy")
    return value if numpy is None or not isinstance(value, numpy.generic) else numpy.asarray(value)


def _torch_bytes(tensor: Any) -> memoryview:
    torch = sys.modules["torch"]
    plain = tensor.detach().cpu().resolve_conj().contiguous().reshape(-1)
    if not plain.numel():
        return memoryview(b"")
    return memoryview(plain.view(torch.uint8).numpy())


def _raw_in(value: Any, source: Any) -> RawTensor | None:
    """Return the tensor that a value holds as bytes: the bytes of a .npy file, or a mapping; None for other values."""
    if isinstance(value, bytes):
        return read_npy(value)
    return _from_mapping(value, source) if isinstance(value, Mapping) else None


def _from_mapping(value: Mapping[str, Any], source: Any) -> RawTensor:
    if isinstance(source, Source) and value.keys() == {PLACE} and isinstance(value[PLACE], str):
        return source.take(value[PLACE])
    if value.keys() != _DATA_KEYS:
        raise ValueError("a tensor is nested lists, or an object with dtype, shape and data")
    dtype, shape = value["dtype"], value["shape"]
    if not isinstance(dtype, str) or dtype not in ELEMENT_TYPES:
        raise ValueError(f"dtype {str(dtype)[:40]!r} is none of {', '.join(ELEMENT_TYPES)}")
    is_list = isinstance(shape, list | tuple) and all(type(side) is int for side in shape)
    if not is_list or not is_possible(shape):
        raise ValueError("shape is no list of lengths")
    raw = RawTensor(dtype, tuple(shape), _from_base64(value["data"]))
    if raw.size_bytes != len(raw.data):
        raise ValueError(f"data has {len(raw.data)} bytes, dtype and shape need {raw.size_bytes}")
    return raw


def _from_base64(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise ValueError("data is neither base64 nor bytes") from None


def _from_lists(value: Any, dtype: str, library: Library) -> Any:
    """Return the array of nested lists, refusing what the declared element type cannot hold."""
    if not isinstance(value, list | tuple | int | float):
        raise ValueError("a tensor is nested lists of numbers")  # noqa: TRY004  # what pydantic takes for a misfit
    try:
        return _torch_lists(value, dtype) if library == "torch" else _numpy_lists(value, dtype)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"these lists are no tensor: {error}") from None


def _torch_lists(value: Any, dtype: str) -> Any:
    torch = sys.modules["torch"]
    return torch.tensor(value, dtype=getattr(torch, dtype) if dtype else None)


def _numpy_lists(value: Any, dtype: str) -> Any:
    import numpy as np

    found = np.asarray(value)
    if found.dtype.kind in "US":  # "NaN" and "Infinity", which JSON has no numbers for
        found = np.asarray(value, dtype=np.float64)
    if not dtype or found.dtype == dtype:
        return found
    cast = found.astype(dtype)
    if cast.dtype.kind in "biu" and not np.array_equal(cast, found):
        raise ValueError(f"{dtype} cannot hold these numbers")
    return cast


def _dtype_of(annotation: Any) -> str:
    """Return the element type that `NDArray[np.float32]` names."""
    arguments = typing.get_args(annotation)
    scalars = typing.get_args(arguments[1]) if len(arguments) == 2 else ()
    name = getattr(scalars[0], "__name__", "") if scalars else ""
    name = "bool" if name == "bool_" else name
    return name if name in ELEMENT_TYPES else ""


def _unlistable() -> tuple[Any, ...]:
    found = []
    if "numpy" in sys.modules:
        found.append(sys.modules["numpy"].dtype("complex64"))
    if "torch" in sys.modules:
        found.append(sys.modules["torch"].complex64)
    return tuple(found)
