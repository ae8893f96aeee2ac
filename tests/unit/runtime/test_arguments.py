"""Are arguments that are read without a model the ones that the model would give, and their refusals the same?"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from typing_extensions import TypeAliasType

from glowplug import endpoint
from glowplug.errors import InvalidRequestError
from glowplug.schema import Contract, invalid_request

Tree = TypeAliasType("Tree", "dict[str, Tree] | int")


class Node(BaseModel):
    """A type that contains itself."""

    name: str
    inner: "list[Node]" = []


@dataclass
class Box:
    """A type with a default of its own."""

    data: bytes = b""
    marks: list[int] = field(default_factory=list)


@endpoint
def plain(id: str, inputs: list[Any]) -> int:
    return 0


@endpoint
def odd_names(json: int, _x: int = 1, *, model_config: str = "a", copy: float | None = None) -> int:
    return 0


@endpoint
def nested(node: Node, box: Box = Box(), tree: Tree = 1) -> int:  # noqa: B008  # a default is what is tried
    return 0


@endpoint
def nothing() -> int:
    return 0


CONTRACTS = tuple(one.contract for one in (plain, odd_names, nested, nothing))
BODIES = (
    b"{}", b"[]", b"1", b"null", b"", b"{", b'{"id": "a", "inputs": [1, {"b": null}]}', b'{"id": 1, "inputs": {}}',
    b'{"id": "a", "inputs": [], "more": 1}', b'{"a_id": "a", "a_inputs": []}', b'{"json": 1}',
    b'{"json": "2", "_x": 3}',
    b'{"json": 1, "model_config": "b", "copy": NaN}', b'{"json": 1.5, "_x": null, "copy": "x"}',
    b'{"node": {"name": "a", "inner": [{"name": "b"}]}}', b'{"node": {"name": "a", "inner": [{"nam": "b"}]}}',
    b'{"node": {"name": "a"}, "box": {"data": "aGk=", "marks": [1]}, "tree": {"a": {"b": 1}}}',
    b'{"node": {"name": "a"}, "box": {"data": "?"}, "tree": {"a": "b"}}', b'{"json": 1, "json": 2}', b'{"\xff": 1}',
)  # fmt: skip


def _by_model(contract: Contract, body: bytes) -> Any:
    try:
        return contract._arguments(contract.model.model_validate_json(body))  # the long way
    except ValidationError as error:
        refusal = invalid_request(error)
        return refusal.code, refusal.message, refusal.errors


def _read(contract: Contract, body: bytes) -> Any:
    try:
        return contract.arguments_from_json(body)
    except InvalidRequestError as refusal:
        return refusal.code, refusal.message, refusal.errors


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda one: one.label)
@pytest.mark.parametrize("body", BODIES, ids=repr)
def test_arguments_and_refusals_are_those_of_the_model(contract: Contract, body: bytes) -> None:
    assert repr(_read(contract, body)) == repr(_by_model(contract, body))


@given(st.binary(max_size=40))
def test_any_bytes_are_read_as_the_model_reads_them(body: bytes) -> None:
    for contract in CONTRACTS:
        assert repr(_read(contract, body)) == repr(_by_model(contract, body))


def test_defaults_are_not_shared_between_calls() -> None:
    first = nested.contract.arguments_from_json(b'{"node": {"name": "a"}}')
    second = nested.contract.arguments_from_json(b'{"node": {"name": "a"}}')
    first["node"].inner.append(first["node"])
    first["id"] = 1
    assert second["node"].inner == []
    assert list(second) == ["node", "box", "tree"]
