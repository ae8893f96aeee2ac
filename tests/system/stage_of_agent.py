"""What does an agent need around it to be tried? A controller that remembers, endpoints on disk, and a way to wait."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import msgspec

from glowplug.artifact import Bundle, Layer
from glowplug.node.cgroups import detect
from glowplug.node.messages import Desired, LogQuery, Report, Residency, Want
from glowplug.settings import Home, environment
from glowplug.spec import EndpointSpec, Needs, Timeouts
from glowplug.wire.channel import Channel, Exchange
from glowplug.wire.messages import Hello, to_json
from glowplug.wire.transport import listen

WAIT_S = 20.0  # for anything: a loaded machine starts an interpreter in seconds
REPO = Path(__file__).parents[2]

HELLO = """
from glowplug import endpoint

@endpoint(app="shop")
def hello(name: str) -> str:
    return "hello " + name
"""

LOADS = """
from pathlib import Path
from glowplug import endpoint, on

@endpoint(app="shop")
class Hello:
    @on.load
    def load(self):
        with Path(__file__).with_name("loads").open("a") as file:
            file.write("x")

    def __call__(self, name: str) -> str:
        return "hello " + name
"""


@dataclass
class Controller:
    """The agent's other side: keeps the last report, gives out blobs and secrets."""

    spawn: Callable[..., object]
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    report: Report | None = None
    channel: Channel | None = None
    number: int = 0
    epoch: int = 1
    wants: tuple[Want, ...] = ()
    prime: tuple[str, ...] = ()
    hello: Hello | None = None
    news: anyio.Event = field(default_factory=anyio.Event)

    def accept(self) -> Channel:
        self.channel = Channel(Hello("controller"), self.answer, self.spawn, dialling=False)
        return self.channel

    async def answer(self, exchange: Exchange) -> None:
        match exchange.infer.path:
            case "/-/report":
                self.report = msgspec.json.decode(await exchange.body.read(), type=Report)
                self.news.set()
                self.news = anyio.Event()
                exchange.respond()
            case "/-/secrets":
                names = msgspec.json.decode(await exchange.body.read(), type=list[str])
                exchange.respond(to_json({n: self.secrets[n] for n in names if n in self.secrets}))
            case "/-/blob":
                data = self.blobs.get(exchange.infer.query.removeprefix("digest="))
                if data is None:
                    exchange.fail("not_found", "no such blob")
                    return
                out = exchange.begin()
                await out.write(data)
                out.end()
            case path:
                exchange.fail("not_found", path)

    def want(self, *wants: Want) -> None:
        """Tell the agent what it should have."""
        self.wants = wants
        self.number += 1
        assert self.channel is not None
        self.channel.notify(
            "/-/desired",
            to_json(Desired(epoch=self.epoch, number=self.number, wants=wants, prime=self.prime)),
        )

    async def until(self, true_of: Callable[[Report], bool], wait_s: float = WAIT_S) -> Report:
        """Wait for a report of which something is true."""
        with anyio.move_on_after(wait_s):
            while self.report is None or not true_of(self.report):
                await self.news.wait()
            return self.report
        raise AssertionError(f"not within {wait_s} s; the last report: {self.report}")

    async def residency(self, replica: str, *states: str, wait_s: float = WAIT_S) -> Residency:
        """Wait until a replica is in one of these states."""

        def there(report: Report) -> bool:
            return any(one.replica == replica and one.state in states for one in report.residencies)

        report = await self.until(there, wait_s)
        return next(one for one in report.residencies if one.replica == replica)

    async def logs(self, query: LogQuery) -> list[dict[str, object]]:
        """Ask for log lines."""
        assert self.channel is not None
        _, body = await self.channel.request("/-/logs", to_json(query))
        return [msgspec.json.decode(line) for line in body.splitlines()]


@asynccontextmanager
async def controlled(home: Home) -> AsyncIterator[Controller]:
    """Listen as the controller of that home."""
    async with anyio.create_task_group() as group:
        controller = Controller(group.start_soon)
        home.run.mkdir(parents=True, exist_ok=True)
        server = await listen(home.run / "controller.sock", controller.accept)
        try:
            yield controller
        finally:
            server.close()
            if controller.channel is not None:
                controller.channel.close()
            group.cancel_scope.cancel()


async def until(true: Callable[[], bool], wait_s: float = WAIT_S) -> None:
    """Wait for what announces itself to nobody: another process's end, a file."""
    with anyio.fail_after(wait_s):
        while not true():  # noqa: ASYNC110  # there is no event to wait for
            await anyio.sleep(0.01)


@asynccontextmanager
async def agent_process(
    home: Home, *, lease_s: float = 30.0, without: str = ""
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run an agent as a process of its own, and end it and all ranks afterwards."""
    process = start_agent(home, lease_s=lease_s, without=without)
    try:
        yield process
    finally:
        end(process)


def start_agent(home: Home, *, lease_s: float = 30.0, without: str = "") -> subprocess.Popen[bytes]:
    """Start an agent."""
    path = os.pathsep.join(str(REPO / one) for one in ("runtime", "packager", "router"))
    command = [sys.executable, "-P", "-m", "glowplug.node", "--home", str(home.root)]
    command += ["--controller", f"unix:{home.run / 'controller.sock'}", "--name", "n1"]
    env = {**environment(), "PYTHONPATH": path}
    if without:
        env["GLOWPLUG_WITHOUT"] = without
    return subprocess.Popen([*command, "--lease", str(lease_s)], env=env)


def end(process: "subprocess.Popen[bytes]", number: int = signal.SIGTERM) -> None:
    """End an agent and wait for it."""
    if process.poll() is None:
        process.send_signal(number)
    process.wait(WAIT_S)


def source(folder: Path, text: str, name: str = "app.py") -> Path:
    """Write a user's file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


def wanted(
    code: Path,
    replica: str = "r1",
    *,
    target: str = "app:hello",
    version: str = "",
    examples: Sequence[Mapping[str, object]] = (),
    **spec: object,
) -> Want:
    """Return a want for the endpoint in that folder, run from where it lies."""
    name = target.partition(":")[2]
    made = EndpointSpec(
        app="shop", name=name, target=target, kind="function", examples=tuple(examples)
    )
    return Want(
        replica=replica,
        version=version or f"shop/{name}@1",
        spec=replace(made, **spec),  # type: ignore[arg-type]  # any field of a spec
        bundle=Bundle(app="shop", layers=(), source_path=str(code)),
        bundle_digest="sha256:" + "0" * 64,
    )


def shipped(text: str) -> tuple[Layer, bytes]:
    """Return a code layer with that as `app.py`, and its bytes."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        info = tarfile.TarInfo("app.py")
        info.size = len(text.encode())
        tar.addfile(info, io.BytesIO(text.encode()))
    data = sink.getvalue()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Layer(kind="code", digest=digest, size_bytes=len(data)), data


def limited(**needs: int) -> Needs:
    """Return needs with limits."""
    return Needs(**needs)  # type: ignore[arg-type]  # integers alone are given


def hasty(start_s: float) -> Timeouts:
    """Return timeouts with a short start."""
    return Timeouts(start_ns=int(start_s * 1e9))


def leftovers(home: Home) -> list[str]:
    """Return what a node with no replica must not have: sockets, records, groups, processes."""
    found = [str(one) for one in (home.run / "r").iterdir()]
    found += [str(one) for one in (home.node / "ranks").iterdir()]
    groups = detect(home.root)
    for parent in (groups.memory, groups.cpu):
        found += [str(one) for one in parent.glob(f"{groups.key}.*")] if parent else []
    return found + [str(pid) for pid in ranks_of(home)]


def ranks_of(home: Home) -> list[int]:
    """Return the processes that write below this home's logs: its ranks."""
    mine = str(home.node / "logs" / "shop")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "fd/1").readlink()).startswith(mine):
                found.append(int(process.name))
        except OSError:
            continue  # it has gone, or is not ours to look at
    return found


def clear(home: Home) -> None:
    """Kill the ranks that a test left on purpose."""
    for pid in ranks_of(home):
        os.kill(pid, signal.SIGKILL)
