"""Can a user replay the traffic of a router of their own? Recorded by `up --record`, replayed by `simulate --from`."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from system.terminal import Said, Terminal

APP = """import time

from glowplug import Batch, endpoint


@endpoint
def greet(name: str) -> str:
    time.sleep(0.01)
    return f"Hello, {name}!"


@endpoint(batch=Batch(max=4))
def double(x: list[int]) -> list[int]:
    time.sleep(0.02 + 0.005 * len(x))
    return [2 * one for one in x]
"""
CALLS = 25  # to each endpoint
SECRET = "a-body-that-nobody-else-must-read"


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """Lend a terminal with the recording of a router that was called 50 times, and is down."""
    here = Terminal(tmp_path_factory.mktemp("recorded"))
    (here.folder / "shop.py").write_text(APP)
    here.ok("up", "--detach", "--port", "0", "--record", "kept")
    try:
        here.ok("deploy", "shop.py")
        _call(here)
    finally:
        here.type("down")
    return here


def _call(here: Terminal) -> None:
    """Call both endpoints, the batched one by several at once; curl, since it starts sooner than Python."""
    place = json.loads((here.home / "profiles.json").read_text())["profiles"]["local"]
    head = (
        f"curl -sSf -H 'authorization: Bearer {place['key']}' -H 'content-type: application/json'"
    )

    def call(number: int) -> str:
        greeting = json.dumps({"name": SECRET})
        doubling = json.dumps({"x": number})
        here.shell(f"{head} {place['url']}/shop/greet -d '{greeting}'")
        return here.shell(f"{head} {place['url']}/shop/double -d '{doubling}'")

    with ThreadPoolExecutor(5) as callers:
        assert list(callers.map(call, range(CALLS))) == [str(2 * one) for one in range(CALLS)]


def simulate(terminal: Terminal, *words: str) -> Said:
    return terminal.ok("simulate", "--from", "kept", *words)


def test_a_recording_has_every_call_and_nothing_that_is_anybodys_business(
    terminal: Terminal,
) -> None:
    path = terminal.folder / "kept" / "calls.jsonl"
    text = path.read_text()
    rows = [json.loads(line) for line in text.splitlines()]

    assert len(rows) == 2 * CALLS
    assert path.stat().st_mode & 0o077 == 0
    assert SECRET not in text
    assert "gp_" not in text
    assert {row["endpoint"] for row in rows} == {"shop/greet", "shop/double"}
    assert all(row["service_ms"] >= 10 for row in rows)
    assert sum(row.get("batch", 0) for row in rows) == CALLS  # one call of each batch says so


def test_ones_own_traffic_is_replayed_under_the_scale_that_it_met(terminal: Terminal) -> None:
    (run,) = json.loads(simulate(terminal, "--json").out)["runs"]

    assert (run["calls"], run["violations"]) == (2 * CALLS, [])
    assert run["batch"] > 1
    assert "50 calls of 2 endpoints" in simulate(terminal).out


def test_ones_own_traffic_is_replayed_under_another_scale_with_a_plot(terminal: Terminal) -> None:
    said = simulate(terminal, "--against", "min=1", "--plot", "both.svg", "--json")
    recorded, changed = json.loads(said.out)["runs"]

    assert recorded["cold"] > 0 == changed["cold"]
    assert (terminal.folder / "both.svg").stat().st_size > 10_000


def test_batches_of_another_bound_cost_what_the_recorded_ones_taught(terminal: Terminal) -> None:
    said = simulate(terminal, "--endpoint", "shop/double", "--against", "batch=1", "--json")
    recorded, alone = json.loads(said.out)["runs"]

    assert recorded["batch"] > alone["batch"] == 1
    assert recorded["calls"] == CALLS


def test_the_plans_of_the_recording_come_out_the_same(terminal: Terminal) -> None:
    assert "0 differ" in simulate(terminal, "--plans").out
