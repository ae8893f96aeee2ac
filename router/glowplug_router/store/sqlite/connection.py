"""How is the database file opened, brought up to date, and what do its errors mean to us?"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from glowplug.errors import StoreError

BUSY_MAX_MS = 2_000  # another process may hold the file this long before a caller is told
MIGRATIONS = Path(__file__).parent / "migrations"
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def connect(path: Path, *, busy_max_ms: int = BUSY_MAX_MS) -> apsw.Connection:
    """Open the file for durable writing: WAL, and every commit waits for the disk."""
    with store_errors(path):
        db = apsw.Connection(str(path))
        db.set_busy_timeout(busy_max_ms)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        return db


def connect_for_reading(path: Path) -> apsw.Connection:
    """Open a second connection that cannot write; WAL lets it read while the writer commits."""
    with store_errors(path):
        db = apsw.Connection(str(path))
        db.set_busy_timeout(BUSY_MAX_MS)
        db.execute("PRAGMA query_only = ON")
        return db


def migrate(db: apsw.Connection, path: Path, wall_ns: int, folder: Path = MIGRATIONS) -> int:
    """Apply, each in its own transaction, the numbered files not yet recorded, and return the last number.

    Raises:
        StoreError: The file was written by a newer glowplug.
    """
    files = list(numbered(folder))
    newest = files[-1][0] if files else 0
    with store_errors(path):
        db.execute(
            "CREATE TABLE IF NOT EXISTS migration (number INTEGER PRIMARY KEY, name TEXT, applied_wall_ns INTEGER)"
        )
        at = int(db.execute("SELECT coalesce(max(number), 0) FROM migration").get)
        if at > newest:
            raise StoreError(
                f"{path} has schema {at}; this glowplug knows {newest}",
                code="internal",
                hint="start the newer glowplug again, or restore the copy of router.db made before it ran",
            )
        for number, file in files:
            if number > at:
                apply(db, number, file, wall_ns)
    return newest


def numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield the migrations of a folder in order; a gap or a stray file is a mistake of ours."""
    files = sorted(folder.glob("*.sql"))
    for expected, file in enumerate(files, start=1):
        match = _NAME.fullmatch(file.name)
        assert match is not None, file
        assert int(match[1]) == expected, file
        yield expected, file


def apply(db: apsw.Connection, number: int, file: Path, wall_ns: int) -> None:
    """Run one migration and record it: both or neither."""
    db.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have migrated while we waited for the lock.
        if not db.execute("SELECT 1 FROM migration WHERE number = ?", (number,)).get:
            db.execute(file.read_text(encoding="utf-8"))
            db.execute("INSERT INTO migration VALUES (?, ?, ?)", (number, file.name, wall_ns))
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: locked, full, or damaged."""
    try:
        yield
    except apsw.Error as error:
        raise translated(error, path) from error


def translated(error: apsw.Error, path: Path) -> StoreError:
    """Return what one of SQLite's errors means to the person who runs the router."""
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return StoreError(f"{path} is locked by another process")
        case apsw.FullError():
            return StoreError(f"no space left to write {path}", code="disk_full")
        case apsw.IOError() if _errno(error) in _NO_SPACE:
            return StoreError(f"no space left to write {path}", code="disk_full")
        case apsw.CantOpenError() | apsw.ReadOnlyError() | apsw.PermissionsError():
            hint = f"see that {path.parent} exists, belongs to you and can be written"
            return StoreError(
                f"{path} cannot be opened for writing: {error}", code="internal", hint=hint
            )
        case apsw.CorruptError() | apsw.NotADBError():
            hint = f"stop glowplug, move {path.name} and its -wal away, put back a copy, and start again"
            return StoreError(f"{path} is damaged: {error}", code="internal", hint=hint)
        case _:
            return StoreError(f"{path}: {error}", code="internal")


def _errno(error: apsw.Error) -> int:
    # SQLite drops the system's error number; SQLITE_IOERR_WRITE on a full disk is the case that matters. apsw keeps it
    # in the text of some errors only, so an I/O error while writing or growing the file counts as a full disk.
    writing = {
        apsw.SQLITE_IOERR_WRITE,
        apsw.SQLITE_IOERR_FSYNC,
        apsw.SQLITE_IOERR_TRUNCATE,
        apsw.SQLITE_IOERR_SHMSIZE,
    }
    return errno.ENOSPC if getattr(error, "extendedresult", 0) in writing else 0
