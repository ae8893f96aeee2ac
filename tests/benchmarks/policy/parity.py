"""Does the planner decide in replay what it decided in a router that ran? A real one, recorded on this machine.

`glowplug up --record` serves a small app through a cold start, load, a change of scale, a second version, a rollback
and the way down to zero. What it recorded is planned again in another process with another hash seed. The control plans
the same recording with one replica more than was asked for.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from place import Place

from policy.result import Result

NAME = "parity"
CALLS = 24
THREADS = 3
APP = """import time

from glowplug import Scale, endpoint


@endpoint(app="hello", examples=[{"name": "world"}], scale=Scale(max=3, zero_after="1s", down_after="1s"))
def greet(name: str) -> str:
    time.sleep(0.02)
    return f"VERSION {name}"
"""
AGAIN = """
import json, sys
from dataclasses import asdict, replace
from pathlib import Path
from glowplug_router.plan import plan
from glowplug_router.simulation.recorded import replayed

def generous(observed, demand, memory, now_ns):
    served = tuple(replace(one, policy=replace(one.policy, min=one.policy.min + 1)) for one in observed.served)
    return plan(replace(observed, served=served), demand, memory, now_ns)

print(json.dumps(asdict(replayed(Path(sys.argv[1]), generous if sys.argv[2] == "control" else plan))))
"""


def run(seed: int) -> list[Result]:
    """Return how many plans differ."""
    with tempfile.TemporaryDirectory(prefix="gp") as name:
        folder = Path(name)
        _record(folder)
        recording = folder / "recording" / "plans.jsonl"
        same, other = (_again(recording, kind, seed) for kind in ("same", "control"))
        size = recording.stat().st_size
    detail = (
        f"{same['plans']} plans with {same['actions']} actions of a real router, {size:,} bytes;"
        f" control: min + 1 differs in {other['mismatches']}"
    )
    return [
        Result(
            figure="parity_digest_mismatches",
            value=same["mismatches"],
            unit="plans",
            detail=detail,
            exercised=same["actions"] and same["plans"],
            control=other["mismatches"],
            at_most=0,
        )
    ]


def _record(folder: Path) -> None:
    """Have a router serve, and record its plans."""
    here = Place(folder / "home", record=str(folder / "recording"))
    try:
        here.run("deploy", _written(folder, "one"))
        here.until_zero("hello")
        threads = [threading.Thread(target=_call, args=(here,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        here.run("scale", "hello/greet", "--min", "2")
        here.run("deploy", _written(folder, "two"))
        here.run("rollback", "hello")
        here.run("scale", "hello/greet", "--min", "0")
        here.until_zero("hello")
    finally:
        here.run("down")


def _written(folder: Path, version: str) -> str:
    file = folder / "app.py"
    file.write_text(APP.replace("VERSION", version))
    return str(file)


def _call(here: Place) -> None:
    connection = here.connect()
    for _ in range(CALLS):
        status, body, _ = here.post(connection, "/hello/greet", b'{"name": "x"}')
        assert status == 200, body


def _again(recording: Path, kind: str, seed: int) -> dict[str, int]:
    env = {**os.environ, "PYTHONHASHSEED": str(seed + 4242)}
    command = [sys.executable, "-c", AGAIN, str(recording), kind]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found
