"""Which calls does the control API have, and what must a key be allowed to do each? No route without a scope."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from glowplug.clock import Clock
from glowplug.codec import PROBLEM, problem
from glowplug.errors import CallError, Executed, GlowplugError, call_error
from glowplug.problems import PROBLEMS
from glowplug_router.control.catalog import Catalog
from glowplug_router.keys import allows, verify
from glowplug_router.records.stored import Key

PREFIX = "/-/api"
Answer = Callable[[Request], Awaitable[Response]]
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Call:
    """One call: `{app}` in its scope is filled in from the path."""

    method: str
    path: str
    scope: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Signed:
    """A call that needs no key: its URL is signed, and it checks that itself."""

    method: str
    path: str  # whole
    answer: Answer


def application(
    calls: tuple[Call, ...], catalog: Catalog, clock: Clock, signed: tuple[Signed, ...] = ()
) -> Starlette:
    """Return the ASGI app of these calls, each behind its scope."""
    by_path: dict[str, list[Call]] = {}
    for call in calls:
        by_path.setdefault(call.path, []).append(call)
    routes = [
        Route(
            f"{PREFIX}{path}",
            _guarded(same, catalog, clock),
            methods=[call.method for call in same],
        )
        for path, same in by_path.items()
    ]
    routes += [Route(one.path, _told(one.answer), methods=[one.method]) for one in signed]
    app = Starlette(
        routes=routes, exception_handlers={HTTPException: _http_problem, Exception: _internal}
    )
    app.router.redirect_slashes = False  # a path of ours or none: a body is not sent twice
    return app


def _guarded(calls: list[Call], catalog: Catalog, clock: Clock) -> Answer:
    by_method = {call.method: call for call in calls}

    async def answer(request: Request) -> Response:
        call = by_method.get("GET" if request.method == "HEAD" else request.method)
        assert call is not None, request.method
        try:
            request.state.key = allowed_key(request, call.scope, catalog, clock.wall_ns())
            return await call.answer(request)
        except GlowplugError as error:
            return problem_response(error, request)

    return answer


def _told(call: Answer) -> Answer:
    async def answer(request: Request) -> Response:
        try:
            return await call(request)
        except GlowplugError as error:
            return problem_response(error, request)

    return answer


def allowed_key(request: Request, scope: str, catalog: Catalog, wall_ns: int) -> Key:
    """Return the key a request came with, if it may do this."""
    given = request.headers.get("authorization", "")
    token = given[len(_BEARER) :].strip() if given[: len(_BEARER)].lower() == _BEARER else ""
    key = verify(token, catalog.keys, catalog.pepper, wall_ns)
    if key is None:
        raise call_error(
            "unauthorized", "the control API needs a key of this router", executed="no"
        )
    need = scope.format_map(request.path_params)
    if not allows(key.scopes, need):
        have = ", ".join(key.scopes) or "none"
        raise call_error(
            "forbidden", f"key {key.id} has the scopes {have}; this needs {need}", executed="no"
        )
    return key


def problem_response(error: GlowplugError, request: Request) -> Response:
    """Return an error as a problem document."""
    row = PROBLEMS.get(error.code)
    executed: Executed = error.executed if isinstance(error, CallError) else "no"
    request_id = getattr(request.state, "request_id", "")
    retry_s = error.retry_after_s if isinstance(error, CallError) else None
    body = problem(
        error.code,
        error.message,
        request_id=request_id,
        executed=executed,
        hint=error.hint,
        retry_after_s=retry_s,
    )
    headers: dict[str, str] = {"glowplug-executed": executed}
    if retry_s is not None:
        headers["retry-after"] = str(math.ceil(retry_s))
    if error.code == "unauthorized":
        headers["www-authenticate"] = "Bearer"
    return Response(body, row.status if row is not None else 500, headers, PROBLEM)


async def _http_problem(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "bad_request")
    hint = "docs/architecture.md lists the calls of the control API"
    message = f"the control API has no {request.method} {request.url.path}"
    return problem_response(call_error(code, message, executed="no", hint=hint), request)


async def _internal(request: Request, error: Exception) -> Response:
    """Answer for what nobody foresaw; Starlette raises it again, and the bridge records it."""
    message = (
        f"the control API failed at {request.method} {request.url.path} ({type(error).__name__})"
    )
    hint = "the router's log has the traceback: please report it"
    return problem_response(call_error("internal", message, executed="maybe", hint=hint), request)
