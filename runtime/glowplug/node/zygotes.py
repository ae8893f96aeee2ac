"""Which zygote can a rank be forked from, and what does the agent know of it?

The second launcher. A zygote is made when it is asked for (`prime`) or after the first start in an environment, never
on the way of a start: while there is none, ranks are exec'd. A zygote that refuses, dies or does not answer costs
nothing but the time that an exec takes more.
"""

import json
import logging
import os
import signal
import socket
import subprocess
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from glowplug.clock import MINUTE, SECOND, Clock
from glowplug.node import imports as imports_file
from glowplug.node.folders import Folders, hex_of
from glowplug.node.launchers import (
    Declined,
    Launched,
    Order,
    child_environment,
    hand_over,
    open_errors,
)
from glowplug.node.processes import Process, open_pidfd
from glowplug.wire.channel import Spawn

_LOG = logging.getLogger("glowplug.node")
FORK_WAIT_S = 2.0  # a fork takes 10 ms; a zygote that needs longer is stuck
STATUS_WAIT_S = 0.5  # between a child's end, seen by pidfd, and the zygote's word on how
STATUSES_KEPT = 1_000
IDLE_NS = (
    10 * MINUTE
)  # how long one stays after its last replica, when the controller does not prime it
REBUILDS_MAX = 8  # zygotes made for one environment because a module started a thread
RENEW_AFTER_NS = 2 * SECOND  # a better zygote waits until the start that taught it is over
_MESSAGE_MAX = 64 * 1024


@dataclass(slots=True)
class Asked:
    """A fork under way."""

    answered: anyio.Event = field(default_factory=anyio.Event)
    message: dict[str, Any] = field(default_factory=dict)
    pidfd: int | None = None


class ZygoteLink:
    """One zygote, from the agent's side."""

    def __init__(self, pid: int, sock: socket.socket, known: imports_file.Imports) -> None:
        self.pid = pid
        self.known = known
        self.ready = anyio.Event()
        self.culprit = ""
        self.gone = False
        self.needed_ns = 0
        self._sock = sock
        self._asked: dict[str, Asked] = {}
        self._statuses: OrderedDict[int, int] = OrderedDict()
        self._news = anyio.Event()

    async def run(self) -> None:
        """Read what it says until it ends."""
        try:
            while True:
                await anyio.wait_readable(self._sock)
                data, handles, _, _ = socket.recv_fds(self._sock, _MESSAGE_MAX, 1)
                if not data:
                    return
                self._take(json.loads(data), handles)
        except ConnectionError:
            pass  # it was killed
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            _LOG.warning("zygote %d speaks nonsense, and is let go: %r", self.pid, error)
        finally:
            self._end()

    async def fork(self, name: str, launch: int, errors: int) -> Asked:
        """Ask for a rank; the answer is in the result, an empty message when it gave none."""
        asked = self._asked[name] = Asked()
        try:
            socket.send_fds(self._sock, [json.dumps({"fork": name}).encode()], [launch, errors])
            with anyio.move_on_after(FORK_WAIT_S):
                await asked.answered.wait()
        except OSError:
            pass  # it has just died: no answer
        finally:
            self._asked.pop(name, None)
        return asked

    async def status(self, pid: int) -> int | None:
        """Return how a child ended, once the zygote has said so."""
        with anyio.move_on_after(STATUS_WAIT_S):
            while pid not in self._statuses and not self.gone:
                await self._news.wait()
        return self._statuses.pop(pid, None)

    def close(self) -> None:
        """Let it go: it ends when its socket does; its children live on."""
        self.gone = True
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was gone already

    def _take(self, message: dict[str, Any], handles: list[int]) -> None:
        asked = self._asked.get(message.get("name", ""))
        if "exited" in message:
            self._statuses[message["exited"]] = message["status"]
            while len(self._statuses) > STATUSES_KEPT:
                self._statuses.popitem(last=False)
            self._tell()
        elif "ready" in message:
            self.culprit = message["culprit"]
            _LOG.info(
                "zygote %d: %d modules in %d ms",
                self.pid,
                message["ready"],
                message["ns"] // 1_000_000,
            )
            for failure in message["failed"]:
                _LOG.debug("zygote %d skipped %s", self.pid, failure)
            self.ready.set()
        elif asked is not None:
            asked.message, asked.pidfd = message, (handles.pop() if handles else None)
            asked.answered.set()
        elif "forked" in message:  # asked too long ago: nobody will tell it what to run, so it ends
            _LOG.warning("zygote %d forked %s too late", self.pid, message["name"])
        for handle in handles:
            os.close(handle)

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    def _end(self) -> None:
        self.gone = True
        self._sock.close()
        self.ready.set()
        for asked in self._asked.values():
            asked.answered.set()
        self._tell()


class Zygotes:
    """All of this node's zygotes, and the launcher that forks from them."""

    def __init__(
        self, folders: Folders, clock: Clock, spawn: Spawn, *, enabled: bool = True
    ) -> None:
        self._folders = folders
        self._clock = clock
        self._spawn = spawn
        self._enabled = enabled
        self._links: dict[str, ZygoteLink] = {}
        self._making: set[str] = set()
        self._running = 0
        self._rebuilds: dict[str, int] = {}

    async def launch(self, order: Order) -> Launched | Declined:
        """Fork a rank, if a zygote of its environment stands ready."""
        if not self.ready(order.env_digest):
            return Declined("")
        link = self._links[order.env_digest]
        if link.known.python_path != order.python_path:
            return Declined("the zygote has another release of glowplug")
        errors = open_errors(order.error_path)
        ours, theirs = socket.socketpair()
        with ours:
            try:
                asked = await link.fork(order.name, theirs.fileno(), errors)
            finally:
                theirs.close()
                os.close(errors)
            if "forked" not in asked.message:
                return self._declined(order.env_digest, link, asked.message.get("refused", ""))
            process = self._process(link, asked)
            order.started(process)
            await hand_over(ours, order.payload)
        return Launched(process, order.control_socket, "fork")

    def ready(self, env_digest: str) -> bool:
        """Say whether a rank of that environment would be forked."""
        link = self._links.get(env_digest)
        return link is not None and not link.gone and link.ready.is_set()

    @property
    def running(self) -> int:
        """Return how many zygote processes there are, those that take leave included."""
        return self._running

    def prime(self, env_digest: str, interpreter: Path) -> None:
        """Have a zygote for that environment; it is made beside whatever goes on."""
        link = self._links.get(env_digest)
        if not self._enabled or env_digest in self._making or (link is not None and not link.gone):
            return
        if env_digest and not self._known(env_digest).python_path:
            return  # nothing has run in it yet: where glowplug is for it comes with the first bundle
        self._making.add(env_digest)
        self._spawn(self._make, env_digest, interpreter)

    def python_path(self, env_digest: str) -> tuple[str, ...]:
        """Return where an environment's ranks find glowplug itself, as far as is known."""
        return self._known(env_digest).python_path

    def learn(
        self,
        env_digest: str,
        interpreter: Path,
        modules: tuple[str, ...],
        python_path: tuple[str, ...],
    ) -> None:
        """Take note of what a rank imported; have a zygote that knows it, soon."""
        if not self._enabled:
            return
        known = self._known(env_digest)
        new = known.learn(modules, python_path)
        if new != known:
            imports_file.write(self._record(env_digest), new)
        link = self._links.get(env_digest)
        if link is None or link.gone or not covers(link.known, new):
            self._spawn(self._renew, env_digest, interpreter)

    def keep(self, needed: Collection[str]) -> None:
        """Let those go that nothing has needed for a while: their memory is the only thing they cost."""
        now_ns = self._clock.now_ns()
        for env_digest, link in list(self._links.items()):
            if env_digest in needed:
                link.needed_ns = now_ns
            elif now_ns - link.needed_ns >= IDLE_NS:
                _LOG.info("zygote %d is not needed any more", link.pid)
                self._links.pop(env_digest).close()

    def close(self) -> None:
        """Let all go."""
        for link in self._links.values():
            link.close()

    async def _renew(self, env_digest: str, interpreter: Path) -> None:
        if env_digest in self._making:
            return
        self._making.add(env_digest)
        await self._clock.sleep(RENEW_AFTER_NS / SECOND)
        await self._make(env_digest, interpreter)

    async def _make(self, env_digest: str, interpreter: Path) -> None:
        """Make one, and put it in the place of the one before when it is ready."""
        try:
            known = self._known(env_digest)
            link = self._exec(env_digest, interpreter, known)
            self._spawn(self._keep, link)
            await link.ready.wait()
            before = self._links.get(env_digest)
            link.needed_ns = self._clock.now_ns()
            self._links[env_digest] = link
            if before is not None:
                before.close()
        except OSError as error:
            _LOG.warning(
                "no zygote for %s: %s; ranks are exec'd", env_digest or "this interpreter", error
            )
            return
        finally:
            self._making.discard(env_digest)
        if link.culprit:
            self._avoid(env_digest, interpreter, link.culprit)

    def _avoid(self, env_digest: str, interpreter: Path, culprit: str) -> None:
        """Make another one without the module that started a thread."""
        tries = self._rebuilds[env_digest] = self._rebuilds.get(env_digest, 0) + 1
        _LOG.warning("importing %s starts a thread: the zygote goes on without it", culprit)
        imports_file.write(self._record(env_digest), self._known(env_digest).without(culprit))
        if tries <= REBUILDS_MAX:
            self._links.pop(env_digest).close()
            self.prime(env_digest, interpreter)

    async def _keep(self, link: ZygoteLink) -> None:
        self._running += 1
        try:
            await self._see_out(link)
        finally:
            self._running -= 1

    async def _see_out(self, link: ZygoteLink) -> None:
        await link.run()
        with anyio.move_on_after(FORK_WAIT_S):
            await Process(link.pid, open_pidfd(link.pid), self._clock).wait()
            return
        _kill(link.pid)

    def _exec(self, env_digest: str, interpreter: Path, known: imports_file.Imports) -> ZygoteLink:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors = open_errors(self._folders.system_logs / f"zygote-{_short(env_digest)}.out")
        command = [
            str(interpreter),
            "-P",
            "-m",
            "glowplug.node.zygote",
            "--fd",
            str(theirs.fileno()),
        ]
        try:
            child = subprocess.Popen(
                [*command, "--imports", str(self._record(env_digest))],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(theirs.fileno(),),
                env=child_environment(known.python_path if env_digest else ()),
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(errors)
        child.returncode = 0  # we reap it ourselves
        ours.setblocking(False)
        return ZygoteLink(child.pid, ours, known)

    def _process(self, link: ZygoteLink, asked: Asked) -> Process:
        return Process(asked.message["forked"], asked.pidfd, self._clock, link.status)

    def _declined(self, env_digest: str, link: ZygoteLink, why: str) -> Declined:
        if not why:
            link.close()
            if self._links.get(env_digest) is link:  # else a newer one has taken its place
                del self._links[env_digest]
        return Declined(why or "the zygote did not answer")

    def _known(self, env_digest: str) -> imports_file.Imports:
        return imports_file.read(self._record(env_digest))

    def _record(self, env_digest: str) -> Path:
        if not env_digest:
            return self._folders.home.node / "imports-own.json"
        return self._folders.envs / hex_of(env_digest) / "imports.json"


def _kill(pid: int) -> None:
    """End a zygote that did not end by itself: it was stuck in an import."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # it has just ended


def covers(had: imports_file.Imports, wanted: imports_file.Imports) -> bool:
    """Say whether a zygote made for `had` serves as well as one made for `wanted`."""
    return wanted.wanted <= had.wanted and wanted.python_path == had.python_path


def _short(env_digest: str) -> str:
    return hex_of(env_digest)[:12] if env_digest else "own"
