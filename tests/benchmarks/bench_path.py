"""How good is the path from call to answer? Cold start, rollback under load, idle memory, CPU per call beside mosec."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from place import Place, place
from report import HERE, cpu_seconds, figure, median, note, pss_mib, tree

PEERS = HERE / "peers"
COLD_RUNS = 7
ROUNDS = 5
SECONDS = 3
CONNECTIONS = 64
RATE = 200
LOAD_S = 6.0
ROLLBACKS = 3
MOSEC_PORT = 18_123
MOSEC_VENV = (
    Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "glowplug-bench" / "mosec"
)

HELLO = """from glowplug import Scale, endpoint


@endpoint(app="hello", examples=[{"name": "world"}], scale=Scale(max=2, zero_after="1s"))
def greet(name: str) -> str:
    return f"VERSION {name}"
"""


def write_hello(folder: Path, version: str) -> str:
    """Write the trivial endpoint and return the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "app.py"
    file.write_text(HELLO.replace("VERSION", version))
    return str(file)


def cold_hello(here: Place) -> None:
    """Scaled to zero -> answer, for a trivial function."""
    here.run("deploy", write_hello(here.home / "src", "one"))
    seconds = []
    phases = ""
    for _ in range(COLD_RUNS):
        here.until_zero("hello")
        begun = time.perf_counter()
        status, body, headers = here.post(here.connect(), "/hello/greet", b'{"name": "x"}')
        seconds.append(time.perf_counter() - begun)
        assert (status, headers.get("glowplug-cold")) == (200, "1"), (status, body, headers)
        phases = headers["server-timing"]
    figure("path", "cold_hello_s", median(seconds), unit="s", n=COLD_RUNS, phases=phases)


class Load:
    """A steady rate of calls from several threads; counts what did not answer 200."""

    def __init__(self, here: Place, threads: int = 8) -> None:
        self.here = here
        self.tried = 0
        self.failed: list[Any] = []
        self.answers: list[tuple[float, bytes]] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(threads,)) for _ in range(threads)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, threads: int) -> None:
        connection = self.here.connect()
        due = time.perf_counter()
        while not self._stop.is_set():
            due += threads / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            try:
                status, body, _ = self.here.post(connection, "/hello/greet", b'{"name": "x"}')
            except OSError as error:
                status, body = 0, repr(error).encode()
                connection = self.here.connect()
            with self._lock:
                self.tried += 1
                self.answers.append((time.perf_counter(), body))
                if status != 200:
                    self.failed.append((status, body))


def rollback(here: Place) -> None:
    """Go back to the old version under load, several times: nothing may fail."""
    failed, tried, seconds = 0, 0, []
    for _ in range(ROLLBACKS):
        load, took = one_rollback(here)
        failed += len(load.failed)
        tried += load.tried
        seconds.append(took)
        for failure in load.failed[:3]:
            note(f"failed: {failure}")
        if load.tried < RATE * LOAD_S / 2:
            note(f"the load was only {load.tried} calls in {LOAD_S:.0f} s")
    # The same check with a fault planted: the app is taken out of service under the load.
    with Load(here) as faulty:
        time.sleep(LOAD_S / 4)
        here.run("stop", "hello")
        time.sleep(LOAD_S / 4)
    counts = {"exercised": tried, "control": len(faulty.failed)}
    figure("path", "rollback_failed", failed, unit="calls", n=ROLLBACKS, **counts)
    figure("path", "rollback_s", median(seconds), unit="s", n=ROLLBACKS)


def one_rollback(here: Place) -> tuple[Load, float]:
    """Deploy two versions and go back under load; return the load, and the seconds to the first old answer."""
    here.run("deploy", write_hello(here.home / "src", "one"))
    here.run("deploy", write_hello(here.home / "src", "two"))
    with Load(here) as load:
        time.sleep(LOAD_S / 4)
        begun = time.perf_counter()
        here.run("rollback", "hello")
        time.sleep(LOAD_S / 2)
    first_old = min(
        (at for at, body in load.answers if at > begun and b"one" in body), default=None
    )
    assert first_old is not None, "the old version never answered"
    return load, first_old - begun


def idle_memory(here: Place) -> None:
    """All processes of a router with nothing deployed."""
    time.sleep(2.0)
    pids = tree(here.pid)
    figure("path", "idle_pss_mib", pss_mib(pids), unit="MiB", n=1, processes=len(pids))


def wrk(url: str, env: dict[str, str], pids: list[int]) -> float:
    """Return the CPU microseconds a call costs the whole process tree."""
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{SECONDS}s",
        "-s",
        str(PEERS / "echo.lua"),
        url,
    ]
    before = cpu_seconds(pids)
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=True)
    used = cpu_seconds(pids) - before
    line = next(line for line in done.stdout.splitlines() if line.startswith("JSON "))
    record = json.loads(line[5:])
    assert record["errors"] == record["bad"] == 0, record
    return 1e6 * used / int(record["n"])


def start_mosec() -> subprocess.Popen[bytes]:
    """Start the peer from a virtual environment of its own."""
    python = MOSEC_VENV / "bin" / "python"
    if not python.exists():
        note(f"installing mosec into {MOSEC_VENV}")
        subprocess.run([sys.executable, "-m", "venv", str(MOSEC_VENV)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "mosec", "msgspec", "numpy"], check=True
        )
    command = [
        str(python),
        str(PEERS / "mosec_app.py"),
        "--address",
        "127.0.0.1",
        "--port",
        str(MOSEC_PORT),
    ]
    return subprocess.Popen(
        [*command, "--timeout", "30000", "--log-level", "error"], start_new_session=True
    )


def until_open(port: int) -> None:
    """Wait until something listens."""
    import socket

    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"nothing listens on {port}")


def echo_ratio(here: Place) -> None:
    """CPU per echo call beside mosec, alternating in one run."""
    if shutil.which("wrk") is None:
        subprocess.run(["apt-get", "install", "-y", "-q", "wrk"], check=False, capture_output=True)
    if shutil.which("wrk") is None:
        figure(
            "path",
            "echo_cpu_ratio_mosec",
            None,
            unit="ratio",
            n=0,
            reason="wrk is not installed: apt-get install wrk",
        )
        return
    here.run("deploy", str(PEERS / "echo_app.py"))
    body = {"BENCH_BODY": str(PEERS / "echo.json")}
    mosec = start_mosec()
    try:
        until_open(MOSEC_PORT)
        time.sleep(1.0)
        key = body | {"BENCH_KEY": here.key}
        targets = {
            "glowplug": (f"{here.url}/bench/echo-async", key, here.pid),
            # One permit means one call in flight, and a wake-up of both processes for each: told beside the figure.
            "glowplug, plain def": (f"{here.url}/bench/echo", key, here.pid),
            "mosec": (f"http://127.0.0.1:{MOSEC_PORT}/inference", body, mosec.pid),
        }
        costs: dict[str, list[float]] = {name: [] for name in targets}
        for number in range(ROUNDS + 1):
            for name, (url, env, pid) in targets.items():
                cost = wrk(url, env, tree(pid))
                if number:  # the first round warms up
                    costs[name].append(cost)
    finally:
        os.killpg(mosec.pid, signal.SIGKILL)
        mosec.wait()
    ours, theirs = median(costs["glowplug"]), median(costs["mosec"])
    peers = {name: round(median(values), 1) for name, values in costs.items()}
    figure("path", "echo_cpu_ratio_mosec", ours / theirs, unit="ratio", n=ROUNDS, peers=peers)


def main() -> None:
    """Measure and print every figure of the bench."""
    with place() as here:
        idle_memory(here)
        note("cold start")
        cold_hello(here)
        note("rollback under load")
        rollback(here)
        note("CPU per call beside mosec")
        echo_ratio(here)


if __name__ == "__main__":
    main()
