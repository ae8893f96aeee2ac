"""Does `glowplug dev` show every save at once, keep the model where it can, and leave nothing behind?"""

import http.client
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from system.terminal import Running, Terminal, eventually_none, processes_of

APP = """from pathlib import Path

from glowplug import endpoint, on


@endpoint(examples=[{"name": "world"}])
class Greet:
    @on.load
    def load(self) -> None:
        with Path("LOADS").open("a") as file:
            file.write("x")
        self.word = "Hello"

    def __call__(self, name: str) -> str:
        return f"{self.word}, {name}!"
"""


class Bench:
    """A file that is worked on under `glowplug dev --json`."""

    def __init__(self, base: Path) -> None:
        self.terminal = Terminal(base)
        self.home = self.terminal.home / "dev"
        self.loads_file = base / "loads"
        self.file = self.terminal.folder / "app.py"
        self.text = APP.replace("LOADS", str(self.loads_file))
        self.file.write_text(self.text)
        self.dev = self.begin()
        self.serving = self.dev.until("serving")

    def begin(self) -> Running:
        return self.terminal.begin("dev", "app.py", "--port", "0", "--json")

    @property
    def loads(self) -> int:
        return len(self.loads_file.read_text())

    def save(self, old: str, new: str) -> dict[str, Any]:
        """Replace text, save, and return what dev says to it."""
        self.text = self.text.replace(old, new)
        self.file.write_text(self.text)
        return self.dev.until("reloaded", "failed")

    def call(self) -> Any:
        """Call the endpoint as any client would."""
        where = urlsplit(self.serving["url"])
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
        headers = {
            "authorization": f"Bearer {self.serving['key']}",
            "content-type": "application/json",
        }
        connection.request("POST", f"/{self.serving['app']}/greet", '{"name": "Ada"}', headers)
        answer = connection.getresponse().read()
        connection.close()
        return json.loads(answer)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("dev"))
    try:
        yield bench
    finally:
        if bench.dev.process.poll() is None:
            bench.dev.end(signal.SIGTERM)


def test_a_new_handler_answers_within_a_second_and_keeps_the_model(bench: Bench) -> None:
    assert bench.call() == "Hello, Ada!"
    loads = bench.loads
    begun = time.monotonic()

    said = bench.save("{name}!", "dear {name}!")

    assert bench.call() == "Hello, dear Ada!"
    assert time.monotonic() - begun < 1.0
    assert (said["event"], said["kept"]) == ("reloaded", True)
    assert bench.loads == loads


def test_a_new_way_of_loading_loads_anew(bench: Bench) -> None:
    loads = bench.loads

    said = bench.save('"Hello"', '"Hi"')

    assert bench.call().startswith("Hi, ")
    assert (said["event"], said["kept"]) == ("reloaded", False)
    assert bench.loads == loads + 1


def test_a_mistake_is_shown_and_what_served_serves_on_until_it_is_mended(bench: Bench) -> None:
    before = bench.call()

    failed = bench.save("def __call__", "dif __call__")
    assert failed["event"] == "failed"
    assert "app.py:14: invalid syntax" in failed["message"]
    assert bench.call() == before
    mended = bench.save("dif __call__", "def __call__")
    assert (mended["event"], bench.call()) == ("reloaded", before)

    failed = bench.save("self.word =", "raise OSError('no weights')\n        self.word =")
    assert "OSError: no weights" in failed["message"]
    assert bench.call() == before
    bench.save("raise OSError('no weights')\n        ", "")
    assert bench.save("{name}!", "{name}?")["event"] == "reloaded"
    assert bench.call() == before.replace("!", "?")


def test_the_last_of_many_saves_is_the_one_that_serves_in_the_end(bench: Bench) -> None:
    for number in range(12):  # faster than reloads: most of these fall into one
        bench.file.write_text(bench.text.replace("{self.word}", f"{number} {{self.word}}"))
        threading.Event().wait(0.04)

    end = time.monotonic() + 5.0
    while not str(bench.call()).startswith("11 "):
        assert time.monotonic() < end, bench.call()
        bench.dev.until("reloaded")


def test_other_verbs_find_it_by_the_profile_dev(bench: Bench) -> None:
    said = bench.terminal.ok(
        "call", f"{bench.serving['app']}/greet", "-i", "name=Ada", "--profile", "dev"
    )
    lost = bench.terminal.type("status")
    port = str(urlsplit(bench.serving["url"]).port)
    taken = bench.terminal.type("up", "--port", port)

    assert "Ada" in said.out
    assert "only `glowplug dev` serves here" in lost.err
    assert "`--profile dev`" in lost.err
    assert f"taken by `glowplug dev` (pid {bench.dev.process.pid}, in " in taken.err


def test_a_second_dev_in_the_same_home_is_refused(bench: Bench) -> None:
    said = bench.terminal.type("dev", "app.py", "--port", "0", "--json")

    assert said.code == 1
    assert f"(pid {bench.dev.process.pid}, in " in said.document["error"]["message"]


def test_a_dev_that_was_killed_is_cleaned_up_after_by_the_next(bench: Bench) -> None:
    bench.dev.end(signal.SIGKILL)
    assert processes_of(bench.home)

    bench.dev = bench.begin()
    bench.serving = bench.dev.until("serving")

    assert str(bench.call()).startswith("11 ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_its_like_leave_no_process(bench: Bench, number: int) -> None:
    if bench.dev.process.poll() is not None:
        bench.dev = bench.begin()
        bench.dev.until("serving")

    assert bench.dev.end(number) == 0
    assert eventually_none(bench.home) == []


def test_ctrl_c_says_what_it_waits_for_and_a_second_one_ends_it_now(bench: Bench) -> None:
    if bench.dev.process.poll() is None:
        bench.dev.end(signal.SIGTERM)
    text = (
        "import time\n\nfrom glowplug import endpoint\n\n\n@endpoint\ndef nap(s: float) -> float:\n"
    )
    (bench.terminal.folder / "naps.py").write_text(f"{text}    time.sleep(s)\n    return s\n")
    dev = bench.terminal.begin("dev", "naps.py", "--port", "0")
    assert "serving at" in dev.line()
    caller = bench.terminal.begin("call", "naps/nap", "-i", "s=20", "--profile", "dev")
    end = time.monotonic() + 10
    while "1 running" not in bench.terminal.type("status", "--profile", "dev").out:
        assert time.monotonic() < end

    begun = time.monotonic()
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.stderr is not None
    told = b""
    while b"waiting for 1 call, at most 15 s; Ctrl-C again ends it now" not in told:
        piece = dev.process.stderr.readline()
        assert piece, told
        told += piece
    dev.process.send_signal(signal.SIGINT)
    dev.process.communicate(timeout=10)
    caller.process.communicate(timeout=10)

    assert time.monotonic() - begun < 10
    assert eventually_none(bench.home) == []
    assert "dev" not in (bench.terminal.home / "profiles.json").read_text()


def test_a_file_that_is_wrong_from_the_start_leaves_no_process(bench: Bench) -> None:
    (bench.terminal.folder / "bad.py").write_text("def f(:\n")

    said = bench.terminal.type("dev", "bad.py", "--port", "0")

    assert (said.code, said.out) == (1, "")
    assert "bad.py:1: invalid syntax" in said.err
    assert eventually_none(bench.home) == []
