"""How does code that takes lists look to someone with one item? Types without their list, calls of one.

With `@endpoint(batch=Batch(…))` every parameter is a `list[T]` and the answer a `list[R]`, all of one length: entry i
of each belongs to call i. Outside (HTTP, schema, examples, the command line) there is one item only. A generator
yields lists with an entry for each item: None where it has nothing now, `END` where that item's stream is over.
"""

import inspect
import types
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from glowplug.errors import CallError, DefinitionError, InvalidRequestError


class _End(Enum):
    END = "end"

    def __repr__(self) -> str:
        return "glowplug.END"


END: Any = _End.END  # Any: so that `Iterator[list[str | None]]` is true of a list that holds it


def item_of(annotation: Any, what: str, *, streams: bool = False) -> Any:
    """Return T of `list[T]`; for what a generator yields, without the None that is no item."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is not list or len(arguments) != 1:
        kind = getattr(annotation, "__name__", None) or repr(annotation)
        raise DefinitionError(
            f"{what} is `{kind}`, and with batch=… it must be a list: one entry for each call",
            hint=f"write `list[{kind}]`, or leave out batch",
        )
    return _without_none(arguments[0], what) if streams else arguments[0]


def check_defaults(label: str, defaults: Mapping[str, Any]) -> None:
    """Refuse a default: a call that leaves the argument out would get a list for its one item."""
    for name, default in defaults.items():
        if default is not inspect.Parameter.empty:
            raise DefinitionError(
                f"`{label}`: `{name}` has a default, which would be a list where a call has one item",
                hint=f"leave it out, or write `{name}: list[T | None]` and have callers send null",
            )
    if not defaults:
        raise DefinitionError(
            f"`{label}` takes no arguments, so there is nothing to put into a batch",
            hint="leave out batch, or take a list: `def f(texts: list[str]) -> list[int]`",
        )


def columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[Any]]:
    """Return one list for each parameter, with an entry for each row."""
    return {name: [row[name] for row in rows] for name in names}


def rows_of(
    label: str, names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the arguments of one call for each entry of the lists."""
    signature = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    try:
        lists = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        wanted = ", ".join(f"{name}=[…]" for name in names)
        raise InvalidRequestError(
            f"`{label}`: {error}", executed="no", hint=f"write `.remote({wanted})`"
        ) from None
    for name, given in lists.items():
        if not isinstance(given, Sequence) or isinstance(given, str | bytes):
            raise InvalidRequestError(
                f"`{label}` takes lists: `{name}` is {type(given).__name__}",
                executed="no",
                hint=f"write `{name}=[…]`, with an entry for each call",
            )
    lengths = {name: len(given) for name, given in lists.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"`{name}` has {length}" for name, length in lengths.items())
        raise InvalidRequestError(
            f"`{label}` takes lists of one length: {said}",
            executed="no",
            hint="give each list an entry for each call",
        )
    count = next(iter(lengths.values()), 0)
    return [{name: given[at] for name, given in lists.items()} for at in range(count)]


def results_of(label: str, value: Any, count: int) -> list[Any]:
    """Return what the code gave for each item, or raise `bad_response` for a list of another length."""
    results = _as_list(value)
    if results is None:
        said = f"returned {type(value).__name__}"
    elif len(results) != count:
        said = f"returned {len(results)} results"
    else:
        return results
    raise CallError(
        f"`{label}` {said} for a batch of {count} calls",
        code="bad_response",
        hint="return a list with one entry for each entry of the lists it got, in their order",
        executed="yes",
    )


def singly(label: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the code as one that takes one item: it gets lists of one, and the entry of its answer comes back."""

    def call(**arguments: Any) -> Any:
        answer = function(**{name: [value] for name, value in arguments.items()})
        if inspect.isawaitable(answer):
            return _awaited(label, answer)
        if isinstance(answer, AsyncIterator):
            return _apieces(label, answer)
        if inspect.isgenerator(answer):
            return _pieces(label, answer)
        return only(label, answer)

    return call


def only(label: str, value: Any) -> Any:
    """Return the one entry, or raise what stands in its place."""
    (result,) = results_of(label, value, 1)
    if isinstance(result, Exception):
        raise result
    return result


async def _awaited(label: str, answer: Any) -> Any:
    return only(label, await answer)


def _pieces(label: str, steps: Any) -> Iterator[Any]:
    try:
        for step in steps:
            item = only(label, step)
            if item is END:
                return
            if item is not None:
                yield item
    finally:
        steps.close()


async def _apieces(label: str, steps: Any) -> AsyncIterator[Any]:
    try:
        async for step in steps:
            item = only(label, step)
            if item is END:
                return
            if item is not None:
                yield item
    finally:
        await steps.aclose()


def _as_list(value: Any) -> list[Any] | None:
    """Return the entries of a list, tuple or array; None for what has none, or has characters for entries."""
    if isinstance(value, list):
        return value
    if isinstance(value, str | bytes | bytearray | Mapping):
        return None
    try:
        return list(value)  # a tuple, a numpy array or tensor along its first axis
    except TypeError:
        return None


def _without_none(annotation: Any, what: str) -> Any:
    if annotation in (None, types.NoneType):
        raise DefinitionError(f"{what} never holds an item", hint="write `list[str | None]`")
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation
    left = [one for one in typing.get_args(annotation) if one is not types.NoneType]
    return typing.Union[tuple(left)]  # noqa: UP007  # a union of a list that is known only here
