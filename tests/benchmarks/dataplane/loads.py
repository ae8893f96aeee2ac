"""How is a server loaded, and what did it take? Each load is one sample: calls, CPU, latencies, and what else ran."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from report import HERE, note

from dataplane.answers import PEERS, Question
from dataplane.machine import Meter
from dataplane.servers import STREAM_BODY, MissingPeerError, Server

CHECK_EVERY_S = 0.05
CHUNKS = 100
SLACK_S = 60.0


@dataclass(frozen=True)
class Sample:
    """What one load of one server showed."""

    n: int  # calls (or streams) answered rightly
    bad: int
    wall_s: float
    server_cpu_s: float
    foreign: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    rate: float = 0.0  # of right answers (or chunks) a second
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def cpu_us(self) -> float:
        """Return the CPU microseconds that a right answer cost the whole process tree."""
        return 1e6 * self.server_cpu_s / max(1, self.n)


class Checker:
    """Asks beside the load and looks at every answer it gets: the load generator itself only counts statuses."""

    def __init__(self, server: Server, question: Question) -> None:
        self.asked = self.wrong = 0
        self._server, self._question = server, question
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Checker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        question, server = self._question, self._server
        headers = {"content-type": question.content_type} | server.headers
        connection = HTTPConnection("127.0.0.1", server.port, timeout=SLACK_S)
        while not self._stop.wait(CHECK_EVERY_S):
            try:
                connection.request("POST", server.path, question.body, headers)
                answer = connection.getresponse()
                is_right = question.is_answered_by(answer.status, answer.read())
            except (OSError, HTTPException):
                is_right = False
                connection.close()
            self.asked += 1
            self.wrong += not is_right
        connection.close()


def hammer(server: Server, question: Question, connections: int, seconds: float) -> Sample:
    """Load with wrk, as fast as the connections allow."""
    with tempfile.NamedTemporaryFile(prefix="gpb") as body:
        Path(body.name).write_bytes(question.body)
        env = {"BENCH_BODY": body.name, "BENCH_TYPE": question.content_type}
        if "authorization" in server.headers:
            env["BENCH_KEY"] = server.headers["authorization"].removeprefix("Bearer ")
        options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s"]
        url = f"http://127.0.0.1:{server.port}{server.path}"
        command = [_wrk(), *options, "-s", str(PEERS / "echo.lua"), url]
        meter = Meter(server.roots)
        with Checker(server, question) as checker:
            done = subprocess.run(
                command, env=os.environ | env, capture_output=True, text=True, check=True
            )
        use = meter.read()
    lines = [line for line in done.stdout.splitlines() if line.startswith("JSON ")]
    record = json.loads(lines[0][5:])
    # What the checker sees of a few answers goes for all of them.
    wrong_share = checker.wrong / checker.asked if checker.asked else 1.0
    bad = min(record["n"], record["errors"] + record["bad"] + round(wrong_share * record["n"]))
    if isinstance(question.expect, bytes) and record["bytes"] < record["n"] * len(question.expect):
        bad = record["n"]  # the answers were too short to be right
    n = record["n"] - bad + checker.asked - checker.wrong
    return Sample(
        n=n,
        bad=bad,
        wall_s=use.wall_s,
        server_cpu_s=use.server_cpu_s,
        foreign=use.foreign,
        p50_ms=record["p50_us"] / 1000,
        p99_ms=record["p99_us"] / 1000,
        rate=(record["n"] - bad) / (record["us"] / 1e6),
    )


@cache
def _wrk() -> str:
    """Return the load generator, installed when the machine lacks it and lets us."""
    if shutil.which("wrk") is None:
        subprocess.run(["apt-get", "install", "-y", "-q", "wrk"], check=False, capture_output=True)
    found = shutil.which("wrk")
    if found is None:
        raise MissingPeerError("wrk is not installed: apt-get install wrk")
    return found


def at_rate(
    server: Server,
    question: Question,
    rate: float,
    seconds: float,
    *,
    paths: Sequence[str] = (),
    slo_s: float = 0.0,
) -> Sample:
    """Load at a fixed rate, whatever the server makes of it."""
    headers = {"content-type": question.content_type} | server.headers | question.headers
    spec = {
        "port": server.port,
        "requests": [
            {"path": path, "headers": headers, "body": question.body.decode()}
            for path in paths or (server.path,)
        ],
        "rate": rate,
        "seconds": seconds,
        "expect": question.expect,
        "slo_s": slo_s,
    }
    meter = Meter(server.roots)
    record = program("openloop", spec, seconds)
    use = meter.read()
    return Sample(
        n=record["ok"],
        bad=record["n"] - record["ok"],
        wall_s=use.wall_s,
        server_cpu_s=use.server_cpu_s,
        foreign=use.foreign,
        p50_ms=record["p50_ms"],
        p99_ms=record["p99_ms"],
        rate=record["ok"] / seconds,
        more={
            "statuses": record["statuses"],
            "within": record["within"],
            "sent": record["n"],
            "lost": record["lost"],
            "wrong": record["wrong"],
        },
    )


def read_streams(server: Server, connections: int, seconds: float) -> Sample:
    """Read streams, one after another on every connection."""
    spec = {
        "port": server.port,
        "path": server.path,
        "headers": server.headers,
        "body": STREAM_BODY.decode(),
        "connections": connections,
        "seconds": seconds,
        "chunks": CHUNKS,
    }
    meter = Meter(server.roots)
    record = program("streams", spec, seconds)
    use = meter.read()
    return Sample(
        n=record["n"],
        bad=record["bad"],
        wall_s=use.wall_s,
        server_cpu_s=use.server_cpu_s,
        foreign=use.foreign,
        p50_ms=record["first_p50_ms"],
        rate=record["chunks_s"],
    )


def program(name: str, spec: dict[str, Any], seconds: float) -> Any:
    """Run one of the load programs beside this module and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(HERE / "dataplane" / f"{name}.py")],
        input=json.dumps(spec),
        env=os.environ | {"PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        timeout=seconds + SLACK_S,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    if done.stderr:
        note(done.stderr[-500:])
    return json.loads(done.stdout)
