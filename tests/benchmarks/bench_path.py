"""How good is the path from call to answer? Cold start, rollback under load, idle memory, CPU per call beside mosec."""

import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from dataplane.answers import PEERS, echo
from dataplane.loads import hammer
from dataplane.rounds import Bench, Deployed
from dataplane.servers import MissingPeerError, running
from place import Place, place
from report import figure, median, note, pss_mib, tree

COLD_RUNS = 7
ROUNDS = 5
SECONDS = 3.0
CONNECTIONS = 64
RATE = 200
LOAD_S = 6.0
ROLLBACKS = 3

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


def echo_ratio(here: Place) -> None:
    """CPU per echo call beside mosec, alternating in one run; `make bench-dataplane` has the other peers."""
    call = echo()
    here.run("deploy", str(PEERS / "echo_app.py"))
    ours = Deployed(here, "bench")
    try:
        with ExitStack() as stack:
            targets = {
                "glowplug": ours.server("echo-async"),
                # One permit means one call at a time: told beside the figure.
                "glowplug, plain def": ours.server("echo"),
                "mosec": stack.enter_context(running("mosec", "echo", call, pinned=False)),
            }
            loads = {name: partial(hammer, one, call, CONNECTIONS) for name, one in targets.items()}
            samples = Bench(ROUNDS, SECONDS, stack).alternate(loads, {})
    except MissingPeerError as error:
        figure("path", "echo_cpu_ratio_mosec", None, unit="ratio", n=0, reason=str(error))
        return
    told = samples.told("cpu_us")
    ratio: float | None = None
    if flaw := samples.flaw("glowplug") or samples.flaw("mosec"):
        told["reason"] = flaw
    else:
        ratio = samples.typical("glowplug", "cpu_us") / samples.typical("mosec", "cpu_us")
    figure("path", "echo_cpu_ratio_mosec", ratio, unit="ratio", n=ROUNDS, **told)


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
