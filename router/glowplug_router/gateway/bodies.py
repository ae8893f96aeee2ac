"""How does a large body come in without being copied about? The loop reads it straight into its own memory.

A head may announce more than ever comes: the memory grows with what arrives, and each step is granted first.
"""

import asyncio
from typing import TYPE_CHECKING

from glowplug.wire.heap import keep_freed

if TYPE_CHECKING:
    from glowplug_router.gateway.intake import Intake

LARGE_MIN = (
    64 * 1024
)  # a body of this announced size goes around the parser, which would cut it into copies
GROW_BYTES = 1024 * 1024  # the memory is at most this much larger than what arrived
_ZEROS = memoryview(bytes(GROW_BYTES))  # to grow by, without making them anew


class LargeBody(asyncio.BufferedProtocol):
    """Stands in for a guard while the rest of a body arrives; everything but reading stays the guard's.

    It never asks for a byte beyond the body, so what comes after it is the parser's again.
    """

    def __init__(self, guard: "Intake", length: int) -> None:
        keep_freed()
        self.data = bytearray()
        self._length = length
        self._granted = 0  # bytes that the memory may have; it takes them when they are needed
        self._at = 0
        self._guard = guard
        self._is_receiving = False
        self.connection_lost = guard.connection_lost  # type: ignore[method-assign]  # all but reading is the guard's
        self.pause_writing = guard.pause_writing  # type: ignore[method-assign]  # as above
        self.resume_writing = guard.resume_writing  # type: ignore[method-assign]  # as above

    @property
    def missing(self) -> int:
        """Return how many bytes are still to come."""
        return self._length - self._at

    def growth(self, size: int) -> int:
        """Return what has to be granted before `size` bytes more are put, and one is read behind them."""
        end = min(self._at + size + 1, self._length)
        steps = -(-max(0, end - self._granted) // GROW_BYTES)
        return min(steps * GROW_BYTES, self._length - self._granted)

    def grant(self, size: int) -> None:
        """Allow it so much more memory. The loop may be reading into what there is: it grows before the next read."""
        self._granted += size

    def put(self, piece: bytes | memoryview) -> None:
        """Take bytes that were read before the loop could know where they belong."""
        size = len(piece)
        self._room()[:size] = piece
        self._at += size

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room()

    def _room(self) -> memoryview:
        self.data = self.data or bytearray(self._granted)
        while (short := self._granted - len(self.data)) > 0:
            self.data += _ZEROS[:short]
        return memoryview(self.data)[self._at :]

    def buffer_updated(self, nbytes: int) -> None:
        self._at += nbytes
        self._guard.received()

    def receive(self) -> None:
        """Let the loop read into the body from now on."""
        self._is_receiving = True
        read_with(self._guard.transport, self)

    def end(self) -> None:
        """Let the guard read again."""
        if self._is_receiving:
            self._is_receiving = False
            read_with(self._guard.transport, self._guard)


def read_with(transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
    """Hand a connection's bytes to another protocol."""
    if transport.is_closing():
        return
    transport.set_protocol(protocol)
    # uvloop asks what kind of protocol it has only when reading starts; a transport that is paused is not reading.
    if transport.is_reading():
        transport.pause_reading()
        transport.resume_reading()
