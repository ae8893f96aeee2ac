"""Which interpreter does a bundle run in? Its own environment, built once per lock by uv, or this process's.

`envs/<hex>/` is complete when it is there: it is built as `<hex>.building` under a file lock and renamed.
"""

import fcntl
import hashlib
import logging
import os
import platform as this_machine
import re
import shutil
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT

import anyio
import msgspec
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream
from anyio.to_thread import run_sync

from glowplug.clock import Clock
from glowplug.errors import NodeError
from glowplug.node.folders import hex_of
from glowplug.pip_config import find_uv, uv_arguments
from glowplug.settings import environment

_LOG = logging.getLogger("glowplug.node")
LAST_LINES = 20  # of uv's, in an error
_PYTHON = re.compile(r"[0-9]+(\.[0-9]+){0,2}")  # what a bundle may ask for
_PLATFORMS = tuple(
    f"{system}-{machine}"
    for system in ("linux", "darwin", "win32")
    for machine in ("x86_64", "aarch64", "arm64", "amd64")
)
LOCK_POLL_S = 0.1  # between two tries for a lock that another process holds

Sources = Callable[[], tuple[list[str], dict[str, str]]]  # where uv looks: arguments, variables
ReadLock = Callable[[], Awaitable[str]]  # fetches the lock's text


def belongs_to(env_digest: str, lock_digest: str, python: str) -> bool:
    """Say whether the digest is that of an environment with this lock: else one app could fill another's.

    It names the platform too. That may be the one where it was packaged, so any that there is will do.
    """
    own = f"{sys.platform}-{this_machine.machine().lower()}"
    return any(
        env_digest == _digest(lock_digest, python, platform) for platform in (own, *_PLATFORMS)
    )


def _digest(lock_digest: str, python: str, platform: str) -> str:
    """Return what the packager's `environment_digest` returns."""
    named = {"lock": lock_digest, "python": python, "platform": platform}
    return f"sha256:{hashlib.sha256(msgspec.json.encode(named, order='sorted')).hexdigest()}"


class Environments:
    """The environments on this node's disk."""

    def __init__(self, folder: Path, clock: Clock, sources: Sources = uv_arguments) -> None:
        self._folder = folder
        self._clock = clock
        self._sources = sources
        self._locks: dict[str, anyio.Lock] = {}

    def interpreter(self, env_digest: str) -> Path | None:
        """Return the interpreter of an environment that is built; that of this process for none."""
        if not env_digest:
            return Path(sys.executable)
        path = self._place(env_digest) / "bin/python"
        return path if path.exists() else None

    def built(self) -> tuple[str, ...]:
        """Return the digests of what is built."""
        return tuple(
            sorted(
                f"sha256:{one.name}"
                for one in self._folder.iterdir()
                if one.is_dir() and one.suffix == ""
            )
        )

    async def ensure(self, env_digest: str, python: str, read_lock: ReadLock) -> Path:
        """Return the interpreter, building the environment first if need be; many may ask at once.

        Raises:
            NodeError: uv is not here, or could not do it; its last lines are in the message.
        """
        async with self._locks.setdefault(env_digest, anyio.Lock()):
            there = self.interpreter(env_digest)
            if not env_digest and there is not None:
                return there
            place = self._place(env_digest)
            if there is not None:
                os.utime(place)  # used now: see `garbage`
                return there
            async with self._alone(place.with_suffix(".lock")):
                if not place.is_dir():  # another process may just have built it
                    await self._build(place, python, await read_lock())
        built = self.interpreter(env_digest)
        if built is None:
            raise NodeError(
                f"environment {place} has no interpreter", hint=f"remove {place}, then deploy again"
            )
        return built

    async def _build(self, place: Path, python: str, lock: str) -> None:
        building = place.with_suffix(".building")
        await run_sync(lambda: shutil.rmtree(building, ignore_errors=True))
        arguments, variables = self._sources()
        uv, base = find_uv(), _python(python)
        try:
            # Relocatable: it is renamed below, and scripts hold the path of their interpreter.
            await self._uv(
                [uv, "venv", "--relocatable", "--python", base, str(building)], variables
            )
            (building / "lock.txt").write_text(lock, encoding="utf-8")
            install = [uv, "pip", "install", "--no-deps", "--python", str(building / "bin/python")]
            await self._uv(
                [*install, *arguments, "--requirements", str(building / "lock.txt")], variables
            )
            building.replace(place)
        except OSError as error:
            raise NodeError(
                f"environment {place} cannot be written: {error}",
                hint="free some space there, then deploy again",
            ) from error
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(lambda: shutil.rmtree(building, ignore_errors=True))

    async def _uv(self, command: Sequence[str], variables: dict[str, str]) -> None:
        _LOG.info("building an environment: %s", " ".join(command[1:3]))
        last: deque[str] = deque(maxlen=LAST_LINES)
        env = {**environment(), **variables, "NO_COLOR": "1"}
        async with await anyio.open_process(
            command, stdin=None, stdout=PIPE, stderr=STDOUT, env=env, start_new_session=True
        ) as process:
            try:
                await self._read(process, last)
                code = await process.wait()
            except BaseException:
                _kill(process.pid)
                raise
        if code != 0:
            raise NodeError(
                f"uv {' '.join(command[1:3])} ended with code {code}:\n" + "\n".join(last),
                hint="change the requirements in Image.pip(…), or see `pip config list` for where packages come from",
            )

    async def _read(self, process: Process, last: deque[str]) -> None:
        assert process.stdout is not None
        rest = ""
        async for text in TextReceiveStream(process.stdout, errors="replace"):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                _LOG.info("uv: %s", line)
                last.append(line)
        if rest:
            last.append(rest)

    @asynccontextmanager
    async def _alone(self, path: Path) -> AsyncIterator[None]:
        """Hold a file lock: two homes never share a folder, but a crashed agent's uv may still be at work."""
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            while not _locked(handle):
                await self._clock.sleep(LOCK_POLL_S)
            yield
        finally:
            os.close(handle)

    def _place(self, env_digest: str) -> Path:
        return self._folder / hex_of(env_digest)


def _python(version: str) -> str:
    """Return what to tell uv: this interpreter if it is of that version, so that nothing is downloaded."""
    if version and not _PYTHON.fullmatch(version):
        raise NodeError(
            f"{version!r} is no version of Python", hint="deploy again with a current glowplug"
        )
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return sys.executable if version in ("", own) else version


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # it has just ended
