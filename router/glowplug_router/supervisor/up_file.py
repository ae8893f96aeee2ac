"""Which router runs in this home? `up.json` says it, a lock proves it."""

import fcntl
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from glowplug.clock import MILLISECOND, SECOND, Clock
from glowplug.errors import ConfigError
from glowplug.files import replace_file
from glowplug.node.processes import Identity, identity, open_pidfd
from glowplug.settings import Home

FORMER_MAX_NS = (
    5 * SECOND
)  # children of a supervisor that was killed end by themselves well within this
STOP_MAX_NS = 90 * SECOND  # gateway, controller and agent have bounds of their own: 80 s in all
_LOOK_MS = 20  # between two looks at a process where there are no pidfds


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """A running router: its supervisor, its children and where it answers."""

    supervisor: Identity
    url: str
    started_wall_ns: int
    children: tuple[tuple[str, Identity], ...] = ()

    @property
    def pid(self) -> int:
        """Return the supervisor's process id."""
        return self.supervisor.pid


class UpFile:
    """`router/up.json` of one home."""

    def __init__(self, home: Home) -> None:
        self._path = home.router / "up.json"

    def read(self) -> Up | None:
        """Return what it says; None when there is none that can be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Up)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, up: Up) -> None:
        """Replace it, whole. `pid`, `url` and `started` are also at the top, for those who read it with other tools."""
        record = {**msgspec.to_builtins(up), "pid": up.pid}
        replace_file(self._path, msgspec.json.encode(record))

    def remove(self) -> None:
        """Remove it: the router has stopped in order."""
        self._path.unlink(missing_ok=True)


def running(home: Home) -> Up | None:
    """Return the router that runs in this home, None when none does."""
    up = UpFile(home).read()
    return up if up is not None and is_same(up.supervisor) else None


def is_same(known: Identity) -> bool:
    """Say whether the process meant is still alive."""
    return identity(known.pid) == known


@contextmanager
def only_one(home: Home) -> Iterator[int]:
    """Hold this home's lock, and lend its descriptor: children close it, so that it ends with the supervisor.

    Raises:
        ConfigError: Another router runs here.
    """
    path = _folder(home.router) / "up.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            up = UpFile(home).read()
            who = f" (pid {up.pid}) at {up.url}" if up is not None else ""
            raise ConfigError(
                f"a router already runs in {home.root}{who}",
                hint="`glowplug down` stops it; `glowplug status` shows it",
            ) from None
        yield descriptor
    finally:
        os.close(descriptor)


def await_former(home: Home, clock: Clock) -> None:
    """Wait until the children of a supervisor that was killed have ended; end those that do not."""
    up = UpFile(home).read()
    for _, child in up.children if up is not None else ():
        if not wait_gone(child, FORMER_MAX_NS, clock):
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            wait_gone(child, FORMER_MAX_NS, clock)


def down(home: Home, clock: Clock) -> bool:
    """Stop the router of this home, and wait until it has; False when none runs.

    Raises:
        ConfigError: It belongs to somebody else, or does not end.
    """
    up = running(home)
    if up is None:
        return False
    try:
        os.kill(up.pid, signal.SIGTERM)
    except ProcessLookupError:
        return True  # it has just ended
    except PermissionError as error:
        raise ConfigError(
            f"pid {up.pid} belongs to another user", hint=f"sudo kill {up.pid}"
        ) from error
    if not wait_gone(up.supervisor, STOP_MAX_NS, clock):
        hint = f"`kill -9 {up.pid}` ends it at once; the next `glowplug up` cleans up"
        raise ConfigError(f"pid {up.pid} does not end; calls may still run", hint=hint)
    return True


def wait_gone(known: Identity, limit_ns: int, clock: Clock) -> bool:
    """Wait for a process that need not be a child of ours; False when it is still there after the limit."""
    deadline_ns = clock.now_ns() + limit_ns
    descriptor = open_pidfd(known.pid)
    try:
        poll = select.poll()
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
        while is_same(known):
            left_ms = (deadline_ns - clock.now_ns()) // MILLISECOND
            if left_ms <= 0:
                return False
            poll.poll(left_ms if descriptor is not None else min(left_ms, _LOOK_MS))
        return True
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"cannot make {path}: {error.strerror}", hint="set GLOWPLUG_HOME to a folder of yours"
        ) from error
    return path
