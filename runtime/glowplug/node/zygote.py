"""What runs in the process that ranks are forked from?

`python -P -m glowplug.node.zygote --fd N --imports FILE`, exec'd in an environment's interpreter by the agent, one for
each environment. It imports what ranks of that environment needed before, freezes the garbage collector's view of it,
and then forks whenever it is told to on its socket. A child is a rank: it leaves `main` by another door.

Forking is sound only from a process with one thread: a lock that another thread holds stays locked in the child for
ever, and a thread pool (OpenMP's, CUDA's) is gone there while its bookkeeping says it is not. So libraries are told to
use one thread while they are imported, and with a second task, or with CUDA up, every fork is refused: the agent execs.

The socket (SEQPACKET) carries JSON; on its end the zygote ends. To us: {"fork": name} with two descriptors, what to run
and where stderr goes. From us: {"ready": …}, {"forked": pid, "name"} with a pidfd, {"refused": why, "name"},
{"exited": pid, "status"}.
"""

import argparse
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from glowplug.clock import SystemClock
from glowplug.node.messages import RankLaunch
from glowplug.settings import environment, remove_environment, set_environment

MESSAGE_MAX = 64 * 1024
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
WORKER = "glowplug.worker.main"
# What every rank loads in its first moments and nothing imports by itself before.
ALWAYS = (WORKER, "anyio._backends._asyncio", "faulthandler", "uvloop", "glowplug.endpoints")


def main(arguments: list[str] | None = None) -> int:
    """Serve until the agent goes; in a forked child, be a rank."""
    parser = argparse.ArgumentParser(prog="glowplug.node.zygote")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--imports", type=Path, required=True)
    given = parser.parse_args(arguments)
    sock = socket.socket(fileno=given.fd)
    os.set_inheritable(given.fd, False)
    threads = {name: environment().get(name) for name in ONE_THREAD}
    ready = prepare(given.imports)
    handle = Zygote(sock).serve(ready)
    return 0 if handle is None else _be_rank(handle, threads)


def prepare(imports: Path) -> dict[str, Any]:
    """Import what ranks will need, with one thread each; say how it went."""
    set_environment(dict.fromkeys(ONE_THREAD, "1"))
    clock = SystemClock()
    began_ns = clock.now_ns()
    imported, failed, culprit = 0, [], ""
    for name in (*ALWAYS, *wanted(imports)):
        try:
            importlib.import_module(name)
            imported += 1
        except (
            Exception
        ) as error:  # a module that fails here fails again in the rank, and is told there
            failed.append(f"{name}: {error!r}"[:200])
        if tasks() > 1:
            culprit = name
            break
    if not culprit:
        rehearse()
    gc.collect()
    gc.disable()  # a collection here would touch, and so copy, every page that children share
    gc.freeze()
    return {
        "ready": imported,
        "failed": failed[:50],
        "culprit": culprit,
        "ns": clock.now_ns() - began_ns,
    }


def rehearse() -> None:
    """Declare an endpoint, as user code will: pydantic loads most of itself only then."""
    try:
        declared = importlib.import_module("glowplug.endpoints").endpoint(app="rehearsal")(_sample)
        _ = declared.contract  # compiled on first sight
    except (
        Exception
    ) as error:  # a rehearsal proves nothing, and must cost nothing but a line in the log
        sys.stderr.write(f"the rehearsal failed, first calls will be slower: {error!r}\n")


def _sample(text: str, number: int = 1) -> dict[str, str]:
    return {text: str(number)}


def refusal() -> str:
    """Return why a fork would be unsound now; empty when it is sound."""
    count = tasks()
    if count > 1:
        return f"the zygote has {count} threads"
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is not None and cuda.is_initialized():
        return "CUDA is initialised in the zygote"
    return ""


def tasks() -> int:
    """Return the kernel's count of our threads: Python does not know those of C libraries."""
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208  # this is on the way of every start
    except OSError:
        return 1


class Zygote:
    """The loop: one socket, one signal."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)

    def serve(self, ready: dict[str, Any]) -> int | None:
        """Answer the agent until it goes (None); in a child, return the descriptor that says what to run."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        self._say(ready)
        while True:
            for handle, _ in poll.poll():
                if handle == self._woken.fileno():
                    self._reap()
                    continue
                message, handles = _receive(self._sock)
                if not message:
                    return None
                if (launch := self._fork(message["fork"], handles)) is not None:
                    return launch

    def _fork(self, name: str, handles: list[int]) -> int | None:
        """Fork; return the launch descriptor in the child, None here."""
        launch, errors = handles
        why = refusal()
        pid = -1
        if not why:
            try:
                pid = os.fork()
            except OSError as error:
                why = f"fork failed: {error}"
        if pid == 0:
            self._leave(errors)
            return launch
        os.close(launch)
        os.close(errors)
        if why:
            self._say({"refused": why, "name": name})
        else:
            self._tell_of(pid, name)
        return None

    def _tell_of(self, pid: int, name: str) -> None:
        handles = [os.pidfd_open(pid)] if hasattr(os, "pidfd_open") else []
        self._say({"forked": pid, "name": name}, handles)
        for handle in handles:
            os.close(handle)

    def _leave(self, errors: int) -> None:
        """In the child: drop all that is the zygote's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for sock in (self._sock, self._woken, self._waker):
            sock.close()
        os.setsid()
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        os.close(errors)

    def _reap(self) -> None:
        try:
            self._woken.recv(4096)
        except BlockingIOError:
            pass  # woken twice for one signal
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._say({"exited": pid, "status": status})

    def _say(self, message: dict[str, Any], handles: list[int] | None = None) -> None:
        try:
            socket.send_fds(self._sock, [json.dumps(message).encode()], handles or [])
        except OSError:
            pass  # the agent has gone; the next read says so


def _receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]]:
    try:
        data, handles, _, _ = socket.recv_fds(sock, MESSAGE_MAX, 2)
    except ConnectionError:
        return {}, []
    return (json.loads(data) if data else {}), handles


def wanted(imports: Path) -> list[str]:
    """Return what to import, in order; nothing when nobody has written it down yet."""
    try:
        record = json.loads(imports.read_text())
    except (OSError, ValueError):
        return []
    skip = set(record.get("skip", ()))
    return [name for name in record.get("modules", ()) if name not in skip]


def _be_rank(handle: int, threads: dict[str, str | None]) -> int:
    """Read what to run and run it."""
    with os.fdopen(handle, "rb") as file:
        data = file.read()
    if not data:
        return 0  # the agent died before it had written us down
    launch = msgspec.json.decode(data, type=RankLaunch)
    del data
    gc.enable()
    _restore(threads, dict(launch.env))
    _reseed()
    # By name: the worker's room stands on this one.
    run: Callable[[RankLaunch], int] = importlib.import_module(WORKER).run
    return run(launch)


def _restore(threads: dict[str, str | None], env: dict[str, str]) -> None:
    """Undo the one-thread rule, in the environment and in what has read it already."""
    remove_environment(ONE_THREAD)
    set_environment({name: value for name, value in threads.items() if value is not None})
    torch = sys.modules.get("torch")
    if torch is not None:
        asked = env.get("OMP_NUM_THREADS") or threads["OMP_NUM_THREADS"] or ""
        torch.set_num_threads(int(asked) if asked.isdigit() else len(os.sched_getaffinity(0)))


def _reseed() -> None:
    """Give the child chances of its own: it has its siblings' generators, in their very state."""
    random.seed()  # noqa: TID251  # the process's own generator, which user code uses
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        numpy.random.seed()
    if torch is not None:
        torch.seed()


if __name__ == "__main__":
    sys.exit(main())
