"""What answers on this port besides endpoints? Health, metrics, schemas, and the way to the control API.

Closed by default: whatever is not on the short list of open paths needs a key, known path or not.
"""

import ipaddress
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from glowplug.errors import CallError, Executed
from glowplug.suggest import did_you_mean
from glowplug_router.gateway.doors import unauthorized
from glowplug_router.gateway.forward import Forward
from glowplug_router.gateway.keys import PUBLIC, Grant
from glowplug_router.gateway.metrics import CONTENT_TYPE as METRICS_TYPE
from glowplug_router.gateway.problems import CONTENT_TYPE, Trouble, document
from glowplug_router.records.published import Snapshot
from glowplug_router.signatures import PAYLOADS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from glowplug_router.gateway.front import Front

OPEN = frozenset({"/livez", "/readyz"})  # answered without a key
METRICS = "/metrics"  # the same for scrapers on this machine
API = "/-/api"
API_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_FORWARDED = frozenset({b"x-forwarded-for", b"forwarded", b"x-real-ip"})


class Door:
    """Asks for a key before anything of the site runs."""

    def __init__(self, site: "ASGIApp", front: "Front") -> None:
        self._site = site
        self._front = front

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer 401, or let the request in with its grant in the scope."""
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scope["request_id"] = self._front.request_id(headers.get(b"x-request-id"))
        grant = self._front.keys.check(headers.get(b"authorization"))
        path: str = scope["path"]
        is_public = path in OPEN or (path == METRICS and is_local(scope.get("client"), headers))
        is_open = is_public and scope["method"] in ("GET", "HEAD")
        if path.startswith(f"{PAYLOADS}/"):
            flaw = self._unsigned(scope)
            if flaw is not None:
                await answer(scope, flaw)(scope, receive, send)
                return
            grant = PUBLIC
        if grant is None and not is_open:
            trouble = unauthorized(was_sent=b"authorization" in headers)
            self._front.metrics.refuse(trouble.code)
            await answer(scope, trouble)(scope, receive, send)
            return
        scope["grant"] = grant or PUBLIC
        scope["is_open"] = is_open
        await self._site(scope, receive, send)

    def _unsigned(self, scope: "Scope") -> Trouble | None:
        """Return what is wrong with a URL that needs a signature in place of a key."""
        signer = self._front.signer
        if signer is None:
            return Trouble("control_unavailable", "this gateway has not heard from its controller")
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        try:
            signer.opened(method, scope["path"], query, self._front.clock.wall_ns())
        except CallError as error:
            return Trouble(error.code, error.message, hint=error.hint)
        return None


def is_local(client: tuple[str, int] | None, headers: Mapping[bytes, bytes]) -> bool:
    """Say whether a request was made on this machine, and not merely passed on by a proxy that runs here."""
    if client is None or _FORWARDED & headers.keys():
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def answer(scope: "Scope", trouble: Trouble) -> Response:
    """Return a problem as a response of the site."""
    executed: Executed = trouble.executed
    request_id: str = scope["request_id"]
    headers = {"x-request-id": request_id, "glowplug-executed": executed}
    for line in trouble.headers.decode("latin-1").splitlines():
        name, _, value = line.partition(": ")
        headers[name] = value
    if trouble.retry_after_s is not None:
        headers["retry-after"] = str(trouble.retry_after_s)
    return Response(document(trouble, request_id), trouble.status, headers, media_type=CONTENT_TYPE)


class Site:
    """The handlers; each answers a path."""

    def __init__(
        self, front: "Front", forward: Forward, snapshot: Callable[[], Snapshot | None]
    ) -> None:
        self._front = front
        self._forward = forward
        self._snapshot = snapshot

    async def livez(self, request: Request) -> Response:
        """Say that the process answers."""
        return Response(b"ok\n", media_type="text/plain")

    async def readyz(self, request: Request) -> Response:
        """Say whether calls can be routed: a snapshot is loaded and we are not stopping.

        With `?controller`, say whether the control API can be used as well: calls go on without it.
        """
        if self._front.stopping:
            return Response(b"stopping\n", 503, media_type="text/plain")
        if self._snapshot() is None:
            return Response(
                b"no routes yet: the controller has not spoken\n", 503, media_type="text/plain"
            )
        if "controller" in request.query_params and not self._forward.is_connected:
            return Response(b"no controller yet\n", 503, media_type="text/plain")
        return Response(b"ready\n", media_type="text/plain")

    async def metrics(self, request: Request) -> Response:
        """Return the metrics, to whoever may read or runs here."""
        grant: Grant = request.scope["grant"]
        if not request.scope["is_open"] and not grant.allows("read"):
            return answer(
                request.scope, Trouble("forbidden", f"the key {grant.id} has no scope read")
            )
        front = self._front
        front.metrics.held_bytes = front.held.bytes
        replicas = dict.fromkeys(front.table.targets, 0)
        for key, count in front.engine.ready.items():
            name = key.rpartition("@")[0]
            replicas[name] = replicas.get(name, 0) + count
        front.metrics.replicas = replicas
        return Response(front.metrics.text(), headers={"content-type": METRICS_TYPE})

    async def openapi(self, request: Request) -> Response:
        """Return the OpenAPI document of all apps, or of one."""
        snapshot = self._snapshot()
        documents = dict(snapshot.openapi) if snapshot is not None else {}
        app: str | None = request.path_params.get("app")
        if app is None:
            return Response(merged(documents), media_type="application/json")
        if app not in documents:
            return answer(
                request.scope,
                Trouble("not_found", f"there is no app {app}; {did_you_mean(app, documents)}"),
            )
        return Response(documents[app].encode(), media_type="application/json")

    async def api(self, request: Request) -> Response:
        """Pass a request on to the controller."""
        return await self._forward.ask(request)

    async def nothing(self, request: Request) -> Response:
        """Say that there is nothing here, and what there is."""
        known = [
            *OPEN,
            METRICS,
            "/openapi.json",
            API,
            *(f"/{name}" for name in self._front.table.targets),
        ]
        path = request.url.path
        return answer(
            request.scope,
            Trouble("not_found", f"there is nothing at {path}; {did_you_mean(path, known)}"),
        )


def merged(documents: Mapping[str, str]) -> bytes:
    """Return one OpenAPI document for all apps; names of components are made unique by the app's."""
    if len(documents) == 1:
        return next(iter(documents.values())).encode()
    paths: dict[str, object] = {}
    components: dict[str, dict[str, object]] = {}
    for app, text in sorted(documents.items()):
        renamed = text.replace('"#/components/schemas/', f'"#/components/schemas/{app}.')
        parsed = orjson.loads(renamed)
        paths.update(parsed.get("paths", {}))
        for kind, entries in parsed.get("components", {}).items():
            prefix = f"{app}." if kind == "schemas" else ""
            components.setdefault(kind, {}).update(
                {f"{prefix}{name}": entry for name, entry in entries.items()}
            )
    info = {"title": ", ".join(sorted(documents)) or "glowplug", "version": "1"}
    return orjson.dumps(
        {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}
    )


def make_site(
    front: "Front", forward: Forward, snapshot: Callable[[], Snapshot | None]
) -> "ASGIApp":
    """Return the site behind its door."""
    site = Site(front, forward, snapshot)
    every = list(API_METHODS)
    app = Starlette(
        routes=[
            Route("/livez", site.livez),
            Route("/readyz", site.readyz),
            Route(METRICS, site.metrics),
            Route("/openapi.json", site.openapi),
            Route("/-/openapi/{app}", site.openapi),
            Route(API + "/{path:path}", site.api, methods=every),
            Route(PAYLOADS + "/{digest}", site.api, methods=["PUT", "GET"]),
            Route("/{path:path}", site.nothing, methods=every),
        ]
    )
    app.router.redirect_slashes = False
    return Door(app, front)
