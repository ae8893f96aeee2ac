"""How fast does the command line feel? Start-up, import, first answer from an empty folder, edit to new answer."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from report import figure, median, note, timed

PYTHON = sys.executable
GLOWPLUG = str(Path(PYTHON).parent / "glowplug")
BEST_OF = 9
HELLO_RUNS = 3
EDITS = 7
WAIT_S = 30.0


def best(command: list[str]) -> float:
    """Return the best of several runs: start-up is asked for on an idle machine."""
    return min(timed(command) for _ in range(BEST_OF))


def environment(home: Path) -> dict[str, str]:
    """Return an environment with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GLOWPLUG_")}
    return kept | {"HOME": str(home), "GLOWPLUG_HOME": str(home / ".glowplug")}


class Dev:
    """A running `glowplug dev --json`."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        command = [GLOWPLUG, "dev", "app.py", "--port", "0", "--json"]
        self.process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True
        )
        self.serving = self.until("serving")

    def until(self, event: str) -> dict[str, str]:
        """Read events up to the one named."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            record: dict[str, str] = json.loads(line)
            if record.get("event") == event:
                return record
        raise SystemExit(f"dev ended before `{event}`")

    def call(self, name: str) -> str:
        """Call the endpoint over HTTP as curl would."""
        request = urllib.request.Request(
            f"{self.serving['url']}/hello/greet",
            data=json.dumps({"name": name}).encode(),
            headers={
                "authorization": f"Bearer {self.serving['key']}",
                "content-type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return str(json.loads(answer.read()))

    def stop(self) -> None:
        """End it as Ctrl-C would."""
        self.process.terminate()
        self.process.wait(WAIT_S)


def hello_world() -> float:
    """Return seconds from an empty folder to the first 200."""
    with tempfile.TemporaryDirectory(prefix="gp") as name:
        base = Path(name)
        env = environment(base)
        begun = time.perf_counter()
        subprocess.run(
            [GLOWPLUG, "init", "hello"], cwd=base, env=env, check=True, capture_output=True
        )
        dev = Dev(base / "hello", env)
        try:
            assert dev.call("Ada") == "Hello, Ada!"
            return time.perf_counter() - begun
        finally:
            dev.stop()


def edits() -> list[float]:
    """Return seconds from saving the file to the first answer of the new code."""
    with tempfile.TemporaryDirectory(prefix="gp") as name:
        base = Path(name)
        env = environment(base)
        subprocess.run(
            [GLOWPLUG, "init", "hello"], cwd=base, env=env, check=True, capture_output=True
        )
        source = base / "hello" / "app.py"
        text = source.read_text()
        dev = Dev(base / "hello", env)
        try:
            dev.call("Ada")
            return [_edit(dev, source, text, number) for number in range(EDITS)]
        finally:
            dev.stop()


def _edit(dev: Dev, source: Path, text: str, number: int) -> float:
    begun = time.perf_counter()
    source.write_text(text.replace("Hello, {name}!", f"Hi {number}, {{name}}!"))
    while dev.call("Ada") != f"Hi {number}, Ada!":
        if time.perf_counter() - begun > WAIT_S:
            raise SystemExit("the edit never arrived")
        time.sleep(0.01)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print every figure of the bench."""
    bare = best([PYTHON, "-c", "pass"])
    imported = best([PYTHON, "-c", "import glowplug"])
    figure("cli", "help_s", best([GLOWPLUG, "--help"]), unit="s", n=BEST_OF)
    figure(
        "cli",
        "import_s",
        imported - bare,
        unit="s",
        n=BEST_OF,
        peers={"python -c pass": round(bare, 4)},
    )
    note("empty folder to first answer")
    figure(
        "cli",
        "hello_world_s",
        median([hello_world() for _ in range(HELLO_RUNS)]),
        unit="s",
        n=HELLO_RUNS,
    )
    note("edit to new answer")
    figure("cli", "edit_reload_s", median(edits()), unit="s", n=EDITS)


if __name__ == "__main__":
    main()
