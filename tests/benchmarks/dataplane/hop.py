"""What does 1 MiB cost between two processes? CPU of both, over a Unix socket, with shared memory and without.

`python hop.py` prints a line a way: `hop` is a request with 1 MiB and a small answer, `echo` is 1 MiB there and back.
`measure()` returns the same for the other benchmarks. `--loop asyncio` shows the loop without uvloop.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from struct import Struct

from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.messages import Hello, Infer, Response, pack, unpack_hello
from glowplug.wire.ring import RING_BYTES
from glowplug.wire.transport import FrameProtocol, dial, listen

BODY_BYTES = 1024 * 1024
CALLS = 200  # a round; the best of ROUNDS counts: others only add what else the machine does
ROUNDS = 7
WARM = 30  # before: pages are touched, the ring is open
SMALL = b"x" * 200
CPU_NS = Struct("<Q")
WAYS = ("hop", "echo")
CALL = {way: pack(Infer(f"/{way}")) for way in WAYS}
ANSWER = pack(Response())


class Peer(FrameProtocol):
    """What gateway and rank do with large bodies, and nothing else."""

    def connected(self) -> None:
        self.greet()

    def greet(self) -> None:
        self.send(Kind.HELLO, 0, pack(Hello("peer", ring=self.ring_offer())))

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if kind == Kind.HELLO:
            self.hear_offer(unpack_hello(meta).ring)


class Rank(Peer):
    """Answers, and says what CPU it has used."""

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if kind == Kind.INFER:
            echo = meta == CALL["echo"]
            self.send(Kind.RESPONSE, rid, ANSWER, body if echo else SMALL, FLAG_END)
        elif kind == Kind.STATS:
            used = CPU_NS.pack(time.process_time_ns())
            self.send(Kind.RESPONSE, rid, ANSWER, used, FLAG_END)
        else:
            super().frame(kind, flags, rid, meta, body)


class Gateway(Peer):
    """Asks one thing after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._rid = -1

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if kind == Kind.RESPONSE:
            self.answer.set_result(body)
        else:
            super().frame(kind, flags, rid, meta, body)

    async def ask(self, kind: int, meta: bytes, body: bytes) -> bytes:
        self.answer = asyncio.get_running_loop().create_future()
        self._rid += 2
        self.send(kind, self._rid, meta, body, FLAG_END)
        return await self.answer


async def drive(path: str) -> dict[str, float]:
    """Return the CPU milliseconds of both processes a call, for each way."""
    peer = await dial(f"unix:{path}", Gateway)
    body = bytes(range(256)) * (BODY_BYTES // 256)

    async def used_ns() -> int:
        theirs: int = CPU_NS.unpack(await peer.ask(Kind.STATS, b"", b""))[0]
        return theirs + time.process_time_ns()

    found = {}
    for way in WAYS:
        wanted = body if way == "echo" else SMALL
        for _ in range(WARM):
            assert await peer.ask(Kind.INFER, CALL[way], body) == wanted
        rounds = []
        for _ in range(ROUNDS):
            before = await used_ns()
            for _ in range(CALLS):
                await peer.ask(Kind.INFER, CALL[way], body)
            rounds.append((await used_ns() - before) / CALLS / 1e6)
        found[way] = min(rounds)
    peer.close()
    return found


async def serve(path: str) -> None:
    """Answer until killed."""
    await listen(Path(path), Rank)
    print("listening", flush=True)
    await asyncio.Event().wait()


def measure(loop: str = "uvloop") -> dict[str, float]:
    """Return CPU milliseconds of both processes together: hop_ms, echo_ms, and the same through the socket alone."""
    found: dict[str, float] = {}
    for ring_bytes, suffix in ((RING_BYTES, ""), (0, "_inline")):
        with tempfile.TemporaryDirectory(prefix="gp-") as folder:
            path = f"{folder}/s"
            command = [sys.executable, __file__, "--loop", loop, "--ring", str(ring_bytes)]
            with subprocess.Popen([*command, "--serve", path], stdout=subprocess.PIPE) as rank:
                try:
                    assert rank.stdout is not None
                    rank.stdout.readline()
                    out = subprocess.run(
                        [*command, "--drive", path], stdout=subprocess.PIPE, check=True
                    ).stdout
                finally:
                    rank.kill()
        found |= {f"{way}{suffix}_ms": cpu_ms for way, cpu_ms in json.loads(out).items()}
    return found


def main(arguments: list[str]) -> None:
    """Be one of the processes, or start them and print what they used."""
    told = dict(zip(arguments[::2], arguments[1::2], strict=True))
    loop = told.get("--loop", "uvloop")
    if "--ring" not in told:
        for name, cpu_ms in measure(loop).items():
            print(f"{name:16} {cpu_ms:.3f} ms CPU for 1 MiB, both processes ({loop})")
        return
    FrameProtocol.ring_bytes = int(told["--ring"])
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        if "--serve" in told:
            runner.run(serve(told["--serve"]))
        else:
            print(json.dumps(runner.run(drive(told["--drive"]))))


if __name__ == "__main__":
    main(sys.argv[1:])
