"""Does a verb say the same to people and to programs, each in its place?"""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.commands.answers import TENSORS, save, show_items
from glowplug.commands.output import Output, ago, error_record, lasted, verb, with_v, wrapped
from glowplug.errors import (
    ConfigError,
    GlowplugError,
    InvalidRequestError,
    RemoteError,
    UnavailableError,
    call_error,
)
from glowplug.tensor_bodies import file_of_values


def run(error: BaseException | None, *words: str) -> Result:
    @click.command()
    @verb
    def example(out: Output) -> None:
        out.note("working")
        if error is not None:
            raise error
        out.say("done")
        out.result({"done": True})

    return CliRunner().invoke(example, words)


def test_people_get_the_answer_on_stdout_and_progress_on_stderr() -> None:
    result = run(None)

    assert (result.stdout, result.stderr, result.exit_code) == ("done\n", "working\n", 0)


def test_programs_get_one_document_and_nothing_else() -> None:
    result = run(None, "--json")

    assert (json.loads(result.stdout), result.stderr, result.exit_code) == ({"done": True}, "", 0)


def test_an_error_names_the_cause_and_the_next_command_on_stderr() -> None:
    result = run(ConfigError("the key is wrong", hint="glowplug keys list"))

    assert result.stdout == ""
    assert result.stderr == "working\nerror: the key is wrong\n  glowplug keys list\n"
    assert result.exit_code == 1


def test_an_error_is_one_document_for_programs() -> None:
    error = call_error("overloaded", "no room", executed="no", request_id="r1")

    result = run(error, "--json")

    assert json.loads(result.stdout) == {
        "error": {
            "code": "overloaded",
            "message": "no room",
            "hint": error.hint,
            "executed": "no",
            "request_id": "r1",
            "retryable": True,
            "status": 429,
        }
    }
    assert (result.stderr, result.exit_code) == ("", 1)


def test_the_traceback_of_an_endpoint_is_shown_below_its_message() -> None:
    error = RemoteError(
        "it raised", remote_traceback="Traceback …\nValueError: x\n", request_id="r1"
    )

    result = run(error)

    assert "error: it raised\nTraceback …\nValueError: x\n" in result.stderr
    assert error_record(error)["traceback"].endswith("ValueError: x\n")


def test_fields_that_do_not_fit_are_in_the_document() -> None:
    error = InvalidRequestError("x: Field required", code="invalid_request")
    error.errors = ({"loc": ["x"], "msg": "Field required"},)

    assert error_record(error)["errors"] == [{"loc": ["x"], "msg": "Field required"}]


def test_a_router_that_never_answered_gave_no_status() -> None:
    error = UnavailableError("no router", code="unreachable", executed="no")

    assert "status" not in error_record(error)


def test_ctrl_c_ends_with_130() -> None:
    result = run(KeyboardInterrupt())

    assert result.exit_code == 130
    assert "interrupted" in result.stderr


def test_a_reader_that_went_away_is_no_error() -> None:
    assert run(BrokenPipeError()).exit_code == 0


def test_a_bug_of_ours_is_not_hidden() -> None:
    assert isinstance(run(ZeroDivisionError()).exception, ZeroDivisionError)


def test_every_error_of_ours_has_a_record() -> None:
    def kinds(kind: type[GlowplugError]) -> list[type[GlowplugError]]:
        return [kind, *(one for sub in kind.__subclasses__() for one in kinds(sub))]

    for kind in kinds(GlowplugError):
        assert {"code", "message", "hint"} <= error_record(kind("it broke")).keys()


@pytest.mark.parametrize(
    ("ns", "said"),
    [(0, "0 s"), (59 * SECOND, "59 s"), (MINUTE, "1 m"), (119 * MINUTE, "1 h"), (50 * HOUR, "2 d")],
)
def test_an_age_is_told_in_its_largest_unit(ns: int, said: str) -> None:
    assert lasted(ns // SECOND) == said
    assert ago(0, ns) == f"{said} ago"


def test_a_clock_behind_ours_gives_no_negative_age() -> None:
    assert ago(10 * SECOND, 0) == "0 s ago"


def test_long_text_goes_on_below_its_start() -> None:
    lines = wrapped("word " * 40, 10).splitlines()

    assert len(lines) > 1
    assert all(line.startswith(" " * 10) for line in lines[1:])


def test_versions_are_shown_as_they_are_typed() -> None:
    assert with_v("hello/m@1: no room; a/b@12, x@3") == "hello/m@v1: no room; a/b@v12, x@3"
    assert with_v("hello/m@v1 and ada@example.org/1") == "hello/m@v1 and ada@example.org/1"


def test_texts_of_a_stream_run_on_and_all_else_has_its_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_items(Output(as_json=False), [b'"a "', b'"b"', b"3", b'"c"'], as_events=False)

    assert capsys.readouterr().out == "a b\n3\nc\n"


def test_an_error_in_the_middle_of_a_stream_begins_on_its_own_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def items() -> Iterator[bytes]:
        yield b'"half a"'
        raise RemoteError("boom")

    with pytest.raises(RemoteError):
        show_items(Output(as_json=False), items(), as_events=False)

    assert capsys.readouterr().out == "half a\n"


def test_an_answer_that_is_one_array_is_kept_as_npy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.npy"
    body = file_of_values({"output": np.arange(6, dtype="int32").reshape(2, 3)})

    save(Output(as_json=False), file, [body[:9], body[9:]], {}, TENSORS)

    assert np.load(file).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("kind", "body", "right"),
    [
        ("application/json; charset=utf-8", b"[1]", "x.json"),
        (TENSORS, file_of_values({"a": np.ones(1), "b": np.ones(1)}), "x.safetensors"),
    ],
)
def test_an_answer_in_another_form_than_its_file_says_is_kept_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, body: bytes, right: str
) -> None:
    file = tmp_path / "x.npy"

    save(Output(as_json=False), file, [body], {}, kind)

    assert file.read_bytes() == body
    assert f"`mv {file} {tmp_path / right}`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "kind"), [("x.npy", "application/octet-stream"), ("x.txt", TENSORS)]
)
def test_bytes_are_kept_as_they_are_under_any_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    save(Output(as_json=False), tmp_path / name, [b"abc"], {}, kind)

    assert (tmp_path / name).read_bytes() == b"abc"
    assert capsys.readouterr().err == ""
