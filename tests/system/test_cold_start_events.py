"""Are the phases of a real start told to callers of every kind, from the node's own reports?"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from glowplug.events import SseReader
from system.place import Place, place, reading, until

APP = """
import time
from collections.abc import Iterator
from glowplug import Scale, endpoint, on

brief = Scale(min=0, max=1, zero_after="1s")

@endpoint(scale=brief, priority="batch", examples=[{"text": "hi"}])
class Slow:
    @on.load
    def load(self) -> None:
        time.sleep(0.6)
    def __call__(self, text: str) -> str:
        return text.upper()

@endpoint(scale=brief)
def counts(to: int) -> Iterator[int]:
    yield from range(to)
"""


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("cold")) as here:
        here.deploy("cold", APP)
        yield here


def asleep(router: Place, endpoint: str) -> None:
    until(lambda: not router.replicas("cold", endpoint), what=f"{endpoint} at zero")


def events(router: Place, path: str, body: object) -> list[tuple[str, Any]]:
    with router.open_call(path, body, {"accept": "text/event-stream"}) as sock:
        answer = reading(sock)
        assert answer.status == 200
        return [(one.kind, json.loads(one.data)) for one in SseReader().feed(answer.read())]


def test_a_caller_hears_the_phases_of_a_start_and_how_long_it_will_be(router: Place) -> None:
    asleep(router, "slow")
    told = events(router, "/cold/slow", {"text": "hello"})
    phases = [data["phase"] for kind, data in told if kind == "status"]
    etas = [data["eta_s"] for kind, data in told if kind == "status" and data["phase"] != "run"]
    print(f"\nphases: {phases}; foretold: {etas} s")

    assert phases[0] == "queued"
    assert phases[-1] == "run"
    assert "load" in phases
    assert etas[0] > 0.5  # it was started before, on trial: loading alone takes 0.6 s
    assert told[-2:] == [("output", "HELLO"), ("done", {})]


def test_a_generator_streams_on_after_the_phases(router: Place) -> None:
    asleep(router, "counts")
    told = events(router, "/cold/counts", {"to": 3})

    assert [kind for kind, _ in told if kind != "status"] == ["output"] * 3 + ["done"]
    assert told[0][0] == "status"


def test_the_terminal_shows_the_phases_and_prints_the_answer_as_ever(router: Place) -> None:
    asleep(router, "slow")
    said = router.glowplug("call", "cold/slow", "-i", "text=hello")
    assert (said.returncode, said.stdout) == (0, "HELLO\n"), said.stderr
    assert "loading" in said.stderr
    assert "cold start:" in said.stderr

    asleep(router, "slow")
    document = router.run("call", "cold/slow", "-i", "text=hello")[-1]
    assert document["output"] == "HELLO"
    assert document["headers"]["glowplug-version"] == "v1"


def test_the_priority_of_the_decorator_holds_and_is_changed_live(router: Place) -> None:
    (made,) = router.run("keys", "create", "--name", "caller")
    (urgent,) = router.run(
        "keys", "create", "--scope", "invoke:*", "--scope", "priority:interactive"
    )

    def status(key: str, priority: str) -> int:
        headers = {"authorization": f"Bearer {key}", "glowplug-priority": priority}
        return router.send("/cold/slow", {"text": "x"}, headers).status

    until(lambda: status(made["key"], "batch") == 200, what="the new keys at the gateway")
    assert status(made["key"], "standard") == 403
    assert status(urgent["key"], "interactive") == 200
    assert status(urgent["key"], "critical") == 403
    before = router.ready("cold", "slow")
    (changed,) = router.run("scale", "cold/slow", "--priority", "interactive", "--zero-after", "1m")
    assert changed["policy"]["priority"] == "interactive"
    until(lambda: status(made["key"], "interactive") == 200, what="the new priority")
    assert router.ready("cold", "slow") == before
