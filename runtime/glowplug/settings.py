"""Where are things on this machine, and what did the environment say? The only reader of os.environ."""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_MAX = (
    90  # sun_path holds 108 bytes on Linux, 104 on macOS; names below the run folder need some
)


@dataclass(frozen=True, slots=True)
class Home:
    """The folders of one installation; `root` is GLOWPLUG_HOME or ~/.glowplug."""

    root: Path

    @property
    def profiles(self) -> Path:
        """Return the file of places: name, URL, key."""
        return self.root / "profiles.json"

    @property
    def router(self) -> Path:
        """Return the router's folder: database, objects, last snapshot, secrets."""
        return self.root / "router"

    @property
    def node(self) -> Path:
        """Return the agent's folder: bundles, environments, records of ranks, logs, volumes."""
        return self.root / "node"

    @property
    def run(self) -> Path:
        """Return a short, private folder for sockets, derived from `root` alone so that a restart finds them again."""
        inside = self.root / "run"
        if len(str(inside)) <= SOCKET_PATH_MAX - 30:
            return inside
        key = hashlib.sha256(str(self.root.absolute()).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"glowplug-{os.getuid()}-{key}"


def environment() -> Mapping[str, str]:
    """Return the process's environment."""
    return os.environ


def set_environment(values: Mapping[str, str]) -> None:
    """Add variables to this process: a rank does so with its endpoint's env and secrets before user code loads."""
    os.environ.update(values)


def remove_environment(names: Iterable[str]) -> None:
    """Take variables out of this process again: a forked rank does so with those that held only for its zygote."""
    for name in names:
        os.environ.pop(name, None)


def home(env: Mapping[str, str] | None = None) -> Home:
    """Return the installation the environment points at."""
    env = environment() if env is None else env
    given = env.get("GLOWPLUG_HOME")
    if given:
        return Home(Path(given).absolute())
    base = env.get("HOME")
    return Home((Path(base) if base else Path.home()) / ".glowplug")


def variable(name: str, default: str = "") -> str:
    """Return one variable of the environment."""
    return environment().get(name, default)
