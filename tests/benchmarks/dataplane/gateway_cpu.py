"""What does a call cost the gateway? CPU time of its process, and of the rank's, from /proc over alternating rounds.

In tests/benchmarks: `python -m dataplane.gateway_cpu [--rounds 5] [--connections 1,8,64] [--other TREE] [--pin]`

`--other` names a second checkout: both are measured in turns, so that a busy machine is busy for both.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dataplane.minimal_gateway import write_home

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PEERS = HERE.parent / "peers"
CLOCK_HZ = os.sysconf("SC_CLK_TCK")


@dataclass
class Subject:
    """A gateway and its rank under load."""

    name: str
    gateway: int
    rank: int
    url: str
    key: str
    costs: dict[int, list[tuple[float, float, float]]] = field(default_factory=dict)


def cpu_us(pid: int) -> float:
    """Return the CPU time a process has used, in microseconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / CLOCK_HZ


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(
    command: list[str], source: Path, core: int | None, python: str = sys.executable
) -> Iterator[int]:
    """Run a program of a checkout until the block ends."""
    parts = ("runtime", "packager", "router", "tests/benchmarks")
    path = os.pathsep.join(str(source / part) for part in parts)
    pinned = ["taskset", "-c", str(core)] if core is not None else []
    running = subprocess.Popen([*pinned, python, *command], env=os.environ | {"PYTHONPATH": path})
    try:
        yield running.pid
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(15)
        except subprocess.TimeoutExpired:
            running.kill()


def until_open(port: int) -> None:
    """Wait until something listens."""
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


def start(
    stack: ExitStack, name: str, source: Path, core: int | None, flags: tuple[str, ...] = ()
) -> Subject:
    """Start rank and gateway of one checkout."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gp")))
    key = write_home(folder)
    rank = 0
    for endpoint, replica in (("echo", "r1"), ("sse", "r-sse")):
        pid = stack.enter_context(
            process(
                [
                    str(HERE / "minimal_rank.py"),
                    str(folder / "run" / f"{endpoint}.d"),
                    f"bench/{endpoint}@1",
                    replica,
                ],
                source,
                core,
            )
        )
        rank = rank or pid
    port = free_port()
    gateway = stack.enter_context(
        process([str(HERE / "minimal_gateway.py"), str(folder), str(port), *flags], source, core)
    )
    until_open(port)
    time.sleep(0.7)
    return Subject(name, gateway, rank, f"http://127.0.0.1:{port}/bench/echo", key)


def load(
    subject: Subject, connections: int, seconds: int, body: Path, core: int | None
) -> dict[str, float]:
    """Load a subject with wrk; return what it counted."""
    pinned = ["taskset", "-c", str(core)] if core is not None else []
    command = [*pinned, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s"]
    done = subprocess.run(
        [*command, str(PEERS / "echo.lua"), subject.url],
        env=os.environ | {"BENCH_BODY": str(body), "BENCH_KEY": subject.key},
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("JSON "))
    record: dict[str, float] = json.loads(line[5:])
    assert record["errors"] == record["bad"] == 0, record
    return record


def measure(subject: Subject, connections: int, seconds: int, body: Path, core: int | None) -> None:
    """Add one round to a subject's costs: microseconds a call of the gateway and of the rank, calls a second."""
    before = cpu_us(subject.gateway), cpu_us(subject.rank)
    record = load(subject, connections, seconds, body, core)
    after = cpu_us(subject.gateway), cpu_us(subject.rank)
    n = record["n"]
    row = (
        (after[0] - before[0]) / n,
        (after[1] - before[1]) / n,
        n / (record["us"] / 1e6),
    )
    subject.costs.setdefault(connections, []).append(row)


def main() -> None:
    """Measure and print one line a subject and number of connections."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", default="1,8,64")
    parser.add_argument("--other", type=Path)
    parser.add_argument("--body", type=Path, default=PEERS / "echo.json")
    parser.add_argument("--pin", action="store_true")
    parser.add_argument("--flags", default="")
    asked = parser.parse_args()
    ours, theirs = (0, 1) if asked.pin else (None, None)
    with ExitStack() as stack:
        flags = tuple(asked.flags.split())
        subjects = [start(stack, "here", ROOT, ours, flags)]
        if asked.other is not None:
            subjects.append(start(stack, "other", asked.other, ours, flags))
        for number in range(asked.rounds + 1):
            for connections in map(int, asked.connections.split(",")):
                for subject in subjects:
                    if not number:  # warms up
                        load(subject, connections, 1, asked.body, theirs)
                        continue
                    measure(subject, connections, asked.seconds, asked.body, theirs)
        for connections in map(int, asked.connections.split(",")):
            for subject in subjects:
                columns = list(zip(*subject.costs[connections], strict=True))
                gateway, rank, rate = (statistics.median(column) for column in columns)
                best = min(columns[0])
                print(
                    f"{subject.name:6} c={connections:<3} gateway {gateway:6.1f} us (best {best:5.1f}),"
                    f" rank {rank:5.1f} us, {rate:8.0f} calls/s"
                )


if __name__ == "__main__":
    main()
