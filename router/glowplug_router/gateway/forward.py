"""How does a request for the control API reach the controller? As a stream on the gateway's channel, both ways."""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from glowplug.clock import SECOND
from glowplug.errors import CallError
from glowplug.wire.channel import Channel, Incoming
from glowplug.wire.messages import Infer
from glowplug.wire.messages import Response as Head
from glowplug_router.gateway.problems import CONTENT_TYPE, Trouble, document

if TYPE_CHECKING:
    from glowplug_router.gateway.keys import Grant

# What the controller needs to know of the request, and what a client may hear of the answer.
REQUEST_HEADERS = frozenset(
    {"authorization", "content-type", "content-length", "accept", "if-match", "idempotency-key"}
)
DROPPED = frozenset({"connection", "content-length", "transfer-encoding", "date", "keep-alive"})


class Forward:
    """Passes requests on while there is a channel."""

    def __init__(self) -> None:
        self.channel: Callable[[], Channel | None] = lambda: None

    @property
    def is_connected(self) -> bool:
        """Say whether there is a controller to ask."""
        channel = self.channel()
        return channel is not None and not channel.closed

    async def ask(self, request: Request) -> Response:
        """Return the controller's answer, streamed as it comes."""
        channel = self.channel()
        if channel is None or channel.closed:
            return self._unavailable(request, "there is no connection to the controller")
        try:
            head, body = await channel.upload(_infer(request), _pieces(request))
        except CallError as error:
            if error.code == "unavailable":
                return self._unavailable(request, error.message)
            return _problem(request, Trouble(error.code, error.message, executed=error.executed))
        return _answer(request, head, body)

    def _unavailable(self, request: Request, detail: str) -> Response:
        # Writes may have begun before the channel broke; only the controller could tell.
        executed = "no" if request.method in ("GET", "HEAD") or self.channel() is None else "maybe"
        trouble = Trouble("control_unavailable", detail, executed=executed, retry_after_ns=SECOND)  # type: ignore[arg-type]  # one of two literals
        return _problem(request, trouble)


def _infer(request: Request) -> Infer:
    grant: Grant = request.scope["grant"]
    return Infer(
        request.scope["raw_path"].decode("latin-1"),
        request.method,
        "asgi",
        request.scope["query_string"].decode("latin-1"),
        tuple((name, value) for name, value in request.headers.items() if name in REQUEST_HEADERS),
        tenant=grant.tenant,
        request_id=request.scope["request_id"],
    )


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            if piece:
                yield piece
    except ClientDisconnect:
        raise CallError(
            "the caller went away during the upload", code="cancelled", executed="maybe"
        ) from None


def _answer(request: Request, head: Head, body: Incoming) -> Response:
    headers = {name: value for name, value in head.headers if name not in DROPPED}
    headers["x-request-id"] = request.scope["request_id"]
    headers.setdefault("glowplug-executed", head.executed)  # a refusal says its own
    if head.status in (204, 304) or request.method == "HEAD":
        body.close()
        return Response(None, head.status, headers)
    return StreamingResponse(_relay(body), head.status, headers)


async def _relay(body: Incoming) -> AsyncIterator[bytes]:
    try:
        async for piece in body:
            yield piece
    finally:
        body.close()  # a client that has gone must not leave the controller writing


def _problem(request: Request, trouble: Trouble) -> Response:
    headers = {"x-request-id": request.scope["request_id"], "glowplug-executed": trouble.executed}
    if trouble.retry_after_s is not None:
        headers["retry-after"] = str(trouble.retry_after_s)
    return Response(
        document(trouble, request.scope["request_id"]),
        trouble.status,
        headers,
        media_type=CONTENT_TYPE,
    )
