"""How does a test play agent and gateway to a real rank process?"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct
from typing import Any

import anyio
import msgspec

from glowplug.clock import SECOND
from glowplug.errors import WireError
from glowplug.node.messages import RankLaunch, RankStats
from glowplug.settings import environment as environment_of_tests
from glowplug.spec import EndpointSpec, Timeouts
from glowplug.wire.channel import Channel, Exchange, dial_channel
from glowplug.wire.frames import FLAG_END, Frame, Kind
from glowplug.wire.messages import (
    Command,
    Hello,
    Infer,
    Response,
    pack,
    to_json,
    unpack_failure,
    unpack_hello,
    unpack_response,
)
from glowplug.wire.transport import FrameProtocol, dial

U64 = Struct("<Q")
PATIENCE_S = 15.0
GOODBYE_S = 3.0  # a rank that is idle ends in a tenth of that
REPO = Path(__file__).parents[2]


class Gateway(FrameProtocol):
    """The gateway's end of a data socket: keeps frames by stream, credits nothing by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.hellos: list[Hello] = []
        self.frames: dict[int, list[Frame]] = {}
        self.asked: list[Frame] = []
        self._next = -1
        self._changed = asyncio.Event()

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if kind == Kind.HELLO:
            self.hellos.append(unpack_hello(meta))
        elif kind == Kind.INFER:
            self.asked.append(Frame(kind, flags, rid, meta, body))
        else:
            self.frames.setdefault(rid, []).append(Frame(kind, flags, rid, meta, body))
        self._changed.set()

    def lost(self, error: Exception | None) -> None:
        self._changed.set()

    def open(self, body: bytes = b"{}", infer: Infer | None = None, flags: int = FLAG_END) -> int:
        """Send INFER and return its id."""
        self._next += 2
        self.send(Kind.INFER, self._next, pack(infer or call()), body, flags)
        return self._next

    async def until(self, condition: Any) -> None:
        """Wait until something that arrives makes the condition true."""
        with anyio.fail_after(PATIENCE_S):
            while not condition():
                if self.closed:
                    raise WireError("the rank closed the connection")
                self._changed.clear()
                await self._changed.wait()

    async def ended(self, rid: int) -> list[Frame]:
        """Wait for the terminal frame and return all of the stream."""
        await self.until(lambda: any(one.flags & FLAG_END for one in self.frames.get(rid, ())))
        return self.frames.pop(rid)

    async def ask(self, body: bytes = b"{}", infer: Infer | None = None) -> tuple[Response, bytes]:
        """Call and return head and body of a plain answer."""
        (only,) = await self.ended(self.open(body, infer))
        assert only.kind == Kind.RESPONSE, (Kind(only.kind).name, only.body)
        return unpack_response(only.meta), only.body

    async def refused(self, rid: int) -> tuple[str, str, Any]:
        """Return code, executed and problem of the ERROR that ends a stream."""
        last = (await self.ended(rid))[-1]
        assert last.kind == Kind.ERROR, (Kind(last.kind).name, last.body)
        failure = unpack_failure(last.meta)
        problem = msgspec.json.decode(last.body)
        assert problem["code"] == failure.code
        assert problem["executed"] == failure.executed
        return failure.code, failure.executed, problem

    def credit(self, rid: int, size: int) -> None:
        self.send(Kind.CREDIT, rid, U64.pack(size))

    def cancel(self, rid: int) -> None:
        self.send(Kind.CANCEL, rid)


def call(request_id: str = "r1", **fields: Any) -> Infer:
    headers = (("content-type", "application/json"), *fields.pop("headers", ()))
    return Infer("/echo", endpoint="demo/echo", request_id=request_id, headers=headers, **fields)


@dataclass
class Rank:
    """A rank process under test."""

    launch: RankLaunch
    process: "subprocess.Popen[bytes]"
    agent: Channel
    gateway: Gateway
    first: RankStats | None = None

    async def command(
        self, kind: Kind, epoch: int = 1, body: bytes = b"", **fields: Any
    ) -> RankStats:
        answer = await self.agent.command(kind, Command(epoch, **fields), body)
        return msgspec.json.decode(answer, type=RankStats)

    async def stats(self) -> RankStats:
        return await self.command(Kind.STATS)

    async def exit_code(self) -> int:
        with anyio.fail_after(PATIENCE_S):
            return await anyio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)

    def log(self) -> list[dict[str, Any]]:
        return [
            msgspec.json.decode(line)
            for line in Path(self.launch.log_path).read_bytes().splitlines()
        ]


async def logged(rank: Rank, **wanted: Any) -> dict[str, Any]:
    """Wait for a line with these fields: lines about calls are written a moment later."""
    with anyio.fail_after(PATIENCE_S):
        while True:
            for line in rank.log():
                if all(line.get(name) == value for name, value in wanted.items()):
                    return line
            await anyio.sleep(0.02)


def launch_of(tmp_path: Path, code: str, target: str = "echo", **spec: Any) -> RankLaunch:
    """Write the code and return the record that launches it; `is_async` and the schema follow the code itself."""
    folder = tmp_path / "code"
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(code)
    run_ns = spec.pop("run_ns", 20 * SECOND)
    start_ns = spec.pop("start_ns", 30 * SECOND)
    made = EndpointSpec(
        app="demo",
        name="echo",
        target=f"app:{target}",
        kind=spec.pop("kind", "function"),
        timeouts=Timeouts(run_ns=run_ns, start_ns=start_ns),
        **spec,
    )
    return RankLaunch(
        replica="rep-1",
        version="demo/echo@1",
        spec=made,
        code_path=str(folder),
        data_socket=str(tmp_path / "d"),
        control_socket=str(tmp_path / "c"),
        log_path=str(tmp_path / "log.jsonl"),
        epoch=1,
        lease_ns=60 * SECOND,
    )


@asynccontextmanager
async def running(launch: RankLaunch) -> AsyncIterator[Rank]:
    """Start the rank, connect as agent and as gateway, and end it whatever happens."""
    with _spawned(launch) as process:
        async with anyio.create_task_group() as group:
            agent = await _dial_agent(launch, process, group.start_soon)
            gateway = await dial(f"unix:{launch.data_socket}", Gateway)
            try:
                yield Rank(launch, process, agent, gateway)
            finally:
                agent.close()
                gateway.close()
                group.cancel_scope.cancel()


@asynccontextmanager
async def ready(launch: RankLaunch) -> AsyncIterator[Rank]:
    """Start the rank and wait until it greets as ready."""
    async with running(launch) as rank:
        try:
            await rank.gateway.until(
                lambda: any(one.state in ("ready", "draining") for one in rank.gateway.hellos)
            )
        except WireError:
            pass
        stats = await rank.stats()
        assert stats.state == "ready", stats.detail
        rank.first = stats
        yield rank


def edited(
    launch: RankLaunch, folder: Path, code: str, version: str = "demo/echo@2", **spec: Any
) -> RankLaunch:
    """Return the launch record of changed code in another folder."""
    folder.mkdir()
    (folder / "app.py").write_text(code)
    return replace(
        launch, code_path=str(folder), version=version, spec=replace(launch.spec, **spec)
    )


class _spawned:  # noqa: N801  # a context manager in the place of a function
    def __init__(self, launch: RankLaunch) -> None:
        self._launch = launch

    def __enter__(self) -> "subprocess.Popen[bytes]":
        ours, theirs = socket.socketpair()
        environment = {
            name: value
            for name, value in environment_of_tests().items()
            if name.startswith("COVERAGE")
        }
        environment |= {"PYTHONPATH": str(REPO / "runtime"), "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-P", "-m", "glowplug.worker", "--fd", str(theirs.fileno())]
        self._errors = Path(f"{self._launch.log_path}.out").open("ab")
        self.process = subprocess.Popen(
            command,
            pass_fds=(theirs.fileno(),),
            env=environment,
            stdout=self._errors,
            stderr=self._errors,
        )
        theirs.close()
        ours.sendall(to_json(self._launch))
        ours.close()
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._errors.close()


async def _dial_agent(
    launch: RankLaunch, process: "subprocess.Popen[bytes]", spawn: Any
) -> Channel:
    async def refuse(exchange: Exchange) -> None:
        exchange.fail("bad_request", "the agent of this test answers nothing")

    with anyio.fail_after(PATIENCE_S):
        while True:
            try:
                return await dial_channel(
                    f"unix:{launch.control_socket}", Hello("agent", epoch=1), refuse, spawn
                )
            except OSError:
                said = Path(f"{launch.log_path}.out").read_text()
                assert process.poll() is None, said
                await anyio.sleep(0.005)


async def begun(gate: Path) -> int:
    """Wait until code waits at a gate (it reads a FIFO); the gate opens when the descriptor is closed."""
    with anyio.fail_after(PATIENCE_S):
        while True:
            try:
                return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads yet
                await anyio.sleep(0.005)


async def open_gate(gate: Path) -> None:
    """Let what waits at a gate go on."""
    os.close(await begun(gate))


def items(frames: list[Frame]) -> bytes:
    """Return the body of a streamed answer."""
    return b"".join(frame.body for frame in frames if frame.kind == Kind.CHUNK)
