"""How much of a streamed answer may be on its way? A stalled reader stops its own generator, nothing else.

One window per stream: `take` before sending, `credit` as the reader takes, `close` when nobody reads any more. On a
thread `take` blocks, on the loop it is awaited.
"""

import asyncio
import threading

WINDOW = 256 * 1024  # bytes on their way per stream; the gateway's bound for what it holds of one


class Closed(Exception):  # noqa: N818  # an expected outcome inside two functions, not an error
    """The reader has gone."""


class ThreadWindow:
    """The window of a generator that runs on a thread."""

    def __init__(self) -> None:
        # Each is written by one side alone, so that a writer who has room needs no lock.
        self._taken = 0  # by the writer's thread
        self._credited = 0  # by the loop
        self._open = True
        self._changed = threading.Condition()

    def take(self, wanted: int) -> int:
        """Return how many bytes may be sent now, at least one; wait for room; raise `Closed`."""
        if self._open and wanted <= WINDOW - self._taken + self._credited:
            self._taken += wanted
            return wanted
        with self._changed:
            while self._open and self._taken - self._credited >= WINDOW:
                self._changed.wait()
            if not self._open:
                raise Closed
            taken = min(wanted, WINDOW - self._taken + self._credited)
            self._taken += taken
            return taken

    def credit(self, size: int) -> None:
        """Widen the window; never beyond its first size, whatever the peer claims."""
        with self._changed:
            self._credited = min(self._credited + size, self._taken)
            self._changed.notify_all()

    def close(self) -> None:
        """Wake the writer for the last time."""
        with self._changed:
            self._open = False
            self._changed.notify_all()


class LoopWindow:
    """The window of an asynchronous generator."""

    def __init__(self) -> None:
        self._room = WINDOW
        self._open = True
        self._changed = asyncio.Event()

    def has(self, wanted: int) -> bool:
        """Take as many bytes if there is room for all of them now; else take none."""
        if not self._open or wanted > self._room:
            return False
        self._room -= wanted
        return True

    async def take(self, wanted: int) -> int:
        """Return how many bytes may be sent now, at least one; wait for room; raise `Closed`."""
        while self._open and self._room <= 0:
            self._changed.clear()
            await self._changed.wait()
        if not self._open:
            raise Closed
        taken = min(wanted, self._room)
        self._room -= taken
        return taken

    def credit(self, size: int) -> None:
        """Widen the window; never beyond its first size, whatever the peer claims."""
        self._room = min(self._room + size, WINDOW)
        self._changed.set()

    def close(self) -> None:
        """Wake the writer for the last time."""
        self._open = False
        self._changed.set()
