"""Is that process still the one we started, how did it end, and how is it ended?

A pid alone proves nothing: it is used again after its process has gone, and after a reboot. A process is the one meant
when pid, start time and boot id agree. A pidfd, where the kernel has them, names it for good and wakes us when it ends.
"""

import ctypes
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

from glowplug.clock import Clock

POLL_S = 0.1  # between two looks at a process where there are no pidfds
_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
_START_TIME_FIELD = 22  # proc_pid_stat(5)


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a process itself. `start_ticks` is in clock ticks since boot; 0 where /proc does not exist."""

    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended; both None when nobody could know (it was not our child)."""

    code: int | None = None
    signal: int | None = None

    @property
    def text(self) -> str:
        """Return it for people."""
        if self.signal is not None:
            return f"was killed by {signal_name(self.signal)}"
        return "ended" if self.code is None else f"ended with exit code {self.code}"


Ask = Callable[[int], Awaitable[int | None]]  # pid -> wait status, from whoever reaps it


async def nobody_knows(pid: int) -> int | None:
    """Answer for a process that is neither our child nor a living zygote's."""
    return None


class Process:
    """A rank's process, ours or not. Owns the pidfd."""

    def __init__(self, pid: int, pidfd: int | None, clock: Clock, ask: Ask = nobody_knows) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._clock = clock
        self._ask = ask

    async def wait(self) -> Exit:
        """Wait for its end; only one task may."""
        if self._pidfd is not None:
            await anyio.wait_readable(self._pidfd)
        else:
            while is_alive(self.pid):
                await self._clock.sleep(POLL_S)
        return decode(await self._status())

    def signal(self, number: int) -> None:
        """Send a signal, if it is still there."""
        try:
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            pass  # it has just ended, which is as good

    def kill_group(self) -> None:
        """Kill it and whatever it started in its session."""
        self.signal(signal.SIGKILL)
        kill_session(self.pid)

    def close(self) -> None:
        """Give the pidfd back."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    async def _status(self) -> int | None:
        try:
            return _reap(self.pid)
        except ChildProcessError:
            return await self._ask(self.pid)


def _reap(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return status if found else None


def decode(status: int | None) -> Exit:
    """Read a wait status."""
    if status is None:
        return Exit()
    if os.WIFSIGNALED(status):
        return Exit(signal=os.WTERMSIG(status))
    return Exit(code=os.waitstatus_to_exitcode(status))


def boot_id() -> str:
    """Return what changes with each boot of this machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def identity(pid: int) -> Identity | None:
    """Return who runs under this pid now; None when nobody does."""
    if pid <= 0 or not is_alive(pid):
        return None
    fields = _stat(pid)
    return Identity(pid, int(fields[_START_TIME_FIELD - 3]) if fields else 0, boot_id())


def is_alive(pid: int) -> bool:
    """Say whether the process exists and is not just waiting to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    fields = _stat(pid)
    return not fields or fields[0] not in {"Z", "X"}


def open_pidfd(pid: int) -> int | None:
    """Return a pidfd, or None where there are none or the process has gone."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def adopt_orphans() -> bool:
    """Become the parent of ranks whose zygote dies, so that they can be reaped and their exit is known."""
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False  # not Linux: such an exit is reported without its cause


def kill_session(pid: int) -> None:
    """Kill what runs in the process group that this process leads or led."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nothing of the group is left


def kill_marked(name: str, value: str) -> int:
    """Kill the processes of this user that were started with that variable; return how many there were."""
    wanted, me = f"{name}={value}".encode(), os.getuid()
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid != me:
                continue
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
                found += 1
        except OSError:
            continue  # it has just ended, or is not ours to look at
    return found


def signal_name(number: int) -> str:
    """Return "SIGKILL" for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the third on: the second may hold spaces and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()
