"""How is a figure reported? One JSON line each, checked against figures.toml; and the tools several benchmarks need."""

import json
import os
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CLOCK_HZ = os.sysconf("SC_CLK_TCK")
TARGETS: dict[str, dict[str, dict[str, float]]] = tomllib.loads((HERE / "figures.toml").read_text())

PRINTED: set[tuple[str, str]] = set()  # figures of this run


def figure(bench: str, name: str, value: float | None, *, unit: str, n: int, **more: Any) -> None:
    """Print one figure. A value of None needs `reason=`; one bounded by zero needs `exercised=` and `control=`."""
    target = TARGETS[bench][name]
    better = "lower" if "max" in target else "higher"
    bound = target.get("max", target.get("min"))
    if value is None:
        assert "reason" in more, name
    if bound == 0:
        assert more["exercised"] > 0 and more["control"] > 0, (name, more)
    PRINTED.add((bench, name))
    line = {
        "bench": bench,
        "figure": name,
        "value": None if value is None else round(value, 4),
        "unit": unit,
        "target": bound,
        "better": better,
        "met": value is not None
        and (value <= target["max"] if "max" in target else value >= target["min"]),
        "command": f"make bench-{bench}",
        "device": f"{os.cpu_count()}-core CPU",
        "n": n,
        **more,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def beside(bench: str, name: str, value: float | None, *, unit: str, n: int, **more: Any) -> None:
    """Print a line that has no target: it is there to be seen beside the figures."""
    line = {
        "bench": bench,
        "figure": name,
        "value": None if value is None else round(value, 4),
        "unit": unit,
        "target": None,
        "command": f"make bench-{bench}",
        "device": f"{os.cpu_count()}-core CPU",
        "n": n,
        **more,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Say on stderr what is going on."""
    sys.stderr.write(f"# {text}\n")
    sys.stderr.flush()


def median(values: list[float]) -> float:
    """Return the middle one."""
    return statistics.median(values)


def timed(command: list[str], **kwargs: Any) -> float:
    """Return the wall seconds a command takes; it must succeed."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, **kwargs)
    return time.perf_counter() - begun


def tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parent = int(stat.rsplit(")", 1)[1].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def pss_mib(pids: list[int]) -> float:
    """Return the proportional memory of processes: shared pages are counted once."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024
