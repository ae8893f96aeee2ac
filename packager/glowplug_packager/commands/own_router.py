"""Where does `glowplug dev` serve? On a router and a node of its own, which end with it."""

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from glowplug.commands.output import Output
from glowplug.control_client import Control
from glowplug.errors import CallError, ConfigError
from glowplug.profiles import DEV, Place, load, save
from glowplug.settings import Home, environment

DOWN_WAIT_S = 15.0
HURRY_WAIT_S = 0.3  # two signals at once would be taken for one
CONTROL_WAIT_S = 0.05
CONTROL_WAIT_TRIES = 200  # ten seconds
LOG_SHOWN = 500  # characters of what it wrote last, when it did not start


@contextmanager
def own_router(place: Home, port: int, out: Output) -> Iterator[Place]:
    """Run a router in a home of its own while the file is worked on.

    Raises:
        ConfigError: Another `dev` runs, or the port is taken.
    """
    with _only_one(place), (place.root / "up.log").open("wb") as log:
        process = subprocess.Popen(
            _command("up", "--port", str(port)),
            env=_environment(place),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us: we stop it in order
        )
        patience_s = DOWN_WAIT_S
        url = ""
        try:
            url = _await(process, place)
            out.note(f"router and node run in {place.root}")
            with _named_dev(_place_at(url, place)) as here:
                yield here
        except (
            KeyboardInterrupt
        ):  # nobody caught it: it came while we were ending already, or before we served
            patience_s = HURRY_WAIT_S
            raise
        finally:
            _end(process, patience_s)
            _forget(url)  # again: a second Ctrl-C may have come while it was forgotten


@contextmanager
def _named_dev(here: Place) -> Iterator[Place]:
    """Let other verbs find this router as `--profile dev` while it runs."""
    save(load().with_dev(here))
    try:
        yield here
    finally:
        _forget(here.url)


def _forget(url: str) -> None:
    known = load()
    if DEV in known.places and known.places[DEV].url == url:
        save(known.without(DEV))


def _command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "glowplug", *words, "--json"]


def _environment(place: Home) -> dict[str, str]:
    kept = {
        name: value for name, value in environment().items() if not name.startswith("GLOWPLUG_")
    }
    return kept | {"GLOWPLUG_HOME": str(place.root)}


@contextmanager
def _only_one(place: Home) -> Iterator[None]:
    """Hold the lock of this home, and end what a `dev` that was killed has left."""
    place.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (place.root / "dev.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another `glowplug dev` runs here{_holder(lock)}",
                hint="end it with Ctrl-C, or give this one a home: GLOWPLUG_HOME=~/.glowplug2 glowplug dev …",
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n{Path.cwd()}\n")
        lock.flush()
        if (place.router / "up.json").exists():
            subprocess.run(
                _command("down"), env=_environment(place), capture_output=True, check=False
            )
        yield


def _holder(lock: IO[str]) -> str:
    lock.seek(0)
    pid, _, folder = lock.read().strip().partition("\n")
    where = f", in {folder}" if folder else ""
    return f" (pid {pid}{where})" if pid else ""


def _await(process: "subprocess.Popen[bytes]", place: Home) -> str:
    """Wait until the router answers, and return its URL; raise what it says when it does not come up."""
    assert process.stdout is not None
    line = process.stdout.readline()
    record: dict[str, Any] = json.loads(line) if line else {}
    if record.get("event") == "up":
        return str(record["url"])
    error = record.get("error") or {"message": _said(place.root / "up.log")}
    raise ConfigError(
        f"the router did not start: {error['message']}", hint=_for_dev(str(error.get("hint", "")))
    )


def _place_at(url: str, place: Home) -> Place:
    """Wait until the controller answers too: with a snapshot on disk the gateway is the faster one."""
    pause = threading.Event()
    for tries_left in range(CONTROL_WAIT_TRIES, -1, -1):
        here = load(place.profiles).places.get("local", Place(url))
        try:
            with Control(url, here.key, ca=here.ca) as control:
                control.get("/health")
            return Place(url, here.key, ca=here.ca)
        except CallError:
            if not tries_left:
                raise
        pause.wait(CONTROL_WAIT_S)
    raise AssertionError(url)


def _said(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_SHOWN:].strip() or "it ended at once"


def _for_dev(hint: str) -> str:
    return hint.replace("`glowplug up --port", "`glowplug dev FILE --port")


def _end(process: "subprocess.Popen[bytes]", patience_s: float) -> None:
    """Ask, ask again, kill: after a while each, or at once when Ctrl-C comes meanwhile. It never goes on without us."""
    # Asked a second time, it waits for nothing.
    asked = (
        (process.terminate, patience_s),
        (process.terminate, DOWN_WAIT_S),
        (process.kill, DOWN_WAIT_S),
    )
    for ask, limit_s in asked:
        ask()
        try:
            process.wait(limit_s)
            break
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
    if process.stdout is not None:
        process.stdout.close()
