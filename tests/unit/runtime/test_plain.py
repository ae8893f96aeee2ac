"""Is an answer written without a second look only where pydantic, looking, would have found nothing?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import PlainSerializer, TypeAdapter
from pydantic_core import PydanticSerializationError

from glowplug.plain import plain_check


@dataclass
class Record:
    """Something that pydantic looks into."""

    name: str


TYPES: tuple[Any, ...] = (
    str, int, float, bool, bytes, Any, dict, dict[str, Any], dict[str, int], dict[int, Any],
    Mapping[str, Any], list, list[Any], list[int], str | None, Record,
    Annotated[str, PlainSerializer(str.upper)], dict[Annotated[str, PlainSerializer(str.upper)], Any],
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.just(Record("a")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=6,
)


def _written(write: Any, value: Any, **more: Any) -> bytes | None:
    try:
        return bytes(write(value, **more))
    except PydanticSerializationError:
        return None


@pytest.mark.parametrize("annotation", TYPES, ids=str)
@given(value=VALUES)
def test_what_is_plain_is_written_as_it_would_be_with_every_look(
    annotation: Any, value: Any
) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    write = adapter.serializer.to_json
    if plain_check(adapter.core_schema)(value):
        assert _written(write, value) == _written(write, value, warnings="error")


def test_nearly_all_answers_are_plain() -> None:
    for annotation, value in (
        (str, "a"),
        (bool, True),
        (dict[str, Any], {"a": [1, {2: 3}]}),
        (list[Any], [1, "a"]),
        (Any, {1: 2}),
    ):
        assert plain_check(TypeAdapter(annotation).core_schema)(value)


def test_what_might_be_noted_is_not_plain() -> None:
    cases: tuple[tuple[Any, Any], ...] = (
        (str, None),
        (int, True),
        (float, 1),
        (dict[str, Any], {1: 2}),
        (dict[str, Any], None),
        (dict[str, int], {"a": 1}),
        (list[int], [1]),
        (Any, None),
        (Record, Record("a")),
        (Annotated[str, PlainSerializer(str.upper)], "a"),
    )
    for annotation, value in cases:
        assert not plain_check(TypeAdapter(annotation).core_schema)(value)
