"""What would a call cost behind granian's Rust server? `granian --interface rsgi dataplane.fronts.rsgi:app`."""

import asyncio
from typing import Any

from dataplane.fronts.calling import Calling


class App:
    """RSGI's form of an application."""

    def __init__(self) -> None:
        self._calling = Calling()
        self._started: asyncio.Task[None] | None = None

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._started = loop.create_task(self._calling.start())

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        body = await protocol()
        query = scope.query_string
        url = f"{scope.path}?{query}" if query else scope.path
        given = [(name.encode(), value.encode()) for name, value in scope.headers.items()]
        if scope.authority:
            given.append((b"host", scope.authority.encode()))
        status, headers, answer = await self._calling.call(
            scope.method.encode(), url.encode(), given, body
        )
        protocol.response_bytes(status, headers, answer)


app = App()
