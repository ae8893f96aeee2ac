"""Do `scale --for`, `preheat`, `why` and `up --advisory` do by hand what their help says, on a router that runs?"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from system.place import until
from system.terminal import Terminal

APP = """
from glowplug import Scale, endpoint

@endpoint(scale=Scale(max=3, zero_after="2s"), examples=[{}])
def wake() -> str:
    return "awake"
"""
NAME = "nap/wake"


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    here = Terminal(tmp_path_factory.mktemp("nap"))
    file = here.app("nap", APP)
    here.ok("up", "--detach", "--port", "0")
    try:
        here.ok("deploy", file)
        yield here
    finally:
        here.type("down")


def why(here: Terminal, *words: str) -> Any:
    return here.ok("why", NAME, "--json", *words).document


def settled(here: Terminal, ready: int) -> Any:
    """Wait until the endpoint has so many replicas, and return why."""

    def look() -> Any:
        (found,) = why(here)["versions"]
        return found if (found["ready"], found["wanted"]) == (ready, ready) else None

    return until(look, 20.0, f"{ready} replicas")


def test_an_idle_endpoint_goes_to_zero_and_says_so(terminal: Terminal) -> None:
    found = settled(terminal, 0)

    assert found["rule"] == "idle"
    assert "zero_after 2 s" in found["because"]


def test_a_cold_call_is_told_why_it_was_cold(terminal: Terminal) -> None:
    settled(terminal, 0)
    said = terminal.ok("call", NAME, "-d", "{}")
    (command,) = re.findall(r"`glowplug (why \S+ --call \w+)`", said.err)

    # Its gateway tells the controller within a moment.
    cold = until(lambda: terminal.type(*command.split()).out)
    assert "met no replica" in cold
    (found,) = why(terminal)["versions"]
    assert found["wanted"] == 1
    assert found["replicas"][0]["because"], "why it is where it is"


def test_an_override_holds_for_its_time_and_ends_by_itself(terminal: Terminal) -> None:
    said = terminal.ok("scale", NAME, "--min", "2", "--for", "4s")
    assert "min 2 for 4 s" in said.out

    found = settled(terminal, 2)
    assert found["rule"] == "override"
    assert "scale --for" in found["not_at_zero"]
    assert settled(terminal, 0)["rule"] == "idle"


def test_a_lease_is_ended_before_its_time(terminal: Terminal) -> None:
    terminal.ok("preheat", NAME, "--replicas", "2", "--for", "10m")
    assert "preheat" in settled(terminal, 2)["not_at_zero"]

    terminal.ok("preheat", NAME, "--end")
    settled(terminal, 0)


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (("scale", NAME, "--min", "9", "--for", "1m"), "min 9, max 3", "its scale is min 0, max 3"),
        (("scale", NAME, "--max", "1000000000", "--for", "1m"), "more than 10000", "no more"),
        (("scale", NAME, "--max", "1000000000"), "10000", ""),
        (("scale", NAME, "--for", "1m"), "nothing to change", "--min 1"),
        (("scale", NAME, "--min", "1", "--for", "9999d"), "", ""),
        (("preheat", NAME, "--for", "0s"), "more than 0 s", "--for 2h"),
        (("preheat", "nap/wakes"), "nap/wakes", "nap/wake"),
        (("why", "nap/wakes"), "nap has no endpoint wakes", "nap/wake"),
    ],
)
def test_what_could_not_hold_is_refused_by_name(
    terminal: Terminal, words: tuple[str, ...], said: str, hint: str
) -> None:
    got = terminal.type(*words)

    assert got.code != 0
    assert said in got.err
    assert hint in got.err
    assert "\n  " in got.err, "no next command"


def test_an_app_that_is_only_advised_keeps_what_it_has(tmp_path: Path) -> None:
    here = Terminal(tmp_path)
    file = here.app("nap", APP)
    here.ok("up", "--detach", "--port", "0", "--advisory", "nap")
    try:
        here.ok("deploy", file)
        until(lambda: why(here)["versions"][0]["wanted"] == 0)
        (found,) = why(here)["versions"]
        assert found["ready"] == 1, "nobody called for its zero_after, and it is still there"
        said = here.ok("why", NAME).out
        assert "advi" in said or "would" in said
    finally:
        here.type("down")
