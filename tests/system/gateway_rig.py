"""How is a whole gateway tried in one process? Real sockets around it, and a client that sends what it is told."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio

from glowplug.clock import SECOND, SystemClock
from glowplug.settings import Home
from glowplug_router.gateway.main import serve
from glowplug_router.gateway.settings import GatewaySettings
from glowplug_router.keys import make_key
from glowplug_router.records.published import RouteEndpoint, RouteKey, RouteVersion, Snapshot
from glowplug_router.records.stored import Key
from system.gateway_fakes import FakeController, FakeRank, Handler, RankLink, echo

PEPPER = "11" * 32
TOKEN_SECRET = "22" * 32


def key(*scopes: str, expires_wall_ns: int = 0) -> tuple[RouteKey, str]:
    made: tuple[Key, str] = make_key(
        pepper_hex=PEPPER, tenant="ten", scopes=scopes, wall_ns=0, expires_wall_ns=expires_wall_ns
    )
    record, token = made
    route = RouteKey(
        id=record.id,
        mac=record.mac,
        tenant=record.tenant,
        scopes=record.scopes,
        expires_wall_ns=record.expires_wall_ns,
    )
    return route, token


def version(number: int = 1, /, **more: object) -> RouteVersion:
    plain = RouteVersion(
        number=number,
        permille=1000,
        replicas=(),
        permits=8,
        max_replicas=4,
        hold=100,
        queue_ns=60 * SECOND,
        start_ns=60 * SECOND,
        run_ns=300 * SECOND,
    )
    return replace(plain, **more)  # type: ignore[arg-type]  # fields by name, in a test


def endpoint(name: str, *versions: RouteVersion, **more: object) -> RouteEndpoint:
    app, _, short = name.partition("/")
    plain = RouteEndpoint(
        app=app, endpoint=short, auth="key", versions=versions, stable=versions[0].number
    )
    return replace(plain, **more)  # type: ignore[arg-type]  # fields by name, in a test


async def until(holds: Callable[[], bool], within_s: float = 5) -> None:
    """Wait for something that nobody announces."""
    with anyio.fail_after(within_s):
        while not holds():  # noqa: ASYNC110  # what is waited for has no event of its own
            await anyio.sleep(0.005)


@dataclass
class Rig:
    """A running gateway and what surrounds it."""

    home: Home
    port: int
    tasks: anyio.abc.TaskGroup
    controller: FakeController
    token: str
    keys: list[RouteKey]
    settings: GatewaySettings
    ranks: dict[str, FakeRank] = field(default_factory=dict)
    servers: list[asyncio.AbstractServer] = field(default_factory=list)
    endpoints: list[RouteEndpoint] = field(default_factory=list)
    clients: list["Client"] = field(default_factory=list)
    number: int = 0
    stop: anyio.Event = field(default_factory=anyio.Event)
    stopped: anyio.Event = field(default_factory=anyio.Event)

    async def rank(
        self,
        name: str,
        version: str,
        handler: Handler = echo,
        permits: int = 8,
        speaks: type[RankLink] = RankLink,
    ) -> FakeRank:
        rank = FakeRank(name, version, self.home.run / f"{name}.d", handler, permits, speaks)
        self.servers.append(await rank.start())
        self.ranks[name] = rank
        return rank

    def snapshot(self, *endpoints: RouteEndpoint) -> Snapshot:
        self.number += 1
        return Snapshot(
            number=self.number,
            epoch=1,
            endpoints=endpoints,
            keys=tuple(self.keys),
            pepper=PEPPER,
            token_secret=TOKEN_SECRET,
            openapi=(
                ("app", '{"openapi":"3.1.0","info":{"title":"app"},"paths":{"/app/echo":{}}}'),
            ),
        )

    async def publish(self, *endpoints: RouteEndpoint) -> None:
        """Send a snapshot and wait until the gateway has it and all links stand."""
        snapshot = self.snapshot(*endpoints)
        self.controller.publish(snapshot)
        ids = {r.id for e in endpoints for v in e.versions for r in v.replicas}
        await until(lambda: self.has(snapshot, ids))

    def has(self, snapshot: Snapshot, ids: set[str]) -> bool:
        file = self.home.router / "snapshot.json"
        saved = file.exists() and json.loads(file.read_bytes())["number"] == snapshot.number
        return saved and all(self.ranks[id].links for id in ids if id in self.ranks)

    async def serve_one(
        self,
        handler: Handler = echo,
        permits: int = 8,
        speaks: type[RankLink] = RankLink,
        **more: object,
    ) -> FakeRank:
        """Have one endpoint, app/echo, with one replica."""
        rank = await self.rank("r1", "app/echo@1", handler, permits, speaks)
        await self.publish(
            endpoint("app/echo", version(replicas=(rank.route,), permits=permits, **more))
        )
        return rank

    async def connect(self) -> "Client":
        with anyio.fail_after(8):
            client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def ask(self, data: bytes) -> "Reply":
        client = await self.connect()
        try:
            client.send(data)
            return await client.reply()
        finally:
            client.close()

    async def post(
        self,
        path: str = "/app/echo",
        body: bytes = b"{}",
        *,
        token: str | None = None,
        **headers: str,
    ) -> "Reply":
        return await self.ask(
            request("POST", path, body, token=self.token if token is None else token, **headers)
        )

    async def get(self, path: str, *, token: str | None = None, **headers: str) -> "Reply":
        return await self.ask(
            request("GET", path, token=self.token if token is None else token, **headers)
        )


def request(
    method: str,
    path: str,
    body: bytes = b"",
    /,
    *,
    token: str = "",
    host: str = "localhost",
    **headers: str,
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body or method not in ("GET", "HEAD"):
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@dataclass
class Reply:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool = True

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


class Client:
    """A connection that sends what it is told, right or wrong."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def close(self) -> None:
        self.writer.close()

    @property
    def has_answer(self) -> bool:
        """Say whether something has come that nobody has read, or the end."""
        return bool(self.reader._buffer) or self.reader.at_eof()  # type: ignore[attr-defined]  # StreamReader does not tell

    def reader_pauses(self) -> None:
        """Take no more bytes from the network."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport of both directions

    async def gone(self) -> None:
        self.writer.transport.abort()
        with anyio.move_on_after(5), contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def head(self) -> tuple[int, dict[str, str]]:
        with anyio.fail_after(8):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value
            for name, _, value in (line.partition(": ") for line in lines if line)
        }
        return int(first.split()[1]), headers

    async def reply(self) -> Reply:
        status, headers = await self.head()
        if status == 100:
            return Reply(100, headers, b"")
        with anyio.fail_after(8):
            if headers.get("transfer-encoding") == "chunked":
                body, is_whole = await self._chunks()
                return Reply(status, headers, body, is_whole)
            if "content-length" in headers:
                return Reply(
                    status, headers, await self.reader.readexactly(int(headers["content-length"]))
                )
            return Reply(status, headers, await self.reader.read())

    async def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        while True:
            try:
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                body += (await self.reader.readexactly(size + 2))[:-2]
            except (asyncio.IncompleteReadError, ConnectionError):
                return body, False
            if not size:
                return body, True

    async def is_closed(self, within_s: float = 5) -> bool:
        with anyio.move_on_after(within_s):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True
        return False


@asynccontextmanager
async def gateway(
    folder: Path, settings: GatewaySettings | None = None, *, has_controller: bool = True
) -> AsyncIterator[Rig]:
    """Run a gateway until the block ends."""
    home = Home(folder)
    home.run.mkdir(parents=True, mode=0o700, exist_ok=True)
    sock = socket.create_server(("127.0.0.1", 0))
    route, token = key("invoke:*")
    async with anyio.create_task_group() as tasks:
        controller = FakeController()
        rig = Rig(
            home,
            sock.getsockname()[1],
            tasks,
            controller,
            token,
            [route],
            settings or GatewaySettings(),
        )
        if has_controller:
            rig.servers.append(await controller.start(home.run / "controller.sock", tasks))
        tasks.start_soon(_serve, rig, sock)
        try:
            yield rig
        finally:
            for client in rig.clients:
                await client.gone()
            rig.stop.set()
            with anyio.move_on_after(5, shield=True):
                await rig.stopped.wait()
            for rank in rig.ranks.values():
                for link in rank.links:
                    link.abort()
            for channel in controller.channels:
                channel.abort()
            for server in rig.servers:
                server.close()
            tasks.cancel_scope.cancel()


async def _serve(rig: Rig, sock: socket.socket) -> None:
    try:
        await serve(rig.home, [sock], rig.settings, SystemClock(), rig.stop)
    finally:
        rig.stopped.set()
