"""What does a call cost the rank? CPU time of a real rank process, driven over its data socket by a bare frame client.

`python rank_cpu.py [--rounds 5] [--seconds 1] [--flights 1,8,64] [--only async,plain,…] [--other TREE] [--pin]`

`--other` names a second checkout: both are measured in turns, so that a busy machine is busy for both. `--pin` gives
rank and client a core each. Streams also print the time to their first item.
"""

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from glowplug.clock import SECOND
from glowplug.node.messages import RankLaunch
from glowplug.spec import EndpointSpec, Timeouts
from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.messages import Hello, Infer, pack, to_json, unpack_failure, unpack_hello
from glowplug.wire.transport import FrameProtocol, dial

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
BODY = (HERE.parent / "peers" / "echo.json").read_bytes()
STREAMS, CHUNKS = 32, 100
CODE = f"""
from collections.abc import AsyncIterator, Iterator
from typing import Any

from glowplug import endpoint


def answer(id: str, inputs: list[Any]) -> dict[str, Any]:
    return {{"id": id, "outputs": inputs, "model": "echo", "version": "v1"}}


@endpoint
async def in_async(id: str, inputs: list[Any]) -> dict[str, Any]:
    return answer(id, inputs)


@endpoint
def in_plain(id: str, inputs: list[Any]) -> dict[str, Any]:
    return answer(id, inputs)


@endpoint
def in_sync_stream(count: int = {CHUNKS}) -> Iterator[str]:
    for _ in range(count):
        yield "token"


@endpoint
async def in_async_stream(count: int = {CHUNKS}) -> AsyncIterator[str]:
    for _ in range(count):
        yield "token"
"""


@dataclass(frozen=True)
class Kinds:
    """One kind of endpoint: how it is declared and what is sent to it."""

    name: str
    is_async: bool
    permits: int
    flights: tuple[int, ...]
    body: bytes = BODY
    pieces: int = 0  # events of a streamed answer that are counted as the unit; 0 = the call is


@dataclass
class Subject:
    """A rank of one checkout, and what it cost."""

    tree: str
    kind: Kinds
    pid: int
    address: str
    costs: dict[int, list["Cost"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """One round: CPU of the rank a unit, units a second, time to a stream's first item, calls handed back."""

    cpu_us: float
    rate: float
    first_us: float
    back: int


class Client(FrameProtocol):
    """Keeps a number of calls in flight, but never more than the rank takes."""

    def __init__(self) -> None:
        super().__init__()
        self.hello = Hello("replica")
        self.done = self.back = self.pieces = 0
        self.first_ns: list[int] = []
        self._sent: dict[int, int] = {}
        self._request = b""
        self._flights = 0
        self._room = 0
        self._next = 1
        self._greeted = asyncio.Event()
        self._idle = asyncio.Event()
        headers = (("content-type", "application/json"), ("accept", "*/*"))
        self._meta = pack(
            Infer(
                "/bench/echo",
                "POST",
                "native",
                "",
                headers,
                "bench/echo",
                "bench/echo@1",
                "tenant",
                "standard",
                60 * SECOND,
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "req_0123456789abcdefghijklmnop",
            )
        )

    def units(self, kind: Kinds) -> int:
        """Return how much was answered so far, in what this kind is counted in."""
        return self.pieces if kind.pieces else self.done

    async def ready(self) -> None:
        """Wait until the rank takes calls."""
        while self.hello.state != "ready":
            self._greeted.clear()
            await asyncio.wait_for(self._greeted.wait(), 20)

    def start(self, flights: int, body: bytes) -> None:
        """Keep so many calls under way from now on."""
        self._flights, self._request = flights, body
        self._fill()

    async def stop(self) -> None:
        """Send no more, and wait for what is under way."""
        self._flights = 0
        self._idle.clear()
        if self._sent:
            await self._idle.wait()

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if kind == Kind.HELLO:
            self.hello = unpack_hello(meta)
            self._room = self.hello.permits + getattr(self.hello, "ahead", 0)
            self._greeted.set()
        elif kind == Kind.ERROR:
            failure = unpack_failure(meta)
            assert failure.code == "handed_back", body
            self.back += 1
        elif body:
            self.pieces += body.count(b"\n\n")
            if kind == Kind.CHUNK and (sent := self._sent.get(rid)):
                self.first_ns.append(time.monotonic_ns() - sent)
                self._sent[rid] = 0
        if flags & FLAG_END:
            self.done += kind != Kind.ERROR
            self._sent.pop(rid, None)
        if not self._sent:
            self._idle.set()
        self._fill()

    def _fill(self) -> None:
        while len(self._sent) < min(self._flights, self._room):
            self._sent[self._next] = time.monotonic_ns()
            self.send(Kind.INFER, self._next, self._meta, self._request, FLAG_END)
            self._next += 2


def cpu_us(pid: int) -> float:
    """Return the CPU time that the threads of a process have used, in microseconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((one / "schedstat").read_text().split()[0]) for one in tasks) / 1000


@contextmanager
def rank(source: Path, folder: Path, kind: Kinds, core: int | None) -> Iterator[Subject]:
    """Run a rank of a checkout until the block ends."""
    folder.mkdir(parents=True)
    (folder / "app.py").write_text(CODE)
    launch = RankLaunch(
        replica="rep-1",
        version="bench/echo@1",
        spec=EndpointSpec(
            app="bench",
            name="echo",
            target=f"app:in_{kind.name}",
            kind="function",
            is_async=kind.is_async,
            concurrency=kind.permits,
            timeouts=Timeouts(run_ns=60 * SECOND, start_ns=60 * SECOND),
        ),
        code_path=str(folder),
        data_socket=str(folder / "d"),
        control_socket=str(folder / "c"),
        log_path=str(folder / "log.jsonl"),
        epoch=1,
        lease_ns=3600 * SECOND,
    )
    ours, theirs = socket.socketpair()
    pinned = ["taskset", "-c", str(core)] if core is not None else []
    process = subprocess.Popen(
        [*pinned, sys.executable, "-P", "-m", "glowplug.worker", "--fd", str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        env={**os.environ, "PYTHONPATH": str(source / "runtime")},
    )
    theirs.close()
    ours.sendall(to_json(launch))
    ours.close()
    try:
        for _ in range(400):
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(folder / "d")) == 0:
                    break
            time.sleep(0.05)
        yield Subject(source.name, kind, process.pid, f"unix:{folder / 'd'}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


async def measure(subject: Subject, flights: int, seconds: float) -> Cost:
    """Measure one round."""
    client = await dial(subject.address, Client)
    await client.ready()
    client.start(flights, subject.kind.body)
    await asyncio.sleep(0.2)  # the rank finds out what it can take
    before, begun, counted = cpu_us(subject.pid), time.monotonic(), client.units(subject.kind)
    await asyncio.sleep(seconds)
    used, took = cpu_us(subject.pid) - before, time.monotonic() - begun
    made = client.units(subject.kind) - counted
    await client.stop()
    client.close()
    firsts = statistics.median(client.first_ns) / 1000 if client.first_ns else 0.0
    return Cost(used / made, made / took, firsts, client.back)


async def pause(subject: Subject) -> None:
    """Warm the rank up."""
    await measure(subject, 8, 0.3)


KINDS = (
    Kinds("async", is_async=True, permits=256, flights=(1, 8, 64)),
    Kinds("plain", is_async=False, permits=1, flights=(1, 8, 64)),
    Kinds("sync_stream", False, STREAMS, (1, STREAMS), b"{}", CHUNKS),
    Kinds("async_stream", True, STREAMS, (1, STREAMS), b"{}", CHUNKS),
)


def main() -> None:
    """Measure and print one line for each kind, number of calls in flight and checkout."""
    import uvloop

    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default=",".join(one.name for one in KINDS))
    parser.add_argument("--flights", default="")
    parser.add_argument("--other", type=Path)
    parser.add_argument("--pin", action="store_true")
    asked = parser.parse_args()
    ours, theirs = (1, 0) if asked.pin else (None, None)
    if theirs is not None:
        os.sched_setaffinity(0, {theirs})
    wanted = tuple(map(int, asked.flights.split(","))) if asked.flights else ()
    sources = [asked.other, ROOT] if asked.other is not None else [ROOT]
    for kind in (one for one in KINDS if one.name in asked.only.split(",")):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gp")))
            subjects = [
                stack.enter_context(rank(source, folder / str(number), kind, ours))
                for number, source in enumerate(sources)
            ]
            report(kind, subjects, wanted or kind.flights, asked.rounds, asked.seconds, uvloop.run)


def report(
    kind: Kinds,
    subjects: list[Subject],
    flights: tuple[int, ...],
    rounds: int,
    seconds: float,
    run: object,
) -> None:
    """Measure in turns and print the medians."""
    assert callable(run)
    for subject in subjects:
        run(pause(subject))
    for _ in range(rounds):
        for number in flights:
            for subject in subjects:
                subject.costs.setdefault(number, []).append(run(measure(subject, number, seconds)))
    unit = "chunk" if kind.pieces else "call"
    for number in flights:
        for subject in subjects:
            costs = subject.costs[number]
            cpu = [one.cpu_us for one in costs]
            rate = statistics.median(one.rate for one in costs)
            first = statistics.median(one.first_us for one in costs)
            print(
                f"{kind.name:13} flight {number:<3} {subject.tree:8} {statistics.median(cpu):7.2f} us a {unit}"
                f" (best {min(cpu):6.2f}), {rate:9.0f} {unit}s/s"
                + (f", first item {first:7.0f} us" if kind.pieces else "")
                + (f", {back} handed back" if (back := sum(one.back for one in costs)) else ""),
                flush=True,
            )


if __name__ == "__main__":
    main()
