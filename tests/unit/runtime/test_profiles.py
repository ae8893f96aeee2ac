"""Are the places one works with kept, safely, and found again?"""

from pathlib import Path

import pytest

from glowplug.errors import ConfigError
from glowplug.profiles import Place, Profiles, load, save

BOX = Place("https://box.example.org", "gp_1")


def test_what_was_saved_is_read_back_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "new" / "profiles.json"
    known = Profiles().with_place("local", Place("http://127.0.0.1:1", "k")).with_place("box", BOX)

    save(known, file)

    assert load(file) == known
    assert file.stat().st_mode & 0o077 == 0
    assert [one.name for one in file.parent.iterdir()] == ["profiles.json"]


def test_a_file_that_is_not_there_knows_no_place(tmp_path: Path) -> None:
    assert load(tmp_path / "none.json") == Profiles()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"profiles": 3}', '{"profiles": {"a": {}}}', '"x"']
)
def test_a_damaged_file_is_named_with_the_command_that_moves_it_away(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "profiles.json"
    file.write_text(text)

    with pytest.raises(ConfigError, match=r"profiles\.json cannot be read") as caught:
        load(file)

    assert f"mv {file} {file}.bad" in caught.value.hint


def test_the_first_place_becomes_the_current_one_and_stays_it() -> None:
    known = Profiles().with_place("local", BOX).with_place("box", BOX)

    assert known.current == "local"
    assert known.with_current("box").current == "box"


def test_without_its_place_no_place_is_current() -> None:
    known = Profiles().with_place("local", BOX).with_place("box", BOX)

    assert known.without("box").current == "local"
    assert known.without("local").current == ""
    assert list(known.without("local").places) == ["box"]


def test_a_mistyped_place_is_met_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match="no profile `bxo`") as caught:
        Profiles().with_place("box", BOX).get("bxo")

    assert caught.value.hint == "did you mean `box`?"


def test_an_unknown_place_is_met_with_those_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        Profiles().with_place("box", BOX).get("prod")

    assert "you know `box`" in caught.value.hint


def test_where_there_are_none_the_first_step_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        Profiles().get("prod")

    assert "`glowplug up --detach`" in caught.value.hint


def test_a_key_is_not_shown_where_a_place_is_printed() -> None:
    assert "gp_1" not in repr(Profiles().with_place("box", BOX))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot write"):
        save(Profiles(), tmp_path / "file" / "profiles.json")


def test_the_router_of_dev_never_becomes_the_current_one_by_itself() -> None:
    known = Profiles().with_dev(BOX)

    assert known.places == {"dev": BOX}
    assert known.current == ""
    assert known.with_place("local", BOX).current == "local"
