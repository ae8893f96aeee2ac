"""Does the example of batches do what its page says?"""

from pathlib import Path
from typing import Any

import pytest

from glowplug import END
from glowplug.lists import singly

COLOURS = Path(__file__).parents[2] / "examples" / "colours"


@pytest.fixture(scope="module")
def colours() -> dict[str, Any]:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("example_colours", COLOURS / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def test_a_batch_of_colours_is_named_in_order(colours: dict[str, Any]) -> None:
    assert colours["name_of"](["#1e90ff", "#fefefe", "#ff0102"]) == ["teal", "white", "red"]


def test_a_call_outside_has_one_colour(colours: dict[str, Any]) -> None:
    name_of = colours["name_of"]

    assert name_of.spec.schema.request["properties"]["colours"]["type"] == "string"
    assert name_of.spec.schema.response["type"] == "string"
    assert singly("name-of", name_of)(colours="#000010") == "black"


def test_what_is_no_colour_is_an_error_of_its_own(colours: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        singly("name-of", colours["name_of"])(colours="#1e90xy")


def test_each_colour_fades_in_its_own_number_of_steps(colours: dict[str, Any]) -> None:
    fade = colours["fade"]

    assert list(singly("fade", fade)(colours="#204060", steps=3)) == [
        "#152a40",
        "#0a1520",
        "#000000",
    ]
    together = list(fade(["#204060", "#ffffff"], [3, 1]))
    assert [step[0] for step in together] == ["#152a40", "#0a1520", "#000000"]
    assert [step[1] for step in together] == ["#000000", END, END]
