"""How does an ASGI app answer a request that came as frames? Body and answer are streamed both ways.

The answer's head is held until its first piece is there, so that a small answer is one frame. When the caller has gone
(CANCEL), the app sees `http.disconnect`, and what it sends after that raises `OSError`, as the ASGI specification asks.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import unquote

import anyio
from starlette.types import ASGIApp, Message, Scope

from glowplug.errors import CallError, UnavailableError
from glowplug.wire.channel import Exchange, Outgoing
from glowplug_router.telemetry.logging import logger

_LOG = logger("glowplug.controller.api")
# 2.3, not later: Starlette then watches for the disconnect while it streams, and ends the stream's task when it comes.
_ASGI = {"version": "3.0", "spec_version": "2.3"}
Headers = tuple[tuple[str, str], ...]


async def serve_asgi(app: ASGIApp, exchange: Exchange) -> None:
    """Run the app for one exchange and send what it answers."""
    bridge = _Bridge(exchange)
    try:
        await app(scope_of(exchange), bridge.receive, bridge.send)
    except _CallerGoneError:
        return
    except (
        Exception
    ):  # an answer that fails must not end the controller: it is recorded, and the caller told
        _LOG.exception("the control API failed", path=exchange.infer.path)
        bridge.fail()


class _CallerGoneError(OSError):
    """The caller has gone: what the ASGI specification asks `send` to raise then, told from a disk that is full."""


def scope_of(exchange: Exchange) -> Scope:
    """Return the ASGI scope of a request."""
    infer = exchange.infer
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in infer.headers]
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": "1.1",
        "method": infer.method,
        "scheme": "http",
        "path": unquote(infer.path),
        "raw_path": infer.path.encode(),
        "query_string": infer.query.encode(),
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
        "state": {"request_id": infer.request_id},
    }


class _Bridge:
    """One request's two ASGI callables."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._pieces: AsyncIterator[bytes] = aiter(exchange.body)
        self._body_over = False
        self._gone = anyio.Event()
        self._head: tuple[int, Headers] | None = None
        self._out: Outgoing | None = None
        self._is_over = False
        exchange.on_cancel = self._gone.set

    async def receive(self) -> Message:
        """Return the next piece of the request's body; after the last one, wait until the caller has gone."""
        if not self._body_over:
            try:
                return {
                    "type": "http.request",
                    "body": await anext(self._pieces),
                    "more_body": True,
                }
            except StopAsyncIteration:
                self._body_over = True
                return {"type": "http.request", "body": b"", "more_body": False}
            except CallError:
                return {"type": "http.disconnect"}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if self._gone.is_set():
            raise _CallerGoneError
        if message["type"] == "http.response.start":
            self._head = (message["status"], _headers(message.get("headers", ())))
        elif message["type"] == "http.response.body":
            await self._send_body(
                message.get("body", b""), more=bool(message.get("more_body", False))
            )

    def fail(self) -> None:
        """Break the answer off, unless all of it was sent."""
        if self._is_over:
            return
        self._exchange.fail(
            "internal",
            "the controller failed to answer; its log has the traceback",
            executed="maybe",
        )

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        assert self._head is not None, "a body before its head"
        status, headers = self._head
        if self._out is None and not more:
            self._exchange.respond(body, status=status, headers=headers)
            self._is_over = True
            return
        try:
            if self._out is None:
                self._out = self._exchange.begin(status=status, headers=headers)
            if body:
                await self._out.write(body)
            if not more:
                self._out.end()
                self._is_over = True
        except UnavailableError as error:
            raise _CallerGoneError from error


def _headers(pairs: Iterable[Any]) -> Headers:
    return tuple(
        (bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in pairs
    )
