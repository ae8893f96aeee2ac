"""What did replicas write? Reads the JSON lines of ranks and of the agent, merged by time, and follows them.

Lines go out as they were written. A query costs at most the last SCAN_MAX bytes of each file, and gives at most
TAIL_MAX lines at once.
"""

import heapq
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from anyio.to_thread import run_sync

from glowplug.clock import Clock
from glowplug.node.folders import LOG_MAX, Folders, checked
from glowplug.node.messages import LogQuery

TAIL_MAX = 10_000
SCAN_MAX = LOG_MAX  # bytes read of one file
FOLLOW_EVERY_S = 0.1  # only while somebody follows
PIECE_MAX = 256 * 1024  # bytes handed on at once
ID_START_MIN = 8  # characters of a request id that stand for the whole
FILES_MAX = 500  # newest first


class Stamp(msgspec.Struct):
    """What a query needs of a line."""

    ts: int = 0
    request_id: str = ""
    replica: str = ""


@dataclass(slots=True)
class Reader:
    """Reads what is new in the files of one query."""

    folder: Path
    query: LogQuery
    _at: dict[Path, int] = field(default_factory=dict)
    _serial: int = 0

    def tail(self) -> list[bytes]:
        """Return the newest lines there are, oldest first."""
        keep = max(0, min(self.query.tail, TAIL_MAX))
        newest: list[tuple[int, int, bytes]] = []
        for path in self._files():
            for old in (path.with_name(path.name + ".1"), path):
                for stamp, line in self._lines(old):
                    heapq.heappush(newest, (stamp.ts, self._next(), line))
                    if len(newest) > keep:
                        heapq.heappop(newest)
        return [line for _, _, line in sorted(newest)]

    def more(self) -> list[bytes]:
        """Return what was written since the last look, in the order of time."""
        found: list[tuple[int, int, bytes]] = []
        for path in self._files():
            if _size(path) < self._at.get(path, 0):  # it was rotated under us
                old = path.with_name(path.name + ".1")
                self._at[old] = self._at.pop(path)
                found += [(stamp.ts, self._next(), line) for stamp, line in self._lines(old)]
            found += [(stamp.ts, self._next(), line) for stamp, line in self._lines(path)]
        return [line for _, _, line in sorted(found)]

    def _files(self) -> list[Path]:
        query = self.query
        app, endpoint = query.app or "*", query.endpoint or "*"
        name = f"{query.replica}.*jsonl" if query.replica else "*.jsonl"
        found = [path for path in self.folder.glob(f"{app}/{endpoint}/{name}") if path.is_file()]
        return heapq.nlargest(FILES_MAX, found, key=_touched)

    def _lines(self, path: Path) -> Iterator[tuple[Stamp, bytes]]:
        """Yield the whole new lines of one file that the query wants."""
        size = _size(path)
        start = self._at.get(path, max(0, size - SCAN_MAX))
        if size <= start:
            return
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(size - start)
        whole = data.rfind(b"\n") + 1  # half a line comes with its other half
        self._at[path] = start + whole
        for line in data[:whole].splitlines():
            stamp = self._wanted(line)
            if stamp is not None:
                yield stamp, line

    def _wanted(self, line: bytes) -> Stamp | None:
        query = self.query
        if query.request_id and query.request_id.encode() not in line:
            return None  # cheap, and nearly all lines
        try:
            stamp = msgspec.json.decode(line, type=Stamp)
        except msgspec.MsgspecError:
            return None  # torn by a full disk, or cut at the start of the scan
        if query.request_id and not _is_meant(stamp.request_id, query.request_id):
            return None
        return stamp if stamp.ts >= query.since_wall_ns else None

    def _next(self) -> int:
        """Number lines, so that those of one moment keep their order."""
        self._serial += 1
        return self._serial


def check(query: LogQuery) -> None:
    """Look whether the query names what can have logs.

    Raises:
        NodeError: A name in it could leave the folder of logs.
    """
    for name, what in (
        (query.app, "app"),
        (query.endpoint, "endpoint"),
        (query.replica, "replica"),
    ):
        if name:
            checked(name, what)


async def read(folders: Folders, query: LogQuery, clock: Clock) -> AsyncIterator[bytes]:
    """Yield the lines of a query, several at once, each with its line end."""
    check(query)
    reader = Reader(folders.logs, query)
    for piece in _pieces(await run_sync(reader.tail)):
        yield piece
    while query.follow:
        await clock.sleep(FOLLOW_EVERY_S)
        for piece in _pieces(await run_sync(reader.more)):
            yield piece


def _is_meant(request_id: str, asked: str) -> bool:
    """Say whether an id is the one asked for; people are shown its start, so a long enough start will do."""
    return request_id == asked or (len(asked) >= ID_START_MIN and request_id.startswith(asked))


def _pieces(lines: list[bytes]) -> Iterator[bytes]:
    piece = bytearray()
    for line in lines:
        piece += line + b"\n"
        if len(piece) >= PIECE_MAX:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _touched(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
