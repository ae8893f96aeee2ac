"""What would a call cost behind uvicorn as a bare ASGI app? `uvicorn dataplane.fronts.asgi:app`, BENCH_HOME set."""

from collections.abc import Awaitable, Callable
from typing import Any

from dataplane.fronts.calling import Calling, Message

CALLING = Calling()


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answer a call."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    query = scope["query_string"]
    url = scope["raw_path"] + (b"?" + query if query else b"")
    status, headers, answer = await CALLING.call(
        scope["method"].encode(), url, scope["headers"], body
    )
    raw = [(name.encode(), value.encode()) for name, value in headers]
    raw.append((b"content-length", b"%d" % len(answer)))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": answer})


async def _live(
    receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    await receive()
    await CALLING.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
