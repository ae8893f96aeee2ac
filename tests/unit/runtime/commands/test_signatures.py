"""Does a schema read well, and does a first try fit it?"""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from glowplug import endpoint
from glowplug.codec import decode_request
from glowplug.commands.inputs import encode_inputs
from glowplug.commands.signatures import sample, signature
from glowplug.endpoints import DeclaredEndpoint


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: float
    y: float


class Order(BaseModel):
    items: list[Point] = Field(min_length=2)
    colour: Colour
    note: str | None


@endpoint
def plain(name: str, times: int = 1) -> str:
    return name * times


@endpoint
def nested(order: Order, mode: Literal["fast", "good"], sizes: dict[str, int]) -> list[Point]:
    return order.items


@endpoint
def bounded(
    age: Annotated[int, Field(gt=17)],
    share: Annotated[float, Field(ge=0.1, le=0.5)],
    code: Annotated[str, Field(min_length=6)],
) -> bool:
    return True


@endpoint
def raw(data: bytes) -> bytes:
    return data


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (plain, "(name: string, times: integer = 1) → string"),
        (nested, '(order: Order, mode: "fast" | "good", sizes: object) → list of Point'),
        (raw, "(data: bytes) → bytes"),
    ],
)
def test_a_schema_reads_as_a_signature(one: DeclaredEndpoint[..., Any], text: str) -> None:
    assert signature(one.contract.schema) == text


@pytest.mark.parametrize("one", [plain, nested, bounded])
def test_a_sample_fits_the_endpoint(one: DeclaredEndpoint[..., Any]) -> None:
    request = one.contract.schema.request

    decode_request(one.contract, *encode_inputs(sample(request, request)))


def test_a_type_that_holds_itself_does_not_go_on_for_ever() -> None:
    tree = {"$ref": "#/$defs/Tree"}
    root = {
        "$defs": {"Tree": {"type": "object", "properties": {"next": tree}, "required": ["next"]}}
    }

    assert sample(tree, root) is not None
