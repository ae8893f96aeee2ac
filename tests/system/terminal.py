"""How does a test type commands as a person would? As processes, in a home of their own."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GLOWPLUG = [sys.executable, "-m", "glowplug"]
COMMAND_MAX_S = 30.0


SHOP = '''from collections.abc import Iterator

from glowplug import endpoint


@endpoint(examples=[{"name": "world"}])
def greet(name: str, times: int = 1) -> str:
    """Greet someone."""
    print("greeting", name)
    return " ".join([f"Hello, {name}!"] * times)


@endpoint(examples=[{"x": 3}])
def halve(x: int) -> float:
    return 1 / (x - 1)


@endpoint(examples=[{"n": 2}])
def count(n: int) -> Iterator[dict[str, int]]:
    for i in range(n):
        yield {"i": i}


@endpoint
def look(img: bytes, title: str = "") -> dict[str, str | int]:
    return {"bytes": len(img), "title": title}


@endpoint
def reverse(data: bytes) -> bytes:
    return data[::-1]
'''


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def last(self) -> Any:
        """The last of the JSON lines on stdout."""
        return json.loads(self.out.splitlines()[-1])


class Terminal:
    """A folder to work in, and a home in which nothing is known yet."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.folder = base / "work"
        self.folder.mkdir()
        self.home = base / "home"
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GLOWPLUG_") or name == "GLOWPLUG_WITHOUT"
        }
        self.env = kept | {"GLOWPLUG_HOME": str(self.home), "COLUMNS": "80", "NO_COLOR": "1"}

    def type(
        self,
        *words: str,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Said:
        """Run `glowplug WORDS…` and wait for its end."""
        done = subprocess.run(
            [*GLOWPLUG, *words],
            cwd=cwd or self.folder,
            env=self.env | dict(env or {}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_MAX_S,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str, stdin: str = "") -> Said:
        """Run a command that must succeed."""
        said = self.type(*words, stdin=stdin)
        assert said.code == 0, (words, said)
        return said

    def app(self, name: str, text: str) -> str:
        """Write a file into a folder of its own (what lies beside it goes along) and return how to name it."""
        file = self.base / name / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return f"../{name}/{name}.py"

    def shell(self, line: str) -> str:
        """Run a pasted line and return what it printed."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=COMMAND_MAX_S,
            check=True,
        )
        return done.stdout

    def begin(self, *words: str) -> "Running":
        """Start a command that goes on."""
        return Running([*GLOWPLUG, *words], self.folder, self.env)


@contextmanager
def shop_terminal(base: Path) -> Iterator[Terminal]:
    """Lend a terminal on a running router to which the app `shop` was deployed."""
    here = Terminal(base)
    (here.folder / "shop.py").write_text(SHOP)
    (here.folder / "a.bin").write_bytes(b"\0\1\2")
    here.ok("up", "--detach", "--port", "0")
    try:
        here.ok("deploy", "shop.py", "-m", "first")
        yield here
    finally:
        here.type("down")


class Running:
    """A command that goes on, read line by line."""

    def __init__(self, command: list[str], folder: Path, env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._rest = b""

    def line(self, limit_s: float = COMMAND_MAX_S) -> str:
        """Return the next line of stdout."""
        assert self.process.stdout is not None
        end = time.monotonic() + limit_s
        while b"\n" not in self._rest:
            left_s = end - time.monotonic()
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, left_s))
            piece = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            if not piece:
                assert self.process.stderr is not None
                os.set_blocking(self.process.stderr.fileno(), False)
                raise AssertionError(("no line came", self._rest, self.process.stderr.read()))
            self._rest += piece
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()

    def until(self, *events: str) -> dict[str, Any]:
        """Return the next JSON line that is one of these events."""
        while True:
            record: dict[str, Any] = json.loads(self.line())
            if record.get("event") in events:
                return record

    def end(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        _, _ = self.process.communicate(timeout=COMMAND_MAX_S)
        return self.process.returncode


def processes_of(home: Path) -> list[str]:
    """Return the command lines of all processes that work in a home."""
    wanted = f"GLOWPLUG_HOME={home}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
        if command and wanted in variables:
            found.append(f"{folder.name} {command}")
    return found


def eventually_none(home: Path, limit_s: float = 10.0) -> list[str]:
    """Return what still works in a home once nothing does, or the time is over."""
    end = time.monotonic() + limit_s
    while (found := processes_of(home)) and time.monotonic() < end:
        select.select([], [], [], 0.05)
    return found
