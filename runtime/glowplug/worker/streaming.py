"""How do the items of a generator leave? As they come, and those that come together in one frame.

The head goes out with the first item: what fails before it is a plain problem with a status of its own. The first item
leaves at once. After it, items that are ready when the loop gets to look are joined, so that a generator which is quick
costs one frame for many items. Nothing waits for a further item: of a generator on a thread that was quick the loop
looks after each turn of a millisecond, instead of being woken for every item, and one that pauses wakes it again.
"""

import asyncio
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from glowplug.clock import MILLISECOND, SECOND
from glowplug.codec import STREAM_TYPES, StreamFormat
from glowplug.wire.frames import Kind
from glowplug.wire.messages import Response, pack
from glowplug.worker.window import LoopWindow, ThreadWindow

if TYPE_CHECKING:
    from glowplug.worker.call import Call

JOIN_MAX = 16 * 1024  # bytes of items joined in a frame; larger ones go as they are, without a copy
TURN_NS = MILLISECOND  # a generator that never waits lets the loop turn so often
# Items that follow each other so soon wake nobody: the loop looks every turn. A wake-up costs as much as twenty items.
QUICK_NS = 2 * TURN_NS
WAKE_BYTES = (
    64 * 1024
)  # of items that wait for no turn: a quarter of the window, which must not run empty
FIRST_S = 5 * MILLISECOND / SECOND  # the most a thread waits for its first item to leave
_RESPONSE, _CHUNK = int(Kind.RESPONSE), int(Kind.CHUNK)


class Stream:
    """What both kinds share: the head, and the items that have not left."""

    def __init__(self, call: "Call") -> None:
        self.is_open = False  # an answer has begun: from here on failures are told inside it
        self._call = call
        self._head = b""
        self._ready: list[bytes] = []

    def open(self, form: StreamFormat, decode_ns: int, first_ns: int) -> None:
        """Begin the answer; the head leaves with what comes next."""
        headers = (("content-type", STREAM_TYPES[form]), ("cache-control", "no-store"))
        self._head = pack(
            Response(
                200,
                headers,
                "yes",
                (("decode", decode_ns), ("first", first_ns)),
                self._call.batch,
                self._call.flush,
            )
        )
        self.is_open = True

    def flush(self) -> None:
        """Send what is ready. On the loop."""
        call, ready = self._call, self._ready
        if self._head:
            meta, self._head = self._head, b""
            call.link.send(_RESPONSE, call.rid, meta)
        if not ready:
            return
        count = len(ready)  # the writer may add while we look
        pieces = ready[:count]
        del ready[:count]
        for piece in pieces if count == 1 else _joined(pieces):
            call.link.send(_CHUNK, call.rid, b"", piece)


def _joined(pieces: list[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in few pieces: short ones joined, long ones as they are."""
    begin, size = 0, 0
    for at, piece in enumerate(pieces):
        if size + len(piece) > JOIN_MAX and at > begin:
            yield b"".join(pieces[begin:at])
            begin, size = at, 0
        size += len(piece)
    yield b"".join(pieces[begin:])


class ThreadStream(Stream):
    """The answer of a generator on a thread. `put` is called there, the rest on the loop."""

    def __init__(self, call: "Call") -> None:
        super().__init__(call)
        self._window = ThreadWindow()
        self.credit = self._window.credit
        self._posted = False  # the loop will look, so that nobody need wake it
        self._waking_bytes = 0  # since the thread last woke it
        self._looked_ns = 0  # when the loop last looked
        self._timer: asyncio.TimerHandle | None = None  # of its next look
        self._first: threading.Lock | None = threading.Lock()

    def put(self, data: bytes) -> None:
        """Send an item, when there is room for it; raise `Closed`."""
        take, at, size = self._window.take, 0, len(data)
        while at < size:
            taken = take(size - at)
            self._add(data if taken == size else data[at : at + taken])
            at += taken

    def close(self) -> None:
        """Wake the writer for the last time."""
        self._window.close()

    def _add(self, piece: bytes) -> None:
        self._ready.append(piece)
        self._waking_bytes += len(piece)
        # As with the outbox: a race costs one needless look, because `_look` lowers the flag first.
        if not self._posted or self._waking_bytes > WAKE_BYTES:
            self._posted = True
            self._waking_bytes = 0
            first = self._first
            if first is None:
                self._call.server.outbox.post(self._look)
                return
            first.acquire()
            self._call.server.outbox.post(self._look)
            # Give the interpreter away once: a quick generator would keep it from the loop for milliseconds.
            first.acquire(timeout=FIRST_S)
            self._first = None

    def flush(self) -> None:
        """Send what is ready; with the end of the answer the looks end too. On the loop."""
        super().flush()
        if self._timer is not None and self._call.answered:
            self._timer.cancel()

    def _look(self) -> None:
        call = self._call
        now_ns = call.server.now_ns()
        if self._timer is None:
            self._posted = False
            is_quick = now_ns - self._looked_ns < QUICK_NS
            if is_quick and self._ready and not call.answered:
                self._posted = True
                self._timer = call.server.loop.call_later(TURN_NS / SECOND, self._turn)
        self._looked_ns = now_ns
        if not call.answered:
            self.flush()
        first = self._first
        if first is not None and first.locked():
            first.release()

    def _turn(self) -> None:
        self._timer = None
        self._look()


class LoopStream(Stream):
    """The answer of an asynchronous generator."""

    def __init__(self, call: "Call") -> None:
        super().__init__(call)
        self._window = LoopWindow()
        self.credit = self._window.credit
        self.close = self._window.close
        self._is_due = False
        self._turned_ns = 0  # when the loop last had its turn

    async def put(self, data: bytes) -> None:
        """Send an item, when there is room for it; raise `Closed`."""
        if self._window.has(len(data)):
            self._ready.append(data)
        else:
            await self._put_pieces(data)
            return
        server = self._call.server
        now_ns = server.now_ns()
        if now_ns - self._turned_ns >= TURN_NS:  # the first item too
            # Code that never waits would otherwise keep every item to the end.
            self.flush()
            await asyncio.sleep(0)
            self._turned_ns = server.now_ns()
        elif not self._is_due:
            self._is_due = True
            server.loop.call_soon(self._turn)

    async def _put_pieces(self, data: bytes) -> None:
        at, size = 0, len(data)
        while at < size:
            taken = await self._window.take(size - at)
            self._ready.append(data[at : at + taken])
            at += taken
            self.flush()

    def _turn(self) -> None:
        self._is_due = False
        self._turned_ns = self._call.server.now_ns()
        if not self._call.answered:
            self.flush()
