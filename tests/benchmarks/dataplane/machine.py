"""What does the machine do meanwhile? CPU of process trees and of everybody else, and who may run where."""

import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from report import CLOCK_HZ, tree

SERVER_CPU = 0
LOAD_CPU = 1


@dataclass(frozen=True)
class Use:
    """What happened between two moments."""

    wall_s: float
    server_cpu_s: float
    foreign: (
        float  # share of the machine that neither the server nor this process and its children used
    )


def server_prefix(pinned: bool) -> list[str]:
    """Return what goes before a server's command so that its whole tree stays on one CPU."""
    return ["taskset", "-c", str(SERVER_CPU)] if pinned else []


@contextmanager
def load_on_its_cpu(pinned: bool) -> Iterator[None]:
    """Keep this process and what it starts off the servers' CPU."""
    before = os.sched_getaffinity(0)
    if pinned:
        os.sched_setaffinity(0, {LOAD_CPU})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Meter:
    """Measures from its making to `read()`."""

    def __init__(self, roots: Sequence[int]) -> None:
        self._roots = roots
        self._server_s = tree_cpu_s(roots)
        self._own_s = own_cpu_s()
        self._busy_s = busy_s()
        self._at = time.perf_counter()

    def read(self) -> Use:
        """Return what was used since."""
        wall_s = time.perf_counter() - self._at
        server_s = tree_cpu_s(self._roots) - self._server_s
        ours_s = server_s + own_cpu_s() - self._own_s
        others_s = max(0.0, busy_s() - self._busy_s - ours_s)
        return Use(wall_s, server_s, others_s / (wall_s * (os.cpu_count() or 1)))


def tree_cpu_s(roots: Sequence[int]) -> float:
    """Return the CPU time of processes, their descendants, and the children these have waited for."""
    ticks = 0
    for pid in {pid for root in roots for pid in tree(root)}:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended, and is in its parent's sum
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / CLOCK_HZ


def own_cpu_s() -> float:
    """Return the CPU time of this process and of the children it has waited for."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def busy_s() -> float:
    """Return the time all CPUs together have been busy since the machine started."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / CLOCK_HZ
