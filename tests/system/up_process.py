"""A router as people start it, for tests that need the real thing."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glowplug.clock import SECOND, SystemClock
from glowplug.node.processes import is_alive
from glowplug.settings import Home
from glowplug_router.supervisor.up_file import Up, UpFile

ROOT = Path(__file__).parents[2]
READY_S = 30.0
_CODE = """
import sys
from pathlib import Path
from glowplug.errors import GlowplugError
from glowplug.settings import Home
from glowplug_router.settings import UpSettings
from glowplug_router.supervisor.main import run_up
try:
    settings = UpSettings(home=Home(Path(sys.argv[1])), port=int(sys.argv[2]), keep=sys.argv[3] == "keep")
    sys.exit(run_up(settings, lambda text: print(text, flush=True)))
except GlowplugError as error:
    print(error, flush=True)
    sys.exit(2)
"""


@dataclass
class Router:
    """A running `up`."""

    process: subprocess.Popen[str]
    home: Home

    @property
    def up(self) -> Up:
        up = UpFile(self.home).read()
        assert up is not None
        return up

    @property
    def key(self) -> str:
        return str(json.loads(self.home.profiles.read_text())["profiles"]["local"]["key"])

    @property
    def port(self) -> int:
        return int(self.up.url.rpartition(":")[2])

    def child(self, role: str) -> int:
        return dict(self.up.children)[role].pid

    def kill(self, role: str) -> int:
        """Kill a child, wait until another plays its part, and return that one's pid."""
        old = self.child(role)
        os.kill(old, signal.SIGKILL)
        until(lambda: self.child(role) != old)
        return self.child(role)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(40)

    def ask(
        self, method: str, path: str, body: Any = None, timeout_s: float = 20.0
    ) -> tuple[int, Any]:
        """Send one request on a connection of its own; an answer that breaks off raises OSError."""
        data = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.key}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.port), timeout_s) as client:
            client.sendall(head.encode() + data)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        top, _, rest = answer.partition(b"\r\n\r\n")
        if not top.startswith(b"HTTP/1.1 "):
            raise ConnectionResetError("no answer")
        if b"chunked" in top.lower():
            rest = _unchunked(rest)
        status = int(top.split(b" ", 2)[1])
        lines = [json.loads(line) for line in rest.splitlines() if line.strip()]
        return status, lines[0] if len(lines) == 1 else lines


def _unchunked(data: bytes) -> bytes:
    whole = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        whole, data = whole + data[:length], data[length + 2 :]
        if length == 0:
            break
    return whole


def start(folder: Path, port: int = 0, *, keep: bool = False, ready: bool = True) -> Router:
    """Start a router in a home of its own, and wait until it says that it serves."""
    paths = os.pathsep.join(str(ROOT / one) for one in ("runtime", "packager", "router"))
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE, str(folder), str(port), "keep" if keep else ""],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    if ready:
        assert process.stdout is not None
        seen = ""
        while "serves at" not in seen:
            assert select.select([process.stdout], [], [], READY_S)[0], f"not ready: {seen}"
            line = process.stdout.readline()
            assert line, f"ended: {seen}"
            seen += line
    return Router(process, Home(folder))


@contextmanager
def router(folder: Path, *, keep: bool = False) -> Iterator[Router]:
    """Have a router for a while; whatever becomes of it, no process of it is left."""
    it = start(folder, keep=keep)
    try:
        yield it
    finally:
        if it.process.poll() is None:
            it.stop()
        if it.process.stdout is not None:
            it.process.stdout.close()


def until(claim: Any, seconds: float = 15.0) -> None:
    """Wait until something is so."""
    clock = SystemClock()
    deadline_ns = clock.now_ns() + int(seconds * SECOND)
    while not claim():
        assert clock.now_ns() < deadline_ns, "it did not come about"
        select.select([], [], [], 0.02)


def gone(pid: int) -> bool:
    return not is_alive(pid)
