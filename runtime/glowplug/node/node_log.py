"""What does the agent itself write about a replica? Lines of the same form as the rank's, in a file beside its log."""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import msgspec

from glowplug.clock import Clock
from glowplug.node.folders import LOG_MAX
from glowplug.node.garbage import LOGS, may_go
from glowplug.node.messages import Want

RAW_KEPT = 1 << 20  # bytes of a raw log over LOG_MAX that stay
TAIL_MAX = 8 * 1024  # bytes of a dead rank's last words that go into its failure


class Line(msgspec.Struct):
    """One line of a replica's log; ranks write the same."""

    ts: int  # nanoseconds since the epoch
    level: str
    app: str
    endpoint: str
    version: str
    replica: str
    request_id: str
    stream: str  # node, or one of the rank's: `worker.capture`
    text: str


class NodeLog:
    """Appends the agent's lines about one replica: a few for each start and end, so nothing rotates."""

    def __init__(self, rank_log: Path, want: Want, clock: Clock) -> None:
        self._path = node_path(rank_log)
        self._want = want
        self._clock = clock

    def write(self, text: str, level: str = "info") -> None:
        """Write one line; a full disk costs the line."""
        spec = self._want.spec
        line = Line(
            self._clock.wall_ns(),
            level,
            spec.app,
            spec.name,
            self._want.version,
            self._want.replica,
            "",
            "node",
            text,
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")
        except OSError:
            pass  # the report to the controller says the same


def node_path(rank_log: Path) -> Path:
    """Return the agent's file beside a rank's `<replica>.jsonl`."""
    return rank_log.with_name(f"{rank_log.stem}.node.jsonl")


def prune(folder: Path, running: Collection[str], now_wall_ns: int) -> None:
    """Drop the logs of replicas of one endpoint that ended, and wrote longest ago; cut what they wrote unbounded."""
    written_ns: dict[str, int] = {}
    for path in folder.glob("*"):
        replica = path.name.partition(".")[0]
        with suppress(FileNotFoundError):  # a sweep and a replica's end may do this at once
            written_ns[replica] = max(written_ns.get(replica, 0), path.stat().st_mtime_ns)
            if path.suffix == ".out" and replica not in running:
                _cut(path)
    for replica in may_go(written_ns, running, LOGS, now_wall_ns):
        for path in folder.glob(f"{replica}.*"):
            path.unlink(missing_ok=True)


def _cut(raw: Path) -> None:
    """Keep the end of a raw log: while its rank ran, only a PING looked at its size."""
    with raw.open("r+b") as file:
        size = file.seek(0, 2)
        if size > LOG_MAX:
            file.seek(size - RAW_KEPT)
            end = file.read()
            file.seek(0)
            file.write(end)
            file.truncate()


def last_words(raw: Path) -> str:
    """Return the end of what a rank wrote outside its log: an interpreter's error, a C library's, a crash's stack."""
    try:
        with raw.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_MAX))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""
