"""What does a function or class take and give, and may it be an endpoint?"""

import inspect
import sys
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
)
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from glowplug.errors import DefinitionError
from glowplug.hooks import HookKind, hooks_of
from glowplug.lists import check_defaults, item_of
from glowplug.spec import Kind

_STREAMS: tuple[Any, ...] = (
    Iterator,
    Iterable,
    Generator,
    AsyncIterator,
    AsyncIterable,
    AsyncGenerator,
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of an endpoint; `default` is `inspect.Parameter.empty` where there is none."""

    name: str
    annotation: Any
    default: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A callable as an endpoint sees it."""

    label: str  # as people know it: "embed" or "Embed"
    module: str
    function: Any  # what runs: the function itself, or the class's __call__
    kind: Kind
    is_async: bool
    streams: bool
    parameters: tuple[Parameter, ...]
    hooks: tuple[HookKind, ...] = ()
    takes_lists: bool = False  # one entry for each of several calls


def shape_of(target: Any, *, takes_lists: bool = False) -> Shape:
    """Look at a decorated object and refuse what could never be called from elsewhere."""
    if not inspect.isclass(target) and not isinstance(target, FunctionType):
        raise DefinitionError(
            f"@endpoint stands above a function or a class, not {target!r}",
            hint="wrap it: def f(x: int) -> int: ...",
        )
    label = target.__qualname__
    _check_place(target)
    function = _call_method(target) if inspect.isclass(target) else target
    _check_constructor(target)
    found = list(inspect.signature(function).parameters.values())[
        1 if inspect.isclass(target) else 0 :
    ]
    for one in found:
        _check_parameter(label, one)
    if function.__annotations__.get("return", ...) is ...:
        raise DefinitionError(
            f"`{label}` does not say what it returns",
            hint="write `-> str`, `-> None`, `-> Iterator[str]` …",
        )
    generates = inspect.isgeneratorfunction(function)
    agenerates = inspect.isasyncgenfunction(function)
    return Shape(
        label=label,
        module=target.__module__,
        function=function,
        kind="class" if inspect.isclass(target) else "function",
        is_async=agenerates or inspect.iscoroutinefunction(function),
        streams=generates or agenerates,
        parameters=tuple(Parameter(one.name, one.annotation, one.default) for one in found),
        hooks=tuple(hooks_of(target)) if inspect.isclass(target) else (),
        takes_lists=takes_lists,
    )


def resolved_types(shape: Shape) -> tuple[dict[str, Any], Any] | None:
    """Return the types of the parameters and of the answer (of an item, for a stream); None while a name is unknown.

    Where the code takes lists, they are the types of one entry: those outside have one item.
    """
    try:
        hints = typing.get_type_hints(shape.function, include_extras=True)
    except NameError:
        return None
    given = {one.name: hints[one.name] for one in shape.parameters}
    returns = hints["return"]
    answer = _item_type(shape, returns) if shape.streams else returns
    return _of_one_item(shape, given, answer) if shape.takes_lists else (given, answer)


def source_file(module_name: str) -> Path | None:
    """Return the file a loaded module came from."""
    found = getattr(sys.modules.get(module_name), "__file__", None)
    return Path(found) if found else None


def importable_module(module_name: str) -> str:
    """Return the name under which a replica can import the module: a script run directly calls itself `__main__`."""
    path = source_file(module_name)
    return path.stem if module_name == "__main__" and path is not None else module_name


def _of_one_item(shape: Shape, given: dict[str, Any], answer: Any) -> tuple[dict[str, Any], Any]:
    label = shape.label
    check_defaults(label, {one.name: one.default for one in shape.parameters})
    items = {
        name: item_of(one, f"the parameter `{name}` of `{label}`") for name, one in given.items()
    }
    what = f"what `{label}` yields" if shape.streams else f"the answer of `{label}`"
    return items, item_of(answer, what, streams=shape.streams)


def _item_type(shape: Shape, returns: Any) -> Any:
    origin, arguments = typing.get_origin(returns), typing.get_args(returns)
    if origin in _STREAMS and arguments:
        return arguments[0]
    kind = "AsyncIterator" if shape.is_async else "Iterator"
    raise DefinitionError(
        f"`{shape.label}` yields, but says that it returns {returns!r}",
        hint=f"write `-> {kind}[str]`, with the type of one item",
    )


def _call_method(cls: type) -> Any:
    method = next(
        (vars(base)["__call__"] for base in cls.__mro__ if "__call__" in vars(base)), None
    )
    if not isinstance(method, FunctionType):
        raise DefinitionError(
            f"the class `{cls.__name__}` has no method `__call__`",
            hint="add `def __call__(self, x: int) -> int: ...`: it answers the calls",
        )
    return method


def _check_place(target: Any) -> None:
    if "." in target.__qualname__:
        name = target.__qualname__.rpartition(".")[2]
        raise DefinitionError(
            f"`{target.__qualname__}` is not at the top level of its module, so a replica could not import it",
            hint=f"move `{name}` to the top level of the file",
        )


def _check_constructor(target: Any) -> None:
    if not inspect.isclass(target) or target.__init__ is object.__init__:
        return
    needed = [
        one
        for one in inspect.signature(target).parameters.values()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if needed:
        raise DefinitionError(
            f"`{target.__name__}.__init__` needs `{needed[0].name}`, and a replica has nothing to give it",
            hint="give it a default, or read it from the environment in `@on.load`",
        )


def _check_parameter(label: str, one: inspect.Parameter) -> None:
    if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
        stars = "*" if one.kind is one.VAR_POSITIONAL else "**"
        raise DefinitionError(
            f"`{label}` takes `{stars}{one.name}`, which has no schema",
            hint="name each parameter, or take one `list` or `dict`",
        )
    if one.kind is one.POSITIONAL_ONLY:
        raise DefinitionError(
            f"`{label}`: `{one.name}` is positional-only and has no name in JSON",
            hint="remove the `/`",
        )
    if one.annotation is one.empty:
        raise DefinitionError(
            f"the parameter `{one.name}` of `{label}` has no annotation",
            hint=f"write `{one.name}: str`, or whatever it is",
        )
