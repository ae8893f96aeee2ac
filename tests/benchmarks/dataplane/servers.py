"""How is a peer of the comparison installed, started and stopped?"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from report import note, tree

from dataplane.answers import PEERS, Question
from dataplane.machine import server_prefix

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "glowplug-bench"
BOOT_S = 40.0
STOP_S = 5.0
STREAM_BODY = b'{"id": "a"}'


class MissingPeerError(Exception):
    """A peer could not be installed or started; the text says why."""


@dataclass(frozen=True)
class Server:
    """Something that answers on a port of this machine."""

    name: str
    port: int
    path: str
    roots: tuple[int, ...]
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """How to run a peer: commands with {python}, {bin}, {port}, {dir} filled in."""

    packages: tuple[str, ...]
    commands: tuple[str, ...]
    venv: str = ""  # default: the peer's name
    path: str = ""  # default: /{mode}
    env: dict[str, str] = field(default_factory=dict)
    boot_s: float = BOOT_S
    stop_s: float = STOP_S


BARE = ("uvicorn", "uvloop", "httptools", "starlette", "numpy")
UVICORN = "--loop uvloop --http httptools --no-access-log --log-level warning"
KNOWN = {
    "mosec": Peer(
        ("mosec", "msgspec", "numpy"),
        (
            "{python} mosec_app.py --address 127.0.0.1 --port {port} --timeout 30000 --log-level error",
        ),
        path="/inference",
    ),
    "starlette": Peer(
        BARE,
        (f"{{python}} -m uvicorn {UVICORN} --port {{port}} starlette_app:app",),
    ),
    "prototype": Peer(
        BARE,
        (
            "{python} prototype/worker.py {dir}/hop.sock",
            "{python} prototype/front.py {port} {dir}/hop.sock",
        ),
        venv="starlette",
    ),
    "litserve": Peer(
        ("litserve", "uvloop", "httptools", "numpy"), ("{python} litserve_app.py",), path="/echo"
    ),
    "bentoml": Peer(
        ("bentoml", "numpy"),
        ("{bin}/bentoml serve -q bentoml_app:Peer --host 127.0.0.1 --port {port}",),
        path="/echo",
        env={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    "ray": Peer(
        ("ray[serve]", "numpy"),
        ("{python} ray_app.py",),
        path="/echo",
        # Without a cluster, Ray listens on loopback only.
        env={"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
        boot_s=120.0,
        stop_s=20.0,
    ),
}


def chosen() -> list[str]:
    """Return the peers to run: all, or those that PEERS names."""
    asked = os.environ.get("PEERS", "")
    names = [name.strip() for name in asked.split(",") if name.strip()] or list(KNOWN)
    for name in names:
        if name not in KNOWN:
            raise SystemExit(f"PEERS: no peer {name!r}; known are {', '.join(KNOWN)}")
    return names


@contextmanager
def running(name: str, mode: str, question: Question | None, pinned: bool) -> Iterator[Server]:
    """Install a peer if need be, start it, wait until it answers rightly, and stop it whatever happens."""
    if name not in chosen():
        raise MissingPeerError(f"PEERS leaves {name} out")
    peer = KNOWN[name]
    python = installed(peer.venv or name, peer.packages)
    with tempfile.TemporaryDirectory(prefix="gpb", ignore_cleanup_errors=True) as folder:
        port = free_port()
        log = Path(folder) / "log"
        processes = []
        try:
            for command in peer.commands:
                words = command.format(python=python, bin=python.parent, port=port, dir=folder)
                processes.append(_start(words.split(), _env(peer, mode, port, folder), log, pinned))
            server = Server(
                name, port, peer.path or f"/{mode}", tuple(process.pid for process in processes)
            )
            _until_it_answers(server, question, processes, peer.boot_s, log)
            yield server
        finally:
            _stop(processes, peer.stop_s)


def installed(venv: str, packages: tuple[str, ...]) -> Path:
    """Return the Python of a peer's virtual environment, which is made when missing."""
    folder = CACHE / venv
    python = folder / "bin" / "python"
    done = folder / ".installed"
    if done.exists() and done.read_text() == "\n".join(packages):
        return python
    note(f"installing {' '.join(packages)} into {folder}")
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]
        subprocess.run(pip, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        text = str(getattr(error, "stderr", "") or error).strip()
        raise MissingPeerError(f"pip could not install it: {text[-200:]}") from None
    done.write_text("\n".join(packages))
    return python


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(server: Server, question: Question, timeout_s: float = 30.0) -> tuple[int, bytes]:
    """Call once and return status and body."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)
    try:
        headers = {"content-type": question.content_type} | server.headers | question.headers
        connection.request("POST", server.path, question.body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _env(peer: Peer, mode: str, port: int, folder: str) -> dict[str, str]:
    own = {
        "MODE": mode,
        "PORT": str(port),
        "HOME": folder,
        "TMPDIR": folder,
        "RAY_TMPDIR": folder,
        "BENTOML_HOME": f"{folder}/bentoml",
        "PYTHONPATH": str(PEERS),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    return dict(os.environ) | own | peer.env


def _start(
    command: list[str], env: dict[str, str], log: Path, pinned: bool
) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            [*server_prefix(pinned), *command],
            env=env,
            cwd=PEERS,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def _until_it_answers(
    server: Server,
    question: Question | None,
    processes: list[subprocess.Popen[bytes]],
    boot_s: float,
    log: Path,
) -> None:
    end = time.monotonic() + boot_s
    said = "nothing"
    while time.monotonic() < end:
        if any(process.poll() is not None for process in processes):
            said = "it ended: " + log.read_text(errors="replace").strip()[-300:]
            break
        try:
            status, body = ask(server, question or Question(STREAM_BODY, None))
        except (OSError, HTTPException) as error:
            said = repr(error)
        else:
            if question.is_answered_by(status, body) if question else status == 200:
                return
            said = f"{status} {body[:200]!r}"
        time.sleep(0.05)
    raise MissingPeerError(f"{server.name} did not start: {said}")


def _stop(processes: list[subprocess.Popen[bytes]], stop_s: float) -> None:
    everyone = [pid for process in processes for pid in tree(process.pid)]
    for process in reversed(processes):
        process.terminate()
    end = time.monotonic() + stop_s
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass  # killed below with all the others
    for pid in everyone:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for process in processes:
        process.wait()
