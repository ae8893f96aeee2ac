"""How is a replica held to its memory and CPU, and did it die for memory?

Each replica gets a group of its own, `glowplug/<home>.<replica>`, in cgroup v2 or, where the machine has only v1's
controllers, in those of memory and cpu. One without limits gets one too: whatever it starts stays in it, and is found
there when it ends. Where neither can be written, nothing is enforced, and that is said.
"""

import contextlib
import hashlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glowplug.clock import Clock

ROOT = Path("/sys/fs/cgroup")
PARENT = "glowplug"
PERIOD_US = 100_000  # the kernel's default accounting period
REMOVE_TRIES = 20  # a group empties some milliseconds after its last process was killed
REMOVE_WAIT_S = 0.05
CPU_QUOTA_MIN_US = 1_000  # the kernel refuses less


@dataclass(frozen=True, slots=True)
class Groups:
    """The controllers this process can use. `memory` and `cpu` are folders that may hold groups."""

    version: int  # 1, 2, or 0: none
    memory: Path | None = None
    cpu: Path | None = None
    key: str = ""  # keeps two installations on one machine apart

    def open(self, replica: str, memory_bytes: int, cpu_milli: int) -> "Group":
        """Make the groups that the limits need, and one in any case; none when there is no way to."""
        name = f"{self.key}.{replica}"
        memory = self.memory / name if self.memory else None
        cpu = self.cpu / name if self.cpu and (cpu_milli or not memory) else None
        group = Group(self.version, memory, cpu, memory_bytes, cpu_milli)
        try:
            for folder in group.folders:
                _revive(self.version, folder.parent)
                folder.mkdir(exist_ok=True)
            _limit(group, memory_bytes, cpu_milli)
        except OSError:
            group.remove()
            return Group(self.version, None, None, 0)
        return group

    def find(self, replica: str, memory_bytes: int) -> "Group":
        """Return the groups a replica was put in by an earlier agent."""
        name = f"{self.key}.{replica}"
        folders = [
            one / name if one and (one / name).is_dir() else None for one in (self.memory, self.cpu)
        ]
        return Group(self.version, folders[0], folders[1], memory_bytes)

    def clean(self, keep: frozenset[str]) -> None:
        """Remove the groups of this installation that no living replica is in, and kill what such a one left."""
        for parent in {self.memory, self.cpu} - {None}:
            assert parent is not None
            for folder in parent.glob(f"{self.key}.*"):
                if folder.name.removeprefix(f"{self.key}.") not in keep:
                    for pid in _pids(folder):
                        _kill(pid)
                    _remove(folder)  # or the next agent does: a group empties a moment later

    def leave(self) -> None:
        """Remove the parents too, if no installation has a group in them."""
        for parent in {self.memory, self.cpu} - {None}:
            assert parent is not None
            _remove(parent)


@dataclass(frozen=True, slots=True)
class Group:
    """One replica's groups."""

    version: int
    memory: Path | None
    cpu: Path | None
    limit_bytes: int
    limit_cpu_milli: int = 0

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return them, each once: v2 has one for both."""
        return tuple(dict.fromkeys(one for one in (self.memory, self.cpu) if one))

    @property
    def enforces_memory(self) -> bool:
        """Say whether the kernel holds the replica to its memory."""
        return self.memory is not None and self.limit_bytes > 0

    @property
    def enforces_cpu(self) -> bool:
        """Say whether the kernel holds the replica to its CPUs."""
        return self.cpu is not None and self.limit_cpu_milli > 0

    def place(self, pid: int) -> None:
        """Put a process in; what it forks follows."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def oom_kills(self) -> int:
        """Return how many processes in here the kernel killed for memory."""
        if self.memory is None:
            return 0
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        for line in _read(self.memory / name).splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def peak_bytes(self) -> int:
        """Return the most memory it ever had."""
        if self.memory is None:
            return 0
        name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        return int(_read(self.memory / name) or 0)

    def pids(self) -> Iterator[int]:
        """Yield who is in here."""
        for folder in self.folders:
            yield from _pids(folder)

    def remove(self) -> bool:
        """Remove the groups; False while a process is left in one."""
        return all(_remove(folder) for folder in self.folders)


async def vacate(group: Group, clock: Clock) -> bool:
    """Kill what is left in a group and remove it; False if something in it cannot be killed."""
    for _ in range(REMOVE_TRIES):
        for pid in group.pids():
            _kill(pid)
        if group.remove():
            return True
        await clock.sleep(REMOVE_WAIT_S)
    return False


def detect(home: Path, root: Path = ROOT) -> Groups:
    """Find out what can be used, by making and removing a group."""
    key = hashlib.sha256(str(home).encode()).hexdigest()[:8]
    if (root / "cgroup.controllers").is_file():
        parent = _usable(root / PARENT)
        if parent and _delegate(root) and _delegate(parent):
            return Groups(2, parent, parent, key)
        return Groups(0, key=key)
    memory = _usable(root / "memory" / PARENT) if _is_v1(root / "memory") else None
    cpu = _usable(root / "cpu" / PARENT) if _is_v1(root / "cpu") else None
    return Groups(1 if memory or cpu else 0, memory, cpu, key)


def _revive(version: int, parent: Path) -> None:
    """Make the parent again: another installation's agent removes it when it leaves it empty."""
    if not parent.is_dir():
        parent.mkdir()
        if version == 2:
            _delegate(parent)


def _pids(folder: Path) -> list[int]:
    return [int(pid) for pid in _read(folder / "cgroup.procs").split()]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has just ended


def _is_v1(folder: Path) -> bool:
    return (folder / "cgroup.procs").is_file()


def _usable(parent: Path) -> Path | None:
    probe = parent / f"probe-{os.getpid()}"
    try:
        parent.mkdir(exist_ok=True)
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return None
    return parent


def _delegate(folder: Path) -> bool:
    try:
        (folder / "cgroup.subtree_control").write_text("+memory +cpu")
    except OSError:
        return False
    return True


def _limit(group: Group, memory_bytes: int, cpu_milli: int) -> None:
    quota = max(CPU_QUOTA_MIN_US, cpu_milli * PERIOD_US // 1000)
    if group.version == 2:
        if group.memory and memory_bytes:
            (group.memory / "memory.max").write_text(str(memory_bytes))
            _write_if_there(group.memory / "memory.swap.max", "0")
            _write_if_there(group.memory / "memory.oom.group", "1")
        if group.cpu and cpu_milli:
            (group.cpu / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        return
    if group.memory and memory_bytes:
        (group.memory / "memory.limit_in_bytes").write_text(str(memory_bytes))
        _write_if_there(group.memory / "memory.memsw.limit_in_bytes", str(memory_bytes))
    if group.cpu and cpu_milli:
        (group.cpu / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group.cpu / "cpu.cfs_quota_us").write_text(str(quota))


def _write_if_there(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):  # kernels without swap accounting
        path.write_text(text)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
