"""What is wrong with this machine, and what mends it? Checks that look, never change."""

import importlib.util
import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import click

from glowplug.commands.output import EXIT_FAILED, Output, verb, wrapped
from glowplug.errors import ConfigError
from glowplug.profiles import load
from glowplug.settings import SOCKET_PATH_MAX, Home, home

FREE_MIN_BYTES = 1 << 30  # an environment with a model framework needs about this much
PYTHON_MIN = (3, 11)
CONNECT_S = 1.0
_MARK = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome; `fix` is empty when there is nothing to do."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""


def findings(place: Home, port: int) -> Iterator[Finding]:
    """Yield every check of this machine."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        _extras,
        lambda: _folder(place),
        lambda: _profiles(place),
        lambda: _disk(place),
        lambda: _sockets(place),
        lambda: _router(place),
        lambda: _port(place, port),
        _kernel,
        _memory,
        _gpu,
    )
    for check in checks:
        yield check()


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < PYTHON_MIN:
        return Finding("python", "fail", version, "use Python 3.11 or later")
    return Finding("python", "ok", f"{version} at {sys.executable}")


def _extras() -> Finding:
    wanted = {
        "starlette": "local",
        "uvicorn": "local",
        "httptools": "local",
        "apsw": "local",
        "uv": "packager",
    }
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        return Finding(
            "packages", "warn", f"missing: {', '.join(missing)}", "pip install 'glowplug[local]'"
        )
    return Finding("packages", "ok", "router and packager are installed")


def _folder(place: Home) -> Finding:
    parent = place.root
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        fix = "set GLOWPLUG_HOME to a folder of yours"
        return Finding("home", "fail", f"{place.root} cannot be written", fix)
    return Finding("home", "ok", str(place.root))


def _profiles(place: Home) -> Finding:
    try:
        known = load(place.profiles)
    except ConfigError as error:
        return Finding("profiles", "fail", error.message, error.hint)
    if not known.places:
        return Finding("profiles", "ok", "none yet; `glowplug up` makes `local`")
    if known.current not in known.places:
        return Finding("profiles", "warn", "none is the current one", "`glowplug profile use NAME`")
    return Finding("profiles", "ok", f"{known.current} at {known.places[known.current].url}")


def _disk(place: Home) -> Finding:
    parent = place.root
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    text = f"{free / (1 << 30):.1f} GiB free at {parent}"
    if free < FREE_MIN_BYTES:
        return Finding("disk", "warn", text, "free some space, or move GLOWPLUG_HOME")
    return Finding("disk", "ok", text)


def _sockets(place: Home) -> Finding:
    length = len(str(place.run))
    if length > SOCKET_PATH_MAX:
        return Finding(
            "sockets",
            "fail",
            f"{place.run} is too long for a socket",
            "set TMPDIR to a shorter path",
        )
    return Finding("sockets", "ok", str(place.run))


def _router(place: Home) -> Finding:
    """Say whether a router runs in this home, and whether it answers."""
    up = _up(place)
    if not up:
        return Finding("router", "ok", "none runs here; `glowplug up --detach` starts one")
    where = urlsplit(str(up.get("url", "")))
    try:
        with socket.create_connection((where.hostname or "", where.port or 0), CONNECT_S):
            return Finding("router", "ok", f"runs at {up['url']} (pid {up['pid']})")
    except OSError as error:
        return Finding(
            "router",
            "warn",
            f"pid {up['pid']} should answer at {up['url']}: {error.strerror or error}",
            "`glowplug logs --system` says why; `glowplug up --detach` starts it again",
        )


def _up(place: Home) -> dict[str, Any]:
    """Return what the router of this home wrote about itself; nothing when it has stopped in order."""
    try:
        record = json.loads((place.router / "up.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and {"url", "pid"} <= record.keys() else {}


def _port(place: Home, port: int) -> Finding:
    if urlsplit(str(_up(place).get("url", ""))).port == port:
        return Finding("port", "ok", f"{port} is this home's router")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return Finding(
                "port",
                "warn",
                f"{port} is taken",
                f"`ss -ltnp 'sport = :{port}'` shows by whom; `glowplug up --port 0` takes a free one",
            )
    return Finding("port", "ok", f"{port} is free")


def _kernel() -> Finding:
    lacking = [name for name in ("pidfd_open",) if not hasattr(os, name)]
    if platform.system() != "Linux":
        return Finding(
            "kernel",
            "warn",
            platform.platform(),
            "fine for development: fallbacks are used; serve from Linux",
        )
    if lacking:
        return Finding(
            "kernel",
            "warn",
            f"without {', '.join(lacking)}",
            "fallbacks are used; a newer kernel starts replicas faster",
        )
    return Finding("kernel", "ok", platform.release())


def _memory() -> Finding:
    for path in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        limit = path / "cgroup.procs"
        if limit.exists() and os.access(limit, os.W_OK):
            return Finding("memory limits", "ok", f"enforced with {path}")
    return Finding(
        "memory limits",
        "warn",
        "`memory=` is shown but not enforced here",
        "run `glowplug up` as root where limits must hold",
    )


def _gpu() -> Finding:
    if not Path("/proc/driver/nvidia/version").exists():
        return Finding("gpu", "ok", 'none; device="auto" runs on the CPU')
    if importlib.util.find_spec("pynvml") is None:
        return Finding(
            "gpu",
            "warn",
            "a driver is here, but nvidia-ml-py is not",
            "pip install 'glowplug[gpu]'",
        )
    return Finding("gpu", "ok", "driver and nvidia-ml-py found")


@click.command()
@click.option("--port", default=8686, show_default=True, help="The port `up` would use.")
@verb
def doctor(out: Output, port: int) -> None:
    """Check this machine and say what to mend."""
    found = list(findings(home(), port))
    for one in found:
        colour = {"ok": "green", "warn": "yellow", "fail": "red"}[one.state]
        out.say(
            f"{click.style(_MARK[one.state], fg=colour)}  {one.name:<14} {wrapped(one.detail, 21)}"
        )
        if one.fix:
            out.say(f"      {'':<14} → {wrapped(one.fix, 23)}")
    out.result({"findings": [asdict(one) for one in found]})
    if any(one.state == "fail" for one in found):
        sys.exit(EXIT_FAILED)
