"""What runs, and what should? Deployments, policies, and what is known about both."""

import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectSendStream
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from glowplug.errors import GlowplugError, UnavailableError, call_error
from glowplug.node.messages import LogQuery
from glowplug.spec import Json
from glowplug_router.control import views
from glowplug_router.control.deploy import Deployer
from glowplug_router.control.garbage import remove_orphans
from glowplug_router.control.parts import Parts, answer, body_of, json_of
from glowplug_router.control.request import patched, wanted
from glowplug_router.control.steps import Step, failed, line
from glowplug_router.control.trials import Tell
from glowplug_router.control.tuning import check_tuning
from glowplug_router.keys import allows
from glowplug_router.ports import NodeLink
from glowplug_router.records.stored import Deployment
from glowplug_router.telemetry.logging import logger

BLOB_MAX_BYTES = 4 * 1024**3
DIGESTS_MAX = 10_000
DECISIONS_MAX = 500
LOG_LINES_MAX = 10_000  # of the past, in one answer
LOG_PIECES_MAX = 64  # of all nodes together, waiting for a slow reader
DIGITS_MAX = 20  # of a number in a query: more is none of ours, and costs time to read
_LOG = logger("glowplug.controller.api")
_NAMED = re.compile(r"[a-z][a-z0-9-]{0,62}")
_LOG_NAMES = {
    "app": _NAMED,
    "endpoint": _NAMED,
    "replica": re.compile(r"[a-z0-9][a-z0-9-]{0,99}"),
    "request_id": re.compile(r"[!-~]{1,200}"),
}
_NDJSON = "application/x-ndjson"


class _Digests(msgspec.Struct):
    digests: tuple[str, ...]


class _Rollback(msgspec.Struct, forbid_unknown_fields=True):
    generation: int = 0


class Apps:
    """The calls about apps."""

    def __init__(self, parts: Parts, deployer: Deployer) -> None:
        self._parts = parts
        self._deployer = deployer

    # -- deploying -------------------------------------------------------------------------------

    async def missing(self, request: Request) -> Response:
        """Say which layers must be uploaded."""
        asked = await json_of(request, _Digests)
        if len(asked.digests) > DIGESTS_MAX:
            raise call_error(
                "too_large", f"ask for at most {DIGESTS_MAX} digests at once", executed="no"
            )
        return answer({"missing": await self._parts.objects.missing(asked.digests)})

    async def upload(self, request: Request) -> Response:
        """Keep one layer, streamed."""
        digest = request.path_params["digest"]
        try:
            size = await self._parts.objects.put(digest, request.stream(), BLOB_MAX_BYTES)
        except ClientDisconnect:
            raise call_error(
                "cancelled", f"the upload of {digest} broke off", executed="no"
            ) from None
        return answer({"digest": digest, "size_bytes": size})

    async def deploy(self, request: Request) -> Response:
        """Deploy a release, telling every step as a line."""
        dev = request.query_params.get("dev") == "1"
        asked = await wanted(
            await body_of(request), self._parts.objects, self._parts.clock.wall_ns(), dev=dev
        )
        if not allows(request.state.key.scopes, f"deploy:{asked.app}"):
            message = f"key {request.state.key.id} may not deploy {asked.app}"
            raise call_error("forbidden", message, executed="no")

        async def work(tell: Tell) -> Deployment:
            done = await self._deployer.deploy(asked, tell)
            parts = self._parts
            await remove_orphans(parts.objects, parts.world.catalog, parts.clock.wall_ns())
            return done

        return StreamingResponse(_steps(work), media_type=_NDJSON)

    async def rollback(self, request: Request) -> Response:
        """Go back to an earlier generation; steps as lines for those who accept NDJSON, else its record at the end."""
        app = request.path_params["app"]
        asked = await json_of(request, _Rollback)

        async def work(tell: Tell) -> Deployment:
            return await self._deployer.rollback(app, asked.generation, tell)

        if _NDJSON in request.headers.get("accept", ""):
            return StreamingResponse(_steps(work), media_type=_NDJSON)
        return answer(await work(lambda step: None))

    async def stop(self, request: Request) -> Response:
        """Drain everything of an app."""
        return answer(await self._deployer.stop(request.path_params["app"]))

    async def set_policy(self, request: Request) -> Response:
        """Change some of an endpoint's policy; nothing restarts."""
        app, endpoint = request.path_params["app"], request.path_params["endpoint"]
        catalog = self._parts.world.catalog
        known = catalog.policies.get((app, endpoint))
        if known is None:
            raise call_error("not_found", f"there is no endpoint {app}/{endpoint}", executed="no")
        policy = patched(known, await json_of(request, dict[str, Json]))
        check_tuning(policy, catalog.routed(app).values(), endpoint)
        await catalog.set_policy(app, endpoint, policy)
        await self._parts.world.acted()
        return answer(policy)

    # -- looking ---------------------------------------------------------------------------------

    async def all(self, request: Request) -> Response:
        """Return every app."""
        now_ns = self._parts.clock.now_ns()
        world = self._parts.world
        return answer(
            {"apps": [views.app(world, name, now_ns) for name in sorted(world.catalog.live)]}
        )

    async def one(self, request: Request) -> Response:
        """Return one app."""
        name = self._known_app(request)
        return answer(views.app(self._parts.world, name, self._parts.clock.now_ns()))

    async def history(self, request: Request) -> Response:
        """Return an app's deployments, newest first."""
        name = self._known_app(request)
        catalog = self._parts.world.catalog
        found = await catalog.history(name)
        live = catalog.live[name].generation
        shown = [
            {**msgspec.to_builtins(one), "live": one.generation == live} for one in reversed(found)
        ]
        return answer({"app": name, "deployments": shown})

    async def why(self, request: Request) -> Response:
        """Return the decision log, newest first."""
        limit = _number(request, "limit", 50, DECISIONS_MAX)
        subject, asked = request.query_params.get("subject", ""), request.query_params.get("call")
        cold = views.cold_calls(self._parts.world, subject, asked or "")
        if asked and not cold:
            raise call_error(
                "not_found",
                f"no call {asked[:80]} is known that met no replica",
                executed="no",
                hint="the last calls that waited for a start are kept; one that was answered warm has no such story",
            )
        rows = await self._parts.store.decisions(
            subject or (cold[0].version if asked else ""), limit
        )
        decisions = [{"wall_ns": at, **msgspec.to_builtins(row)} for at, row in rows]
        return answer({"decisions": decisions, "cold": cold[:limit]})

    async def nodes(self, request: Request) -> Response:
        """Return the nodes."""
        links = {link.node for link in await self._parts.provider.links()}
        return answer({"nodes": views.nodes(self._parts.world, links, self._parts.clock.now_ns())})

    async def health(self, request: Request) -> Response:
        """Return how the controller is."""
        world = self._parts.world
        links = await self._parts.provider.links()
        return answer(
            {
                "status": "ok",
                "epoch": world.epoch,
                "nodes": len(links),
                "apps": len(world.catalog.live),
            }
        )

    async def logs(self, request: Request) -> Response:
        """Stream log lines of every node."""
        query = log_query(request)
        links = await self._parts.provider.links()
        return StreamingResponse(_log_lines(links, query), media_type=_NDJSON)

    def _known_app(self, request: Request) -> str:
        name = str(request.path_params["app"])
        if name not in self._parts.world.catalog.live:
            raise call_error("not_found", f"no app {name} was ever deployed here", executed="no")
        return name


def log_query(request: Request) -> LogQuery:
    """Return what a request for logs asks for; `since` is nanoseconds since the epoch."""
    asked = request.query_params
    for name, form in _LOG_NAMES.items():
        given = asked.get(name, "")
        if given and not form.fullmatch(given):
            message = f"{name}={given[:80]!r} is no name of one"
            raise call_error("invalid_request", message, executed="no")
    return LogQuery(
        app=asked.get("app", ""),
        endpoint=asked.get("endpoint", ""),
        replica=asked.get("replica", ""),
        request_id=asked.get("request_id", ""),
        since_wall_ns=_number(request, "since", 0, (1 << 63) - 1),
        tail=_number(request, "tail", 100, LOG_LINES_MAX),
        follow=asked.get("follow", "") in {"1", "true"},
    )


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > DIGITS_MAX:
        raise call_error("invalid_request", f"{name}={text[:40]!r} is no number", executed="no")
    return min(int(text), most)


async def _steps(work: Callable[[Tell], Awaitable[Deployment]]) -> AsyncIterator[bytes]:
    """Yield the steps of a deployment as lines. When the reader goes away, the deployment is given up."""
    # Unbounded, and bounded all the same: a deployment tells a few steps for each of its endpoints.
    send, receive = anyio.create_memory_object_stream[Step](math.inf)

    async def run() -> None:
        with send:
            try:
                done = await work(send.send_nowait)
                shown = msgspec.to_builtins(done)
                send.send_nowait(
                    Step(step="done", state="done", generation=done.generation, deployment=shown)
                )
            except GlowplugError as error:
                send.send_nowait(failed(error))
            except Exception as error:  # a stream without an end tells its reader nothing
                _LOG.exception("a deployment failed in a way nobody foresaw")
                message = f"the router failed ({type(error).__name__}); its log has the traceback"
                send.send_nowait(failed(call_error("internal", message, executed="maybe")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        with receive:
            async for step in receive:
                yield line(step)


async def _log_lines(links: tuple[NodeLink, ...], query: LogQuery) -> AsyncIterator[bytes]:
    send, receive = anyio.create_memory_object_stream[bytes](LOG_PIECES_MAX)

    async def read(link: NodeLink, out: MemoryObjectSendStream[bytes]) -> None:
        async with out:
            try:
                async for piece in link.logs(query):
                    await out.send(piece)
            except UnavailableError:
                return  # the node has gone; the others go on

    async with anyio.create_task_group() as tasks:
        async with send:
            for link in links:
                tasks.start_soon(read, link, send.clone())
        with receive:
            async for piece in receive:
                yield piece
