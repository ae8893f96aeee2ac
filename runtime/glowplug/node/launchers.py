"""How does a rank's process come to be? The launcher port, and its two ways: exec and fork.

Either way the process waits on its launch descriptor until it has been placed in its cgroup: only then the agent writes
what to run and closes it. A process whose agent died in between reads nothing and ends; so nothing runs that no record
names, and no secret is ever in argv, in the environment of a parent, or on disk.
"""

import os
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import anyio

from glowplug.clock import Clock
from glowplug.errors import NodeError
from glowplug.node.processes import Process, open_pidfd
from glowplug.settings import environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One process to be started."""

    name: str  # of the replica
    interpreter: Path
    env_digest: str = ""
    python_path: tuple[
        str, ...
    ] = ()  # where another environment finds glowplug; replaces our PYTHONPATH
    payload: bytes = field(repr=False)  # RankLaunch as JSON; holds secrets
    error_path: Path  # takes what it writes to stdout and stderr before its own logging stands
    control_socket: Path
    started: Callable[
        [Process], None
    ]  # called before it runs anything: put it in its group, write its record


@dataclass(frozen=True, slots=True)
class Launched:
    """It runs. The owner closes the process."""

    process: Process
    control_socket: Path
    how: str  # exec, fork


@dataclass(frozen=True, slots=True)
class Declined:
    """This launcher cannot do it now; another one can."""

    reason: str


class Launcher(Protocol):
    """A way to start a rank."""

    async def launch(self, order: Order) -> Launched | Declined:
        """Start it.

        Raises:
            NodeError: It cannot be started at all.
        """
        ...


class ExecLauncher:
    """A new interpreter for each rank: slow, works everywhere."""

    def __init__(self, clock: Clock, *, pidfds: bool = True) -> None:
        self._clock = clock
        self._pidfds = pidfds

    async def launch(self, order: Order) -> Launched | Declined:
        """Start `python -m glowplug.worker`."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = self._spawn(order, theirs.fileno())
            order.started(process)
            await hand_over(ours, order.payload)
        return Launched(process, order.control_socket, "exec")

    def _spawn(self, order: Order, handle: int) -> Process:
        # -P: the folder we happen to stand in must not go on sys.path; it may hold a router.py.
        command = [str(order.interpreter), "-P", "-m", "glowplug.worker", "--fd", str(handle)]
        errors = open_errors(order.error_path)
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(handle,),
                env=child_environment(order.python_path),
                start_new_session=True,
            )
        except OSError as error:
            raise NodeError(
                f"{order.interpreter} cannot be run: {error}",
                hint="`glowplug doctor` looks at the environment",
            ) from error
        finally:
            os.close(errors)
        child.returncode = (
            0  # we reap it ourselves, by pidfd; Popen must not warn about it or wait for it
        )
        return Process(child.pid, open_pidfd(child.pid) if self._pidfds else None, self._clock)


async def hand_over(sock: socket.socket, payload: bytes) -> None:
    """Write what to run and close our half; a process that died first is noticed by whoever waits for it."""
    sock.setblocking(False)
    rest = memoryview(payload)
    try:
        while rest:
            try:
                rest = rest[sock.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(sock)
        sock.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass


def open_errors(path: Path) -> int:
    """Open, empty, the file for what a rank writes to stdout and stderr before its logging stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)


def child_environment(
    python_path: tuple[str, ...], base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return our environment for a child that may stand in another folder.

    With a `python_path` the child runs in another environment, and ours would shadow its packages.
    """
    env = dict(environment() if base is None else base)
    inherited = [
        str(Path(one).absolute()) for one in env.pop("PYTHONPATH", "").split(os.pathsep) if one
    ]
    entries = python_path or tuple(inherited)
    if entries:
        env["PYTHONPATH"] = os.pathsep.join(entries)
    env.pop("VIRTUAL_ENV", None)
    return env
