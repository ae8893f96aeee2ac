"""How does a front with a task for each request make a call? Through the same door, engine and links."""

import asyncio
import os
from pathlib import Path
from typing import Any

import anyio

from glowplug.clock import SystemClock
from glowplug.settings import Home
from glowplug.wire.messages import Response, Trailer
from glowplug_router.gateway.answers import server_timing
from glowplug_router.gateway.calls import Call
from glowplug_router.gateway.doors import Door, open_door
from glowplug_router.gateway.flaws import head_flaw
from glowplug_router.gateway.main import Gateway
from glowplug_router.gateway.problems import Trouble, document
from glowplug_router.gateway.settings import GatewaySettings
from glowplug_router.gateway.wishes import KNOWN, REQUEST_ID

Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes]


class Waiter:
    """The caller of one call: a future."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def head(self, call: Call, response: Response, body: bytes, *, final: bool) -> None:
        assert final, "streams are not compared here"
        timing = server_timing(call.sent_ns - call.arrived_ns, response.timings)
        headers = [
            *response.headers,
            ("glowplug-executed", response.executed),
            ("glowplug-version", f"v{call.lane.number}"),
            ("glowplug-attempts", str(call.attempt)),
            ("server-timing", timing[15:-2].decode()),
            ("x-request-id", call.request_id),
        ]
        self.answer.set_result((response.status, headers, body))

    def chunk(self, call: Call, body: bytes) -> None:
        raise NotImplementedError

    def end(self, call: Call, trailer: Trailer) -> None:
        raise NotImplementedError

    def fail(self, call: Call, trouble: Trouble) -> None:
        self.answer.set_result(refusal(trouble, call.request_id))


def refusal(trouble: Trouble, request_id: str) -> Answer:
    """Return a problem as an answer."""
    headers = [("content-type", "application/problem+json"), ("x-request-id", request_id)]
    return trouble.status, headers, document(trouble, request_id)


class Calling:
    """A gateway without its own server."""

    def __init__(self) -> None:
        self._gateway: Gateway | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the snapshot and dial the rank of the home that BENCH_HOME names."""
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._run(ready))
        await ready.wait()

    async def _run(self, ready: asyncio.Event) -> None:
        async with anyio.create_task_group() as tasks:
            home = Home(Path(os.environ["BENCH_HOME"]))
            gateway = self._gateway = Gateway(home, GatewaySettings(), SystemClock(), tasks)
            gateway.load()
            ready.set()
            while True:
                gateway.front.pulse()
                await asyncio.sleep(0.25)

    async def call(
        self, method: bytes, url: bytes, given: list[tuple[bytes, bytes]], body: bytes
    ) -> Answer:
        """Make a call: checked as in the gateway's protocol class, from lower-case header names."""
        assert self._gateway is not None, "not started"
        front = self._gateway.front
        known: dict[bytes, bytes] = {name: value for name, value in given if name in KNOWN}
        door: Door | Trouble
        flaw = head_flaw(front.hosts, "1.1", method, url, known)
        found = front.table.find(url)
        if flaw is not None or found is None:
            door = flaw or Trouble("not_found", "there is nothing here")
        else:
            door = open_door(front, found, method, known, len(body))
        request_id = front.request_id(known.get(REQUEST_ID))
        if isinstance(door, Trouble):
            return refusal(door, request_id)
        lane = door.lane or door.target.draw(front.chance)
        assert lane is not None, door.target.name
        waiter = Waiter()
        now_ns = front.clock.now_ns()
        wait_ns = door.timeout_ns or front.settings.wait_max_ns
        path = door.target.path
        call = Call(waiter, lane, path, request_id, body, now_ns + wait_ns, *door.terms)
        call.arrived_ns = now_ns
        front.engine.arrive(call)
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            front.engine.cancel(call)
            raise


Message = dict[str, Any]
