"""How does a benchmark get a router of its own? A fresh home, `up`, `deploy`, and plain HTTP calls."""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

GLOWPLUG = str(Path(sys.executable).parent / "glowplug")
WAIT_S = 60.0


class Place:
    """A running router and node in a temporary home."""

    def __init__(self, home: Path, prefix: Sequence[str] = (), *, record: str = "") -> None:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("GLOWPLUG_")
        }
        self.home = home
        self.env = kept | {"GLOWPLUG_HOME": str(home)}
        more = ("--record", record) if record else ()
        self.run("up", "--detach", "--port", "0", *more, prefix=prefix)
        profile = json.loads((home / "profiles.json").read_text())["profiles"]["local"]
        self.url, self.key = profile["url"], profile["key"]
        self.pid = int(json.loads((home / "router" / "up.json").read_text())["pid"])

    def run(self, *words: str, prefix: Sequence[str] = ()) -> Any:
        """Run a verb with --json, behind a command such as taskset, and return its last document."""
        command = [*prefix, GLOWPLUG, *words, "--json"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        lines = done.stdout.strip().splitlines()
        if done.returncode != 0:
            raise SystemExit(
                f"glowplug {' '.join(words)}: {lines[-1] if lines else ''}{done.stderr}"
            )
        return json.loads(lines[-1]) if lines else None

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that stays open."""
        where = urlsplit(self.url)
        return http.client.HTTPConnection(where.hostname or "", where.port, timeout=WAIT_S)

    def post(
        self, connection: http.client.HTTPConnection, path: str, body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        """Call and return status, body and headers."""
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return (
            answer.status,
            answer.read(),
            {name.lower(): value for name, value in answer.getheaders()},
        )

    def replicas(self, app: str) -> int:
        """Return how many replicas an app has."""
        record = self.run("status", app)
        return sum(len(one["replicas"]) for one in record["endpoints"])

    def until_zero(self, app: str) -> None:
        """Wait until an app has no replica left."""
        end = time.monotonic() + WAIT_S
        while self.replicas(app):
            if time.monotonic() > end:
                raise SystemExit(f"{app} never reached zero")
            time.sleep(0.1)


@contextmanager
def place(prefix: Sequence[str] = ()) -> Iterator[Place]:
    """Start a router, and stop it whatever happens."""
    with tempfile.TemporaryDirectory(prefix="gp") as name:
        here = Place(Path(name), prefix)
        try:
            yield here
        finally:
            here.run("down")
