"""How does a user's exception cross the wire and come back as itself? As JSON, never as a pickle.

Out: `exception_fields` says what was raised. Back: `users_own` makes it again, but only from a class that is already
loaded here: an answer must not be able to import code.
"""

import builtins
import importlib
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from glowplug.errors import CallError, Executed, InvalidRequestError, RemoteError, call_error

TRACEBACK_MAX = 32 * 1024  # characters; the end of a traceback says most, so the start is cut
ARGUMENTS_MAX = 16 * 1024  # characters of JSON; longer arguments become one line of text
_OURS = str(Path(__file__).parent)
_FOREIGN = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    408: "request_timeout",
    413: "too_large",
    429: "overloaded",
    502: "unavailable",
    503: "unavailable",
    504: "deadline",
}  # what a proxy's own answers come down to
_NEVER = (
    StopIteration,
    StopAsyncIteration,
)  # raised inside a generator they would mean something else


def exception_fields(error: BaseException) -> dict[str, Any]:
    """Return what crosses the wire: module, qualname, args, traceback (of the user's frames)."""
    kind = type(error)
    return {
        "module": kind.__module__,
        "qualname": kind.__qualname__,
        "args": _json_arguments(error),
        "traceback": users_traceback(error),
    }


def users_traceback(error: BaseException) -> str:
    """Return the traceback with its causes, without the frames above the user's code, which are ours."""
    drawn = traceback.TracebackException.from_exception(error)
    one: traceback.TracebackException | None = drawn
    while one is not None:
        kept = [frame for frame in one.stack if not _is_ours(frame.filename)]
        one.stack = traceback.StackSummary.from_list(kept)
        one = one.__cause__ or one.__context__
    text = "".join(drawn.format())
    return text if len(text) <= TRACEBACK_MAX else "[...]\n" + text[-TRACEBACK_MAX:]


def error_from_problem(problem: Mapping[str, Any], headers: Mapping[str, str]) -> CallError:
    """Return the error a problem document stands for; the answer's headers, where there are any, know better."""
    code = str(problem.get("code", "internal"))
    executed = _executed(headers.get("glowplug-executed") or problem.get("executed"))
    request_id = str(problem.get("request_id") or headers.get("x-request-id", ""))
    detail = str(problem.get("detail") or problem.get("title") or code)
    exception = problem.get("exception")
    if code == "endpoint_error":
        return _remote_error(
            detail, exception if isinstance(exception, Mapping) else {}, executed, request_id
        )
    error = call_error(
        code,
        detail,
        executed=executed,
        request_id=request_id,
        retry_after_s=_seconds(problem.get("retry_after", headers.get("retry-after"))),
        phase=str(problem.get("phase", "")),
        hint=str(problem.get("hint", "")),
    )
    if isinstance(error, InvalidRequestError) and isinstance(problem.get("errors"), list):
        error.errors = tuple(problem["errors"])
    return error


def error_from_answer(status: int, headers: Mapping[str, str], body: bytes) -> CallError:
    """Return the error of an answer above 399, also when it is not a problem document (a proxy in between)."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if isinstance(problem, dict) and "code" in problem:
        return error_from_problem(problem, headers)
    code = _FOREIGN.get(status, "internal" if status >= 500 else "bad_request")
    text = body[:200].decode("utf-8", "replace").strip()
    return error_from_problem(
        {"code": code, "detail": f"HTTP {status}: {text or 'no body'}"}, headers
    )


def users_own(error: CallError, home: ModuleType | None = None) -> Exception:
    """Return the user's own exception if its class is loaded here, else `error`; `home` is the endpoint's module.

    What happened on the replica is a note on it, not a cause: a second stack, of our own code, would only bury it.
    """
    if not isinstance(error, RemoteError) or not error.type_name:
        return error
    module, _, qualname = error.type_name.partition(":")
    kind = _loaded_class(module, qualname, home)
    if kind is None:
        return error
    made = _remade(kind, error.arguments)
    if error.remote_traceback:
        made.add_note(
            f"\nOn the replica (request {error.request_id or 'unknown'}):\n{error.remote_traceback.rstrip()}"
        )
    return made


def _remade(kind: type[Exception], arguments: Sequence[Any]) -> Exception:
    """Return an exception of this class that says the same; its __init__ may take other arguments than it passed on."""
    try:
        made = kind(*arguments)
    except Exception:  # whatever a user's __init__ raises: what matters is the class
        return kind.__new__(kind, *arguments)
    # An __init__ that words its message would word it twice.
    return made if list(made.args) == list(arguments) else kind.__new__(kind, *arguments)


def _loaded_class(module: str, qualname: str, home: ModuleType | None) -> type[Exception] | None:
    if module == "glowplug" or module.startswith("glowplug."):
        return None  # an error of an inner call must not look like one of this call
    for place in (sys.modules.get(module), home, sys.modules.get("__main__")):
        if place is None or not _answers_to(place, module):
            continue
        found: Any = place
        for name in qualname.split("."):
            found = vars(found).get(name) if isinstance(found, ModuleType | type) else None
        if (
            isinstance(found, type)
            and issubclass(found, Exception)
            and not issubclass(found, _NEVER)
        ):
            return found
    return None


def _answers_to(place: ModuleType, module: str) -> bool:
    if place is builtins or place.__name__ == module:
        return True
    # The same file may be `app` on the replica and `__main__` (or `folder.app`) here.
    file = getattr(place, "__file__", None)
    return file is not None and Path(file).stem == module.rpartition(".")[2]


def _remote_error(
    detail: str, exception: Mapping[str, Any], executed: Executed, request_id: str
) -> RemoteError:
    module, qualname, arguments = (
        exception.get("module"),
        exception.get("qualname"),
        exception.get("args"),
    )
    return RemoteError(
        detail,
        type_name=f"{module}:{qualname}" if module and qualname else "",
        remote_traceback=str(exception.get("traceback", "")),
        executed=executed,
        request_id=request_id,
        arguments=tuple(arguments) if isinstance(arguments, list) else (),
    )


def _json_arguments(error: BaseException) -> list[Any]:
    try:
        text = json.dumps(error.args, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = ""
    if text and len(text) <= ARGUMENTS_MAX:
        return list(json.loads(text))
    return [_text(error)[:ARGUMENTS_MAX]]


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a user's __str__ may raise anything
        return type(error).__qualname__


def _is_ours(filename: str) -> bool:
    return filename.startswith((_OURS, "<frozen importlib")) or filename == importlib.__file__


def _executed(text: Any) -> Executed:
    match text:
        case "no" | "yes":
            return text  # type: ignore[no-any-return]  # one of the two literals
        case _:
            return "maybe"


def _seconds(given: Any) -> float | None:
    try:
        return max(0.0, float(given))
    except (TypeError, ValueError):  # absent, or the date form that Retry-After also allows
        return None
