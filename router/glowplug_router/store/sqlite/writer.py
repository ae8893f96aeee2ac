"""Who writes to the database, and when is a write durable?

One thread writes. It takes all writes that wait, up to BATCH_MAX, into one transaction and commits
once: waiting for the disk is the price of a commit, not of a write. Each write runs in its own
savepoint, so that one that is refused (stale epoch, lost compare-and-swap) leaves the others of its
batch alone. A caller goes on only after the commit.
"""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import anyio
import apsw
from anyio import from_thread, to_thread
from anyio.lowlevel import EventLoopToken, current_token

from glowplug.errors import GlowplugError, StoreError
from glowplug_router.store.sqlite.connection import translated

BATCH_MAX = 256  # writes in one transaction
WAITING_MAX = 4096  # writes that may wait for the thread; more means the disk has stopped
_T = TypeVar("_T")

Work = Callable[[apsw.Connection], _T]


class _Write(Generic[_T]):
    """One write on its way, and what became of it."""

    def __init__(self, work: Work[_T]) -> None:
        self.work = work
        self.done = anyio.Event()
        self.value: _T | None = None
        self.error: Exception | None = None


class Writer:
    """The one thread that writes; owns its connection from the first write to `close`."""

    def __init__(self, db: apsw.Connection, path: Path) -> None:
        self._db = db
        self._path = path
        self._queue: queue.Queue[_Write[object] | None] = queue.Queue(WAITING_MAX)
        self._token: EventLoopToken = current_token()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def write(self, work: Work[_T]) -> _T:
        """Run `work` in a transaction and return its result once that is on the disk."""
        write: _Write[_T] = _Write(work)
        try:
            self._queue.put_nowait(write)  # type: ignore[arg-type]  # a queue of writes of any result
        except queue.Full:
            raise StoreError(
                f"{WAITING_MAX} writes wait for {self._path}: the disk does not answer"
            ) from None
        await write.done.wait()
        if write.error is not None:
            raise write.error
        return write.value  # type: ignore[return-value]  # no error: `work` has returned its value

    async def close(self) -> None:
        """Finish what waits, then close the connection."""
        if self._thread.is_alive():
            await to_thread.run_sync(self._queue.put, None)
            await to_thread.run_sync(self._thread.join)

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        last = False
        while not last:
            batch, last = self._take()
            if not batch:
                continue
            self._commit(batch)
            try:
                from_thread.run_sync(_tell, batch, token=self._token)
            except anyio.RunFinishedError:
                break  # the loop is gone: nobody waits any more, and what was committed stays committed
        self._db.close()

    def _take(self) -> tuple[list[_Write[object]], bool]:
        """Wait for a write and take those behind it; True when the writer was told to end."""
        batch: list[_Write[object]] = []
        write = self._queue.get()
        while write is not None:
            batch.append(write)
            if len(batch) == BATCH_MAX:
                return batch, False
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _commit(self, batch: list[_Write[object]]) -> None:
        """Run a batch; if the disk or the lock fails it, nothing of it happened and everybody is told."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for write in batch:
                self._run_one(write)
            self._db.execute("COMMIT")
        except Exception as error:  # the thread must live on: the error goes to those who asked
            failed = translated(error, self._path) if isinstance(error, apsw.Error) else error
            for write in batch:
                write.error = failed
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _run_one(self, write: _Write[object]) -> None:
        self._db.execute("SAVEPOINT one")
        try:
            write.value = write.work(self._db)
        except GlowplugError as refused:
            write.error = refused
            self._db.execute("ROLLBACK TO one")
        except apsw.ConstraintError as broken:
            write.error = translated(broken, self._path)
            self._db.execute("ROLLBACK TO one")
        self._db.execute("RELEASE one")


def _tell(batch: list[_Write[object]]) -> None:
    for write in batch:
        write.done.set()
