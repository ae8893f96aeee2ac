"""Does a user's exception come back as itself, and never as more than that?"""

import json
import sys
from typing import Any

import pytest

from glowplug.codec import problem
from glowplug.errors import CallError, InvalidRequestError, OverloadedError, RemoteError
from glowplug.remote_errors import (
    error_from_answer,
    error_from_problem,
    exception_fields,
    users_own,
)


class TooLongError(ValueError):
    def __init__(self, limit: int, text: str) -> None:
        super().__init__(limit, text)
        self.limit = limit


class Picky(Exception):  # noqa: N818  # a user's name
    def __init__(self) -> None:
        super().__init__("has arguments, takes none")


class Stuck(Exception):  # noqa: N818  # a user's name
    def __init__(self, why: str) -> None:
        super().__init__(f"stuck: {why}")


def raised(error: BaseException) -> dict[str, Any]:
    def answer() -> None:
        raise error

    try:
        answer()
    except BaseException as caught:
        return exception_fields(caught)
    raise AssertionError


def crossed(fields: dict[str, Any]) -> Exception:
    """Send an exception over the wire and take it in again."""
    body = problem("endpoint_error", "it failed", request_id="r1", executed="yes", exception=fields)
    return users_own(error_from_problem(json.loads(body), {}), sys.modules[__name__])


def test_a_users_exception_comes_back_as_itself_with_the_remote_frames() -> None:
    back = crossed(raised(TooLongError(3, "four")))

    assert isinstance(back, TooLongError)
    assert back.limit == 3
    assert "in answer" in back.__notes__[0]
    assert "request r1" in back.__notes__[0]
    assert back.__cause__ is None


@pytest.mark.parametrize("error", [Picky(), Stuck("in the mud")], ids=repr)
def test_a_class_that_takes_other_arguments_than_it_passes_on_says_the_same(
    error: Exception,
) -> None:
    back = crossed(raised(error))

    assert type(back) is type(error)
    assert str(back) == str(error)


def test_a_builtin_exception_comes_back_as_itself() -> None:
    back = crossed(raised(KeyError("k")))

    assert type(back) is KeyError
    assert back.args == ("k",)


@pytest.mark.parametrize(
    "fields",
    [
        {"module": "not_loaded_here", "qualname": "Oops", "args": []},
        {"module": "builtins", "qualname": "SystemExit", "args": [3]},
        {"module": "builtins", "qualname": "KeyboardInterrupt", "args": []},
        {"module": "builtins", "qualname": "StopIteration", "args": []},
        {"module": "builtins", "qualname": "eval", "args": ["1/0"]},
        {"module": "subprocess", "qualname": "Popen", "args": ["true"]},
        {"module": "glowplug.errors", "qualname": "OverloadedError", "args": ["x"]},
        {"module": __name__, "qualname": "raised.__code__", "args": []},
        {"module": __name__, "qualname": "Nothing.Here", "args": []},
        {"module": 3, "qualname": None, "args": "x"},
        {},
    ],
)
def test_what_is_not_an_exception_class_loaded_here_stays_a_remote_error(
    fields: dict[str, Any],
) -> None:
    before = set(sys.modules)
    back = crossed(fields)

    assert type(back) is RemoteError
    assert set(sys.modules) == before


def test_the_endpoints_file_may_have_another_name_here() -> None:
    fields = raised(TooLongError(3, "x")) | {"module": "test_remote_errors"}

    assert isinstance(crossed(fields), TooLongError)


def test_arguments_that_are_no_json_become_text() -> None:
    assert raised(ValueError(object(), 1))["args"][0].startswith("(<object")
    assert raised(ValueError(float("nan")))["args"] == ["nan"]
    assert len(raised(ValueError("x" * 10**6))["args"][0]) <= 16 * 1024


def test_a_traceback_is_cut_at_its_start() -> None:
    text = raised(ValueError("x" * 10**6 + "end"))["traceback"]

    assert len(text) < 40_000
    assert "end" in text


def test_a_problem_becomes_the_class_that_callers_catch() -> None:
    body = problem("overloaded", "no room", request_id="r", executed="no", retry_after_s=3)
    error = error_from_answer(429, {}, body)

    assert isinstance(error, OverloadedError)
    assert (error.retry_after_s, error.executed, error.request_id) == (3.0, "no", "r")


def test_refused_fields_reach_the_caller() -> None:
    body = problem(
        "invalid_request",
        "x: missing",
        errors=[{"loc": ["x"], "msg": "missing", "type": "missing"}],
    )
    error = error_from_answer(422, {}, body)

    assert isinstance(error, InvalidRequestError)
    assert error.errors[0]["loc"] == ["x"]


@pytest.mark.parametrize("body", [b"<html>bad gateway", b"", b"[]", b"\xff", b'{"error": 1}'])
def test_a_proxys_answer_is_an_error_too_and_may_have_run(body: bytes) -> None:
    error = error_from_answer(
        502, {"x-request-id": "p", "retry-after": "Fri, 1 Jan 2027 00:00:00 GMT"}, body
    )

    assert isinstance(error, CallError)
    assert (error.code, error.executed, error.request_id, error.retry_after_s) == (
        "unavailable",
        "maybe",
        "p",
        None,
    )


def test_the_hint_of_a_failed_call_carries_its_id() -> None:
    document = json.loads(problem("endpoint_error", "it failed", request_id="r1"))
    error = error_from_problem(document, {})

    assert document["hint"] == "`glowplug logs r1` shows the traceback"
    assert error.hint == "`glowplug logs r1` shows the traceback"
