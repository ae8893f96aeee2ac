"""Can every verb be found, also when it is mistyped or its packages are missing?"""

import json

import click
import pytest
from click.testing import CliRunner

from glowplug.cli import SECTIONS, VERBS, MissingExtraError, Verb, cli, load, main


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(words)
    said = capsys.readouterr()
    return int(str(caught.value.code)), said.out, said.err


def test_help_lists_every_verb_and_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, "--help")

    assert code == 0
    assert all(f"  {name} " in out for name in VERBS)
    assert all(f"{title}:" in out for title in SECTIONS)
    assert max(map(len, out.splitlines())) <= 80


def test_no_words_at_all_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys)[0] == 0


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_loads_and_takes_json_itself_or_in_its_own_verbs(name: str) -> None:
    command = load(name, VERBS[name])
    verbs = command.commands.values() if isinstance(command, click.Group) else [command]

    for one in verbs:
        assert "as_json" in {parameter.name for parameter in one.params}
        assert one.help


@pytest.mark.parametrize("name", VERBS)
def test_the_summary_of_a_verb_is_the_start_of_its_help(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"])

    assert shown.exit_code == 0
    assert max(map(len, shown.output.splitlines())) <= 80


def test_a_mistyped_verb_is_met_with_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = answer(capsys, "depoly", "app.py")

    assert (code, out) == (2, "")
    assert "there is no verb `depoly`\n  did you mean `deploy`?" in err


def test_a_verb_like_no_other_is_met_with_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert "`glowplug --help` lists them" in answer(capsys, "xyzzy")[2]


def test_a_wrong_option_names_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = answer(capsys, "deploy", "--mesage", "x", "app.py")

    assert code == 2
    assert "--message" in err


@pytest.mark.parametrize(
    "words",
    [
        ("depoly",),
        ("deploy",),
        ("deploy", "--rof"),
        ("keys", "lst"),
        ("call", "a/b", "--priority", "x"),
    ],
)
def test_usage_errors_are_one_document_with_json(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    code, out, err = answer(capsys, *words, "--json")

    error = json.loads(out)["error"]
    assert (code, err, error["code"]) == (2, "", "usage")
    assert error["message"]
    assert error["hint"]


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    with pytest.raises(MissingExtraError) as caught:
        load("up", Verb("nosuchpackage.commands", "local", ""))

    assert caught.value.exit_code == 1
    assert "`glowplug up` needs the module nosuchpackage" in caught.value.format_message()
    assert "pip install 'glowplug[local]'" in caught.value.format_message()


def test_a_missing_part_of_our_own_is_not_blamed_on_an_extra() -> None:
    with pytest.raises(ModuleNotFoundError):
        load("up", Verb("glowplug.nosuchmodule", "local", ""))


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, "--version")

    assert code == 0
    assert out.startswith("glowplug 0.")


def test_a_usage_error_begins_as_every_error_does(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = answer(capsys, "deploy")

    assert "\nerror: Missing argument" in err
    assert "`glowplug deploy --help`" in err
