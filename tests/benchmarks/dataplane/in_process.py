"""What do a call's own steps cost the gateway, without sockets? CPU of its Python, and memory of a call that waits.

In tests/benchmarks: `python -m dataplane.in_process [PERMITS [AHEAD]]`. Sockets are stood in for, all else is real.
"""

import asyncio
import gc
import json
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import anyio

from dataplane.minimal_gateway import write_home
from glowplug.clock import SystemClock
from glowplug.settings import Home
from glowplug.wire.frames import FLAG_END, Kind, encode
from glowplug.wire.messages import Hello, Response, pack
from glowplug_router.gateway.guard import Guard
from glowplug_router.gateway.links import DataLink
from glowplug_router.gateway.main import Gateway, make_server
from glowplug_router.gateway.settings import GatewaySettings

CONNECTIONS = 64
TURNS = 40
ROUNDS = 60
BODY = json.dumps({"id": "req-1", "inputs": [[0.1] * 8], "parameters": {"k": 16}}).encode()
ANSWER = pack(
    Response(
        200,
        (("content-type", "application/json"),),
        "yes",
        (("decode", 2000), ("run", 1000), ("encode", 1500)),
    )
)


class Wire(asyncio.Transport):
    """A transport that keeps the last thing written."""

    def __init__(self) -> None:
        super().__init__()
        self.last = b""

    def write(self, data: Any) -> None:
        self.last = bytes(data)

    def writelines(self, list_of_data: Any) -> None:
        self.last = b"".join(list_of_data)

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        pass


class Bench:
    """One gateway with its connections and one replica."""

    def __init__(self, gateway: Gateway, key: str, permits: int, ahead: int) -> None:
        server = make_server(gateway)
        server.config.load()
        loop = asyncio.get_running_loop()
        self.engine = gateway.engine
        self.guards: list[tuple[Guard, Wire]] = []
        for _ in range(CONNECTIONS):
            guard, wire = Guard(gateway.front, server.config, server.server_state, {}, loop), Wire()
            guard.connection_made(wire)
            self.guards.append((guard, wire))
        self.link: DataLink = gateway.dialer._make_link("r1")
        self.link.connection_made(Wire())
        hello = Hello(
            "replica", "r1", permits=permits, ahead=ahead, version="bench/echo@1", state="ready"
        )
        self.link.data_received(encode(Kind.HELLO, 0, pack(hello)))
        head = (
            f"POST /bench/echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {key}\r\nContent-Length: {len(BODY)}\r\n\r\n"
        )
        self.request = head.encode() + BODY

    def arrive(self) -> None:
        """Let a call come in on every connection."""
        for guard, _ in self.guards:
            guard.data_received(self.request)

    def turn(self) -> None:
        """Let a call come in on every connection, and answer all that went out."""
        self.arrive()
        while pending := sorted(self.link.pending):
            self.link._flush()
            frames = [encode(Kind.RESPONSE, rid, ANSWER, BODY, FLAG_END) for rid in pending]
            self.link.data_received(b"".join(frames))

    def cpu_us(self) -> float:
        """Return the least CPU time a call took, over the rounds."""
        best = float("inf")
        for _ in range(ROUNDS):
            begun = time.thread_time_ns()
            for _ in range(TURNS):
                self.turn()
            best = min(best, (time.thread_time_ns() - begun) / TURNS / CONNECTIONS / 1000)
        return best

    def queued_bytes(self) -> float:
        """Return the memory of a call that waits, less its body. No replica takes calls afterwards."""
        self.engine.replica_leaving("r1")
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        self.arrive()
        size = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert len(self.engine.calls) == CONNECTIONS, "they all wait"
        return size / CONNECTIONS - sys.getsizeof(BODY)


async def main(permits: int = 256, ahead: int = 0) -> dict[str, float]:
    """Measure both."""
    folder = Path(tempfile.mkdtemp(prefix="gp"))
    key = write_home(folder, permits)
    async with anyio.create_task_group() as tasks:
        gateway = Gateway(Home(folder), GatewaySettings(), SystemClock(), tasks)
        gateway.load()
        bench = Bench(gateway, key, permits, ahead)
        for _ in range(3):
            bench.turn()
        assert bench.guards[-1][1].last.startswith(b"HTTP/1.1 200"), bench.guards[-1][1].last
        gc.collect()
        gc.freeze()
        found = {"cpu_us": round(bench.cpu_us(), 2), "queued_bytes": round(bench.queued_bytes())}
        tasks.cancel_scope.cancel()
    return found


def figures() -> dict[str, float]:
    """Return what a call costs in CPU, and in memory while it waits."""
    return anyio.run(main, 256, 0, backend_options={"use_uvloop": True})


if __name__ == "__main__":
    permits, ahead = (*map(int, sys.argv[1:]), *(256, 0)[len(sys.argv) - 1 :])
    sys.stdout.write(json.dumps(anyio.run(main, permits, ahead)) + "\n")
