"""Where does the agent keep things, and which names may become files?"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from glowplug.errors import NodeError
from glowplug.node import run_folder
from glowplug.settings import Home

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
LOG_MAX = 16 << 20  # bytes of one log; then it becomes `<name>.1`, and the one before is gone
SOCKET_NAME_MAX = 24  # a Unix socket's whole path is bounded; longer ids are hashed


@dataclass(frozen=True, slots=True)
class Folders:
    """The agent's folders in one home."""

    home: Home

    @property
    def bundles(self) -> Path:
        """Return where unpacked layers lie, by digest."""
        return self.home.node / "bundles"

    @property
    def envs(self) -> Path:
        """Return where environments lie, by digest."""
        return self.home.node / "envs"

    @property
    def ranks(self) -> Path:
        """Return where the records for adoption lie."""
        return self.home.node / "ranks"

    @property
    def logs(self) -> Path:
        """Return where replicas write their logs, by app and endpoint."""
        return self.home.node / "logs"

    @property
    def system_logs(self) -> Path:
        """Return where our own processes write theirs."""
        return self.logs / "system"

    @property
    def sockets(self) -> Path:
        """Return where ranks listen."""
        return self.home.run / "r"

    def make(self) -> None:
        """Create them all, private to the user."""
        for folder in (
            self.bundles,
            self.envs,
            self.ranks,
            self.system_logs,
            self.volume("hub-cache"),
        ):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.home.run, self.sockets):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        run_folder.claim(self.home)

    def volume(self, name: str) -> Path:
        """Return the folder of a named volume."""
        return self.home.node / "volumes" / checked(name, "volume")

    def log(self, app: str, endpoint: str, replica: str) -> Path:
        """Return the file a rank logs to."""
        folder = self.logs / checked(app, "app") / checked(endpoint, "endpoint")
        return folder / f"{checked(replica, 'replica')}.jsonl"

    def data_socket(self, replica: str) -> Path:
        """Return where a rank takes calls."""
        return self.sockets / f"{_short(replica)}.d"

    def control_socket(self, replica: str) -> Path:
        """Return where a rank takes the agent's commands."""
        return self.sockets / f"{_short(replica)}.c"


def checked(name: str, what: str) -> str:
    """Return the name if it can be one file's name and nothing else.

    Raises:
        NodeError: It could leave its folder.
    """
    if not _NAME.fullmatch(name):
        raise NodeError(
            f"{what} {name!r} is no plain name", hint="use letters, digits, '.', '_' and '-'"
        )
    return name


def is_digest(text: str) -> bool:
    """Say whether it is of the form "sha256:<hex>"."""
    return _DIGEST.fullmatch(text) is not None


def hex_of(digest: str) -> str:
    """Return the hex part of "sha256:<hex>".

    Raises:
        NodeError: It is not of that form.
    """
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise NodeError(
            f"{digest!r} is no sha256 digest", hint="deploy again with a current glowplug"
        )
    return match[1]


def _short(replica: str) -> str:
    name = checked(replica, "replica")
    if len(name) <= SOCKET_NAME_MAX:
        return name
    return hashlib.sha256(name.encode()).hexdigest()[:SOCKET_NAME_MAX]
