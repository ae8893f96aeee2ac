"""What does a test of the whole need around it? A router of its own, a person's commands, and plain HTTP."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from glowplug.node.processes import identity

WAIT_S = 20.0  # for anything: a loaded machine starts an interpreter in seconds
LOOK_S = 0.02
GLOWPLUG = (sys.executable, "-P", "-m", "glowplug")
_T = TypeVar("_T")


def until(look: Callable[[], _T], seconds: float = WAIT_S, what: str = "") -> _T:
    """Return the first true thing that `look` returns; fail when none came in time."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"not within {seconds} s: {what or look}"
        threading.Event().wait(LOOK_S)
    return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def executed(self) -> str:
        return self.headers.get("glowplug-executed", "(not said)")

    @classmethod
    def of(cls, answer: http.client.HTTPResponse) -> "Answer":
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return cls(answer.status, headers, answer.read())


def reading(sock: socket.socket) -> http.client.HTTPResponse:
    """Read the head of what comes back on a connection; the body is left."""
    answer = http.client.HTTPResponse(sock, method="POST")
    answer.begin()
    return answer


def refused(answer: Answer, status: int, code: str, executed: str) -> dict[str, Any]:
    """Check all that every refusal must have, and return its problem document."""
    said = f"{answer.status} {answer.headers} {answer.body!r}"
    assert answer.headers["content-type"] == "application/problem+json", said
    problem: dict[str, Any] = answer.json
    assert (answer.status, problem["code"], answer.executed) == (status, code, executed), said
    assert problem["hint"], said
    assert problem["status"] == status, said
    assert problem["request_id"] == answer.headers["x-request-id"], said
    return problem


class Place:
    """A router and a node in a home of their own."""

    def __init__(self, home: Path, sources: Path) -> None:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GLOWPLUG_") or name == "GLOWPLUG_WITHOUT"
        }
        self.home = home
        self.sources = sources
        self.env = kept | {"GLOWPLUG_HOME": str(home)}
        self.url = self.key = ""
        self.port = 0

    # -- a person's commands ---------------------------------------------------------------------

    def glowplug(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command line, whatever comes of it."""
        return subprocess.run(
            [*GLOWPLUG, *words], env=self.env, input=stdin, capture_output=True, text=True, check=False, timeout=50
        )  # fmt: skip  # one call, one line

    def run(self, *words: str, stdin: str = "") -> list[Any]:
        """Run one that must succeed, and return the documents it printed."""
        done = self.glowplug(*words, "--json", stdin=stdin)
        assert done.returncode == 0, f"glowplug {words}: {done.stdout}{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    def up(self, *options: str) -> None:
        """Start, or start again at the same port."""
        self.run("up", "--detach", "--port", str(self.port), *options)
        profile = json.loads((self.home / "profiles.json").read_text())["profiles"]["local"]
        self.url, self.key = profile["url"], profile["key"]
        self.port = int(self.url.rpartition(":")[2])

    def write(self, app: str, source: str) -> Path:
        """Write an app's file."""
        file = self.sources / app / "app.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
        return file

    def deploy(self, app: str, source: str) -> dict[str, Any]:
        """Deploy an app, and return the event that ended it."""
        done: dict[str, Any] = self.run("deploy", str(self.write(app, source)))[-1]
        return done

    def refused_deploy(self, app: str, source: str) -> dict[str, Any]:
        """Deploy what cannot be, and return the problem."""
        done = self.glowplug("deploy", str(self.write(app, source)), "--json")
        assert done.returncode != 0, done.stdout
        problem: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["error"]
        assert problem["hint"], problem
        return problem

    # -- HTTP ------------------------------------------------------------------------------------

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)

    def head(self, headers: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the headers of a call; an empty value leaves one out."""
        usual = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        return {name: value for name, value in (usual | dict(headers or {})).items() if value}

    def send(
        self, path: str, body: Any = None, headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Answer:  # fmt: skip  # one call, one line
        """Send a request; what is not bytes goes as JSON."""
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        connection = self.connect()
        try:
            connection.request(method, path, data, self.head(headers))
            return Answer.of(connection.getresponse())
        finally:
            connection.close()

    def api(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Ask the control API."""
        answer = self.send(f"/-/api{path}", body, method=method)
        assert answer.status < 300, answer
        return answer.json

    def answers(self, path: str, body: Any) -> Any:
        """Call an endpoint that must answer."""
        answer = self.send(path, body)
        assert answer.status == 200, answer
        return answer.json

    def announce(
        self, path: str, size: int, headers: Mapping[str, str] | None = None
    ) -> socket.socket:
        """Send the head of a call whose body has so many bytes, and nothing of the body."""
        names = self.head(headers) | {"host": "localhost", "content-length": str(size)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in names.items())
        sock = socket.create_connection(("127.0.0.1", self.port), WAIT_S)
        sock.sendall(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode())
        return sock

    def open_call(
        self, path: str, body: Any, headers: Mapping[str, str] | None = None
    ) -> socket.socket:
        """Send a call and leave its answer to be read."""
        data = json.dumps(body).encode()
        sock = self.announce(path, len(data), headers)
        sock.sendall(data)
        return sock

    # -- what runs -------------------------------------------------------------------------------

    def replicas(self, app: str, endpoint: str = "") -> list[dict[str, Any]]:
        """Return the replicas of an app, or of one endpoint, draining ones included."""
        shown = self.api(f"/apps/{app}")["endpoints"]
        return [
            {**replica, "version": version["version"]}
            for one in shown
            if endpoint in ("", one["endpoint"])
            for version in one["versions"]
            for replica in version["replicas"]
        ]

    def ready(self, app: str, endpoint: str = "") -> dict[str, int]:
        """Return the process of each ready replica."""
        found = self.replicas(app, endpoint)
        return {one["id"]: one["pid"] for one in found if one["state"] == "ready"}

    def daemons(self) -> dict[str, int]:
        """Return the pid of each of the router's processes that runs."""
        up = json.loads((self.home / "router" / "up.json").read_text())
        known = {"supervisor": up["supervisor"]["pid"]}
        known |= {role: one["pid"] for role, one in up["children"]}
        return {role: pid for role, pid in known.items() if is_alive(pid)}

    def zygotes(self) -> list[int]:
        return [
            pid for pid, what in processes_of(self.home).items() if "glowplug.node.zygote" in what
        ]

    def strangers(self) -> dict[int, str]:
        """Return processes of this home that nobody accounts for."""
        nodes = self.api("/nodes")["nodes"]
        known = {one["pid"] for node in nodes for one in node["replicas"]}
        known |= {*self.daemons().values(), *self.zygotes()}
        return {pid: what for pid, what in processes_of(self.home).items() if pid not in known}

    def settle(self) -> None:
        """Wait until every process of this home is one that somebody accounts for."""
        until(lambda: not self.strangers(), what="processes that nobody owns")

    def log_lines(self, app: str) -> list[dict[str, Any]]:
        """Return what an app's replicas have logged."""
        connection = self.connect()
        try:
            connection.request("GET", f"/-/api/logs?app={app}&tail=1000", headers=self.head())
            return [
                json.loads(line) for line in Answer.of(connection.getresponse()).body.splitlines()
            ]
        finally:
            connection.close()


@contextmanager
def place(folder: Path, *options: str) -> Iterator[Place]:
    """Start a router, and leave nothing behind whatever happens."""
    here = Place(folder / "home", folder / "sources")
    here.up(*options)
    try:
        yield here
    finally:
        here.glowplug("down")
        for pid in processes_of(here.home):
            kill(pid)


# -- processes -----------------------------------------------------------------------------------------


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may have gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # that is what was wanted


def is_alive(pid: int) -> bool:
    """Say whether a process runs; a dead one that nobody has reaped does not."""
    return identity(pid) is not None


def processes_of(home: Path) -> dict[int, str]:
    """Return the command line of each process whose environment or command line names a home."""
    mark = f"GLOWPLUG_HOME={home}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            if command and (
                mark in (folder / "environ").read_bytes().split(b"\0")
                or str(home).encode() in command
            ):
                found[int(folder.name)] = command.replace(b"\0", b" ").decode().strip()
        except OSError:
            continue  # ended meanwhile
    found.pop(os.getpid(), None)
    return found


def memory_peak(pid: int) -> int:
    """Return the most memory a process ever had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


# -- load ----------------------------------------------------------------------------------------------


@dataclass
class Load:
    """A steady stream of calls over several connections; whatever was not a 200 is kept."""

    place: Place
    path: str
    body: Any
    answered: list[float] = field(default_factory=list)  # when
    answers: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # connections that ended without an answer
    stop: threading.Event = field(default_factory=threading.Event)

    def call(self, gap_s: float) -> None:
        """Call for ever over one connection."""
        connection = self.place.connect()
        while not self.stop.wait(gap_s):
            try:
                connection.request("POST", self.path, json.dumps(self.body), self.place.head())
                answer = Answer.of(connection.getresponse())
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(type(error).__name__)
                connection.close()  # the next request opens another one
                continue
            if answer.status == 200:
                self.answered.append(time.monotonic())
                self.answers.add(answer.body.decode())
            else:
                self.failed.append(f"{answer.status} {answer.body!r}")
        connection.close()

    def longest_gap_s(self) -> float:
        """Return the longest time in which nobody was answered."""
        at = sorted(self.answered)
        return max(after - before for before, after in pairwise(at))


@contextmanager
def load(
    place: Place, path: str, body: Any, *, per_second: int = 50, connections: int = 5
) -> Iterator[Load]:
    """Keep calling while the block runs, beginning with an answer."""
    made = Load(place, path, body)
    gap_s = connections / per_second
    threads = [threading.Thread(target=made.call, args=(gap_s,)) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: made.answered, what="the first answer")
        yield made
        count = len(made.answered)
        until(lambda: len(made.answered) > count + per_second // 5, what="answers at the end")
    finally:
        made.stop.set()
        for thread in threads:
            thread.join()


def at_once(calls: Sequence[Callable[[], _T]]) -> list[_T]:
    """Make calls at the same time and return their results in order."""
    results: dict[int, _T] = {}
    threads = [
        threading.Thread(target=lambda n=n, call=call: results.__setitem__(n, call()))
        for n, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[n] for n in range(len(calls))]
