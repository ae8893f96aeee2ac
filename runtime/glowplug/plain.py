"""Which answers need no second look? Those that cannot be other than declared, told from their type at a glance.

pydantic notes what does not fit a type while it writes, and to have that as an error costs more than the writing of a
small answer. What a check here lets through has nothing in it that could be noted; all else is looked at in full.
"""

from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]
_EXACT: Mapping[str, type[Any]] = {"str": str, "int": int, "float": float, "bool": bool}


def plain_check(schema: Any) -> Check:
    """Return what tells at a glance that a value fits a core schema; it may say no to one that does."""
    if "serialization" in schema:
        return _never
    kind = schema["type"]
    if kind in _EXACT:
        exact = _EXACT[kind]
        return lambda value: type(value) is exact
    if kind == "any":
        return _is_given
    if kind == "dict":
        return (
            _of_text
            if _holds(schema, "keys_schema", "str") and _any(schema, "values_schema")
            else _never
        )
    if kind == "list":
        return _is_list if _any(schema, "items_schema") else _never
    return _never


def _holds(schema: Any, part: str, kind: str) -> bool:
    inner = schema.get(part, {"type": "any"})
    return inner["type"] == kind and "serialization" not in inner


def _any(schema: Any, part: str) -> bool:
    return _holds(schema, part, "any")


def _never(_: Any) -> bool:
    return False


def _is_given(value: Any) -> bool:
    return value is not None  # a forgotten return


def _is_list(value: Any) -> bool:
    return type(value) is list


def _of_text(value: Any) -> bool:
    if type(value) is not dict:
        return False
    for key in value:  # noqa: SIM110  # a generator costs more than a small answer takes to write
        if type(key) is not str:
            return False
    return True
