"""What surrounds a gateway under test? Ranks and a controller that speak frames, without user code."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct

import anyio
import msgspec

from glowplug.errors import UnavailableError
from glowplug.wire.channel import Channel, Exchange
from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.messages import (
    Failure,
    Hello,
    Infer,
    Response,
    Trailer,
    pack,
    to_json,
    unpack_hello,
    unpack_infer,
)
from glowplug.wire.transport import FrameProtocol, listen
from glowplug_router.records.published import DemandReport, RouteReplica, Snapshot

U64 = Struct("<Q")
Headers = tuple[tuple[str, str], ...]
JSON_HEADERS: Headers = (("content-type", "application/json"),)

Handler = Callable[["RankLink", int, Infer, bytes], None]


def echo(link: "RankLink", rid: int, infer: Infer, body: bytes) -> None:
    link.answer(rid, body)


class RankLink(FrameProtocol):
    """The rank's end of a data link."""

    def __init__(self, rank: "FakeRank") -> None:
        super().__init__()
        self.rank = rank
        self.credits = 0
        self.answers: dict[int, asyncio.Future[tuple[int, bytes, bytes]]] = {}
        self._next = 2

    def connected(self) -> None:
        self.rank.links.append(self)
        self.greet()

    def lost(self, error: Exception | None) -> None:
        self.rank.was_left.set()

    def greet(self, state: str = "ready") -> None:
        rank = self.rank
        hello = Hello("replica", rank.name, permits=rank.permits, version=rank.version, state=state)
        self.send(Kind.HELLO, 0, pack(hello))

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if kind == Kind.HELLO:
            assert unpack_hello(meta).role == "gateway"
        elif kind == Kind.INFER:
            infer = unpack_infer(meta)
            self.rank.calls.append((rid, infer, body))
            self.rank.arrived.set()
            self.rank.handler(self, rid, infer, body)
        elif kind == Kind.CANCEL:
            self.rank.cancelled.append(rid)
            self.rank.was_cancelled.set()
            self.fail(rid, "cancelled", executed="yes")
        elif kind == Kind.CREDIT:
            self.credits += U64.unpack(meta)[0]
        elif rid in self.answers and not self.answers[rid].done():
            self.answers[rid].set_result((kind, meta, body))

    def answer(
        self, rid: int, body: bytes, headers: Headers = JSON_HEADERS, run_ns: int = 1_000_000
    ) -> None:
        response = Response(200, headers, "yes", (("run", run_ns),))
        self.send(Kind.RESPONSE, rid, pack(response), body, FLAG_END)

    def fail(
        self, rid: int, code: str, executed: str = "no", detail: str = "", body: bytes = b""
    ) -> None:
        self.send(Kind.ERROR, rid, pack(Failure(code, executed, False, detail)), body, FLAG_END)

    def begin(self, rid: int, content_type: str = "text/event-stream") -> None:
        self.send(Kind.RESPONSE, rid, pack(Response(200, (("content-type", content_type),))), b"")

    def piece(self, rid: int, body: bytes) -> None:
        self.send(Kind.CHUNK, rid, b"", body)

    def end(self, rid: int) -> None:
        self.send(Kind.END, rid, pack(Trailer("yes", (("run", 5_000_000),))), b"", FLAG_END)

    def call_on(self, infer: Infer, body: bytes) -> asyncio.Future[tuple[int, bytes, bytes]]:
        return self.upload(infer, body, FLAG_END)

    def upload(
        self, infer: Infer, body: bytes, flags: int = 0
    ) -> asyncio.Future[tuple[int, bytes, bytes]]:
        """Call on; without a flag, more of the body is to come."""
        rid, self._next = self._next, self._next + 2
        self.answers[rid] = asyncio.get_running_loop().create_future()
        self.send(Kind.INFER, rid, pack(infer), body, flags)
        return self.answers[rid]


@dataclass
class FakeRank:
    """A replica's data socket."""

    name: str
    version: str
    path: Path
    handler: Handler = echo
    permits: int = 8
    speaks: type[RankLink] = RankLink
    links: list[RankLink] = field(default_factory=list)
    calls: list[tuple[int, Infer, bytes]] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    was_cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    was_left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def route(self) -> RouteReplica:
        return RouteReplica(id=self.name, address=f"unix:{self.path}", permits=self.permits)

    async def start(self) -> asyncio.AbstractServer:
        return await listen(self.path, lambda: self.speaks(self))


class FakeController:
    """Takes the gateway's channel, sends snapshots, keeps reports."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.reports: list[DemandReport] = []
        self.channels: list[Channel] = []
        self.asked: list[tuple[Infer, bytes]] = []
        self.reported = asyncio.Event()
        self.streams: Callable[[Exchange], Awaitable[None]] | None = None

    def publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        for channel in self.channels:
            channel.notify("/-/snapshot", to_json(snapshot))

    async def handle(self, exchange: Exchange) -> None:
        if exchange.infer.path == "/-/demand":
            self.reports.append(msgspec.json.decode(await exchange.body.read(), type=DemandReport))
            self.reported.set()
            exchange.respond()
            return
        if self.streams is not None:
            await self.streams(exchange)
            return
        self.asked.append((exchange.infer, await exchange.body.read()))
        exchange.respond(json.dumps({"path": exchange.infer.path}).encode(), headers=JSON_HEADERS)

    async def start(self, path: Path, tasks: anyio.abc.TaskGroup) -> asyncio.AbstractServer:
        def make() -> Channel:
            channel = Channel(Hello("controller"), self.handle, tasks.start_soon, dialling=False)
            tasks.start_soon(self._greet, channel)
            return channel

        return await listen(path, make)

    async def _greet(self, channel: Channel) -> None:
        try:
            await channel.ready()
        except UnavailableError:
            return
        self.channels.append(channel)
        if self.snapshot is not None:
            channel.notify("/-/snapshot", to_json(self.snapshot))
