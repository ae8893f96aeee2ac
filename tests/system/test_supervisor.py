"""Does the router stay up whatever dies, and leave nothing behind when it goes?"""

import hashlib
import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from glowplug.artifact import Release
from glowplug.clock import SystemClock
from glowplug.errors import ConfigError
from glowplug.settings import Home
from glowplug.wire.messages import to_json
from glowplug_packager.release import prepare
from glowplug_router.supervisor.up_file import down, running
from system.up_process import Router, gone, router, start, until

pytestmark = pytest.mark.timeout(120)

APP = """
import os
from glowplug import Scale, endpoint

# At most one replica: who answers later is who answered before, or its successor.
@endpoint(app="hello", scale=Scale(max=1), examples=[{"name": "world"}])
def greet(name: str) -> dict:
    return {"text": f"%s {name}", "pid": os.getpid()}
"""
IDLE_PSS_MAX_KIB = 120 * 1024


def deploy(it: Router, folder: Path, word: str = "Hello") -> list[Any]:
    source = folder / "src"
    source.mkdir(exist_ok=True)
    (source / "app.py").write_text(APP % word)
    prepared = prepare(source / "app.py", home=it.home)
    release: Release = prepared.release
    for digest, path in prepared.layers.items():
        assert it.ask("PUT", f"/-/api/blobs/{digest}", path.read_bytes())[0] == 200
    status, steps = it.ask("POST", "/-/api/deploy", to_json(release), timeout_s=60)
    assert status == 200
    assert steps[-1]["step"] == "done", steps
    return list(steps)


def greet(it: Router) -> Any:
    status, answer = it.ask("POST", "/hello/greet", {"name": "Ada"})
    assert status == 200, answer
    return answer


class Callers:
    """Clients that call without a pause, each on new connections, and count what happens."""

    def __init__(self, it: Router, count: int = 4) -> None:
        self.good = self.refused = self.broken = 0
        self.problems: list[Any] = []
        self._it = it
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def answered(self, count: int) -> None:
        """Wait for so many more good answers."""
        before = self.good
        until(lambda: self.good > before + count)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                status, answer = self._it.ask("POST", "/hello/greet", {"name": "Ada"})
            except ConnectionRefusedError:
                self.refused += 1
            except (OSError, ValueError):
                self.broken += 1
            else:
                self.good += status == 200
                if status != 200:
                    self.problems.append(answer)


def test_a_router_serves_what_is_deployed_and_goes_without_a_trace(tmp_path: Path) -> None:
    with router(tmp_path) as it:
        deploy(it, tmp_path)
        answer = greet(it)
        children = [identity.pid for _, identity in it.up.children]
        assert answer["text"] == "Hello Ada"

        assert it.stop() == 0

    assert all(gone(pid) for pid in [*children, answer["pid"]])
    assert not (tmp_path / "router" / "up.json").exists()
    assert running(Home(tmp_path)) is None


def test_the_idle_router_is_small(tmp_path: Path) -> None:
    with router(tmp_path) as it:
        until(lambda: it.ask("GET", "/-/api/health")[1]["nodes"] == 1)
        pids = [it.process.pid, *(identity.pid for _, identity in it.up.children)]

        assert sum(pss_kib(pid) for pid in pids) <= IDLE_PSS_MAX_KIB


def pss_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def test_when_the_gateway_is_killed_no_connection_is_refused(tmp_path: Path) -> None:
    with router(tmp_path) as it:
        deploy(it, tmp_path)
        rank = greet(it)["pid"]
        with Callers(it) as callers:
            for _ in range(3):
                callers.answered(20)
                it.kill("gateway")
            callers.answered(20)

        assert callers.refused == 0
        assert callers.broken <= 4 * 3  # those in flight: one for each client and kill
        assert callers.problems == []
        assert greet(it)["pid"] == rank


def test_when_the_controller_is_killed_calls_go_on_and_replicas_stay(tmp_path: Path) -> None:
    with router(tmp_path) as it:
        deploy(it, tmp_path)
        rank = greet(it)["pid"]
        with Callers(it) as callers:
            for _ in range(2):
                it.kill("controller")
                until(lambda: it.ask("GET", "/-/api/health")[0] == 200)

        assert (callers.refused, callers.broken, callers.problems) == (0, 0, [])
        assert callers.good > 10
        assert greet(it)["pid"] == rank
        assert it.ask("GET", "/-/api/health")[1]["epoch"] == 3


def test_when_the_agent_is_killed_calls_go_on_and_replicas_are_adopted(tmp_path: Path) -> None:
    with router(tmp_path) as it:
        deploy(it, tmp_path)
        rank = greet(it)["pid"]
        with Callers(it) as callers:
            it.kill("agent")
            until(lambda: adopted(it))

        assert (callers.refused, callers.broken, callers.problems) == (0, 0, [])
        assert greet(it)["pid"] == rank


def adopted(it: Router) -> bool:
    _, app = it.ask("GET", "/-/api/apps/hello")
    found = [one for version in app["endpoints"][0]["versions"] for one in version["replicas"]]
    return bool(found) and all(one.get("adopted") for one in found)


def test_when_the_supervisor_is_killed_its_children_end_and_the_next_one_adopts_the_replicas(
    tmp_path: Path,
) -> None:
    with router(tmp_path) as it:
        deploy(it, tmp_path)
        rank, key, port = greet(it)["pid"], it.key, it.port
        children = [identity.pid for _, identity in it.up.children]

        it.process.kill()
        it.process.wait()
        until(lambda: all(gone(pid) for pid in children))
        assert not gone(rank)

        again = start(tmp_path, port)
        try:
            assert greet(again)["pid"] == rank
            assert (again.key, again.port) == (key, port)
        finally:
            again.stop()
            assert again.process.stdout is not None
            again.process.stdout.close()
    assert gone(rank)


def test_a_second_router_starts_at_once_after_the_first_was_killed(tmp_path: Path) -> None:
    with router(tmp_path) as it:
        port = it.port
        it.process.kill()

        again = start(tmp_path, port)
        assert again.stop() == 0
        assert again.process.stdout is not None
        again.process.stdout.close()


def test_replicas_are_kept_when_that_was_asked_for(tmp_path: Path) -> None:
    with router(tmp_path, keep=True) as it:
        deploy(it, tmp_path)
        rank = greet(it)["pid"]
        it.stop()
    assert not gone(rank)

    with router(tmp_path) as again:
        assert greet(again)["pid"] == rank


def test_of_two_routers_in_one_home_the_second_is_told_who_runs(tmp_path: Path) -> None:
    with router(tmp_path) as it:
        second = start(tmp_path, ready=False)
        said, _ = second.process.communicate(timeout=30)

        assert second.process.returncode == 2
        assert f"pid {it.process.pid}" in said
        assert it.up.url in said
        assert "glowplug down" in said


def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        second = start(tmp_path, taken.getsockname()[1], ready=False)
        said, _ = second.process.communicate(timeout=30)

    assert second.process.returncode == 2
    assert "is taken" in said


def test_a_detached_router_is_stopped_by_down(tmp_path: Path) -> None:
    said: list[str] = []
    home = Home(tmp_path)
    url = detached_in_a_child(tmp_path, said)
    up = running(home)
    assert up is not None
    assert up.url == url
    assert url in said[0]

    with pytest.raises(ConfigError, match="already runs"):
        detached_in_a_child(tmp_path, said)

    assert down(home, SystemClock())
    assert gone(up.pid)
    assert not down(home, SystemClock())


def detached_in_a_child(folder: Path, said: list[str]) -> str:
    """Detach from a process of its own: this one has threads, and must not be forked."""
    import subprocess
    import sys

    from system.up_process import ROOT

    code = (
        "import sys, json; from pathlib import Path; from glowplug.settings import Home\n"
        "from glowplug.errors import GlowplugError\n"
        "from glowplug_router.settings import UpSettings; from glowplug_router.supervisor.detach import run_detached\n"
        "said = []\n"
        "try:\n"
        "    url = run_detached(UpSettings(home=Home(Path(sys.argv[1])), port=0), said.append)\n"
        "    print(json.dumps({'url': url, 'said': said}))\n"
        "except GlowplugError as error:\n"
        "    print(json.dumps({'error': error.message}))\n"
    )
    paths = os.pathsep.join(str(ROOT / one) for one in ("runtime", "packager", "router"))
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": paths},
    )
    told = json.loads(run.stdout)
    if "error" in told:
        raise ConfigError(told["error"])
    said += told["said"]
    return str(told["url"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_router_in_order(tmp_path: Path, number: int) -> None:
    with router(tmp_path) as it:
        assert it.stop(number) == 0

    log = (tmp_path / "node" / "logs" / "system" / "supervisor.jsonl").read_text()
    ended = [
        json.loads(line)["role"]
        for line in log.splitlines()
        if json.loads(line)["event"] == "ended"
    ]
    assert ended == ["gateway", "controller", "agent"]


@pytest.mark.parametrize("dead", [("controller",), ("controller", "agent")], ids="-".join)
def test_down_leaves_no_replica_even_when_nobody_can_drain_it(
    tmp_path: Path, dead: tuple[str, ...]
) -> None:
    with router(tmp_path) as it:
        deploy(it, tmp_path)
        rank = greet(it)["pid"]
        it.process.send_signal(signal.SIGSTOP)  # or it would make them again
        for role in dead:
            os.kill(it.child(role), signal.SIGKILL)
        it.process.send_signal(signal.SIGTERM)
        it.process.send_signal(signal.SIGCONT)

        assert it.process.wait(40) == 0

        assert gone(rank)
        assert not list((tmp_path / "node" / "ranks").iterdir())
        assert Home(tmp_path).run.is_relative_to(tmp_path) or not Home(tmp_path).run.exists()


def test_no_key_shows_in_any_log(tmp_path: Path) -> None:
    with router(tmp_path) as it:
        deploy(it, tmp_path)
        greet(it)
        it.ask("PUT", "/-/api/secrets/CANARY", b"canary-value")
        it.ask("POST", "/-/api/keys", {"name": "x", "scopes": ["read"]})
        secret = it.key.rpartition("_")[2]

    files = list(tmp_path.rglob("*.jsonl"))
    assert files
    for path in [*files, *tmp_path.glob("router/router.db*")]:
        text = path.read_bytes()
        assert secret.encode() not in text, path
        assert b"canary-value" not in text, path


def test_rollback_under_load_fails_no_call(tmp_path: Path) -> None:
    with router(tmp_path) as it:
        deploy(it, tmp_path, "Hello")
        deploy(it, tmp_path, "Servus")
        with Callers(it) as callers:
            callers.answered(20)
            status, done = it.ask("POST", "/-/api/apps/hello/rollback", {})
            callers.answered(50)

        assert (status, done["rollback_of"]) == (200, 1)
        assert (callers.refused, callers.broken, callers.problems) == (0, 0, [])
        assert greet(it)["text"] == "Hello Ada"


def test_layers_are_kept_under_the_digest_of_their_bytes(tmp_path: Path) -> None:
    with router(tmp_path) as it:
        deploy(it, tmp_path)

    objects = [path for path in (tmp_path / "router" / "objects").rglob("*") if path.is_file()]
    assert objects
    for path in objects:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
