"""Which front is cheapest over the same engine and links? CPU per call at 1, 8 and 64 connections, latency at 200/s.

In tests/benchmarks: `python -m dataplane.fronts.compare [--rounds 5] [--granian VENV/bin/python]`. Server side on CPU
0, load on CPU 1. The rank is the minimal one; its cost is the same for all and not counted. Granian is measured when
an interpreter that has it is named.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from report import tree

from dataplane.gateway_cpu import (
    HERE,
    PEERS,
    ROOT,
    Subject,
    cpu_us,
    free_port,
    load,
    process,
    until_open,
)
from dataplane.minimal_gateway import write_home

BENCHMARKS = HERE.parent
CONNECTIONS = (1, 8, 64)
RATE, OPEN_S = 200, 3


def start(stack: ExitStack, name: str, granian: str) -> Subject:
    """Start a rank and one front before it."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gp")))
    key = write_home(folder)
    sockets = folder / "run"
    for endpoint, replica in (("echo", "r1"), ("sse", "r-sse")):
        program = [str(HERE / "minimal_rank.py"), str(sockets / f"{endpoint}.d")]
        stack.enter_context(process([*program, f"bench/{endpoint}@1", replica], ROOT, 0))
    port = free_port()
    os.environ["BENCH_HOME"] = str(folder)
    quiet = ["--port", str(port), "--loop", "uvloop"]
    commands = {
        "protocol class": [str(HERE / "minimal_gateway.py"), str(folder), str(port)],
        "bare ASGI on uvicorn": [
            *["-m", "uvicorn", "dataplane.fronts.asgi:app", "--http", "httptools"],
            *[*quiet, "--no-access-log", "--log-level", "error"],
        ],
        "granian RSGI": [
            *["-m", "granian", "--interface", "rsgi", "--workers", "1", "--no-log", *quiet],
            "dataplane.fronts.rsgi:app",
        ],
    }
    python = granian if name.startswith("granian") else sys.executable
    pid = stack.enter_context(process(commands[name], ROOT, 0, python))
    until_open(port)
    time.sleep(1.0)
    return Subject(name, pid, 0, f"http://127.0.0.1:{port}/bench/echo", key)


def cost(subject: Subject, connections: int) -> float:
    """Return the CPU time of one call, in microseconds."""
    pids = tree(subject.gateway)
    before = sum(cpu_us(pid) for pid in pids)
    record = load(subject, connections, 2, PEERS / "echo.json", 1)
    return (sum(cpu_us(pid) for pid in pids) - before) / record["n"]


def open_rate(subject: Subject) -> tuple[float, float]:
    """Return the 50th and the 99th percentile at the fixed rate, in microseconds."""
    body = (PEERS / "echo.json").read_text()
    headers = {"authorization": f"Bearer {subject.key}", "content-type": "application/json"}
    spec = {
        "port": int(subject.url.split(":")[2].split("/")[0]),
        "requests": [{"path": "/bench/echo", "body": body, "headers": headers}],
        "rate": RATE,
        "seconds": OPEN_S,
        "expect": json.loads(body),
    }
    done = subprocess.run(
        ["taskset", "-c", "1", sys.executable, "-m", "dataplane.openloop"],
        input=json.dumps(spec),
        env=os.environ | {"PYTHONPATH": str(BENCHMARKS)},
        capture_output=True,
        text=True,
        check=True,
    )
    summary = json.loads(done.stdout)
    return 1000 * summary["p50_ms"], 1000 * summary["p99_ms"]


def main() -> None:
    """Measure all in turns and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--granian", default="")
    asked = parser.parse_args()
    names = ["protocol class", "bare ASGI on uvicorn"] + ["granian RSGI"] * bool(asked.granian)
    with ExitStack() as stack:
        subjects = [start(stack, name, asked.granian) for name in names]
        rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
        for number in range(asked.rounds + 1):
            for subject in subjects:
                row = (*(cost(subject, c) for c in CONNECTIONS), *open_rate(subject))
                if number:  # the first round warms up
                    rows[subject.name].append(row)
    print("| front | CPU us/call c=1 | c=8 | c=64 | p50 us at 200/s, best round | p99 us |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, measured in rows.items():
        columns = list(zip(*measured, strict=True))
        middle = [statistics.median(column) for column in columns[: len(CONNECTIONS)]]
        middle += [min(column) for column in columns[len(CONNECTIONS) :]]
        print(f"| {name} | " + " | ".join(f"{value:,.0f}" for value in middle) + " |")


if __name__ == "__main__":
    main()
