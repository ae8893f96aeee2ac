"""How does a large body come in without being copied about? The loop reads it straight into its own memory."""

import asyncio
from typing import TYPE_CHECKING

from glowplug.wire.heap import keep_freed

if TYPE_CHECKING:
    from glowplug_router.gateway.intake import Intake

LARGE_MIN = (
    64 * 1024
)  # a body of this announced size goes around the parser, which would cut it into copies


class LargeBody(asyncio.BufferedProtocol):
    """Stands in for a guard while the rest of a body arrives; everything but reading stays the guard's.

    It never asks for a byte beyond the body, so what comes after it is the parser's again.
    """

    def __init__(self, guard: "Intake", length: int) -> None:
        keep_freed()
        self.data = bytearray(length)
        self._view = memoryview(self.data)
        self._at = 0
        self._guard = guard
        self._is_receiving = False
        self.connection_lost = guard.connection_lost  # type: ignore[method-assign]  # all but reading is the guard's
        self.pause_writing = guard.pause_writing  # type: ignore[method-assign]  # as above
        self.resume_writing = guard.resume_writing  # type: ignore[method-assign]  # as above

    @property
    def missing(self) -> int:
        """Return how many bytes are still to come."""
        return len(self.data) - self._at

    def put(self, piece: bytes | memoryview) -> None:
        """Take bytes that were read before the loop could know where they belong."""
        end = self._at + len(piece)
        self._view[self._at : end] = piece
        self._at = end

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._at :]

    def buffer_updated(self, nbytes: int) -> None:
        self._at += nbytes
        self._guard.received(nbytes)

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
