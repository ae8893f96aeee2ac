"""How do frames cross a socket? One of the two modules that know asyncio's transports.

`FrameProtocol` is the bare hot path: subclass it and override `frame()`. Writes of one loop turn are joined into one
syscall; a body over JOIN_MAX is written apart so that it is not copied.
"""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from glowplug.errors import WireError
from glowplug.wire.frames import BODY_MAX, Decoder, encode, head

JOIN_MAX = 16 * 1024
WRITE_HIGH = 1024 * 1024  # bytes in the transport before `writable` goes false


class FrameProtocol(asyncio.Protocol):
    """Frames in and out of one connection."""

    def __init__(self, body_max: int = BODY_MAX) -> None:
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.writable = True
        self._decoder = Decoder(body_max)
        self._out: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- what subclasses override ------------------------------------------------------------

    def connected(self) -> None:
        """Run once the connection stands: send HELLO here."""

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        """Take one frame. Must not block."""

    def lost(self, error: Exception | None) -> None:
        """Run once when the connection is gone; nothing more arrives."""

    def drained(self) -> None:
        """Run when the peer reads again after `writable` went false."""

    # -- sending ---------------------------------------------------------------------------------

    def send(
        self, kind: int, rid: int, meta: bytes = b"", body: bytes = b"", flags: int = 0
    ) -> None:
        """Queue one frame; it leaves at the end of this loop turn."""
        if self.closed or self._loop is None:
            return
        out = self._out
        if not out:
            self._loop.call_soon(self._flush)
        if len(body) > JOIN_MAX:
            out.append(head(kind, rid, meta, len(body), flags))
            out.append(body)
        else:
            out.append(encode(kind, rid, meta, body, flags))

    def close(self) -> None:
        """Send what is queued, then close."""
        self._flush()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close at once, dropping what is queued."""
        self._out.clear()
        if self.transport is not None:
            self.transport.abort()

    def _flush(self) -> None:
        out, transport = self._out, self.transport
        if not out or transport is None:
            return
        if len(out) == 1:
            transport.write(out[0])
        else:
            transport.writelines(out)
        self._out = []

    # -- asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport and greet."""
        stream = cast(
            "asyncio.Transport", transport
        )  # uvloop's transports do not subclass asyncio's
        self.transport = stream
        self._loop = asyncio.get_running_loop()
        stream.set_write_buffer_limits(high=WRITE_HIGH)
        sock = stream.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connected()

    def data_received(self, data: bytes) -> None:
        """Cut the bytes into frames; a peer that breaks the protocol is cut off."""
        try:
            frames = self._decoder.feed(data)
        except WireError:
            self.abort()
            return
        handle = self.frame
        for kind, flags, rid, meta, body in frames:
            handle(kind, flags, rid, meta, body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the subclass once."""
        self.closed = True
        self._out.clear()
        self.lost(exc)

    def pause_writing(self) -> None:
        """Note that the peer reads too slowly."""
        self.writable = False

    def resume_writing(self) -> None:
        """Note that the peer caught up."""
        self.writable = True
        self.drained()


_P = TypeVar("_P", bound=FrameProtocol)


async def dial(address: str, factory: Callable[[], _P]) -> _P:
    """Connect to `unix:/path` or `tcp:host:port` and return the protocol object."""
    loop = asyncio.get_running_loop()
    if address.startswith("unix:"):
        _, protocol = await loop.create_unix_connection(factory, address[5:])
        return protocol
    host, _, port = address.removeprefix("tcp:").rpartition(":")
    _, protocol = await loop.create_connection(factory, host, int(port))
    return protocol


async def listen(
    path: Path, factory: Callable[[], FrameProtocol], backlog: int = 128
) -> asyncio.AbstractServer:
    """Listen on a Unix socket only this user can open; a stale file from a dead process is replaced."""
    path.unlink(missing_ok=True)
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(factory, str(path), backlog=backlog)
    path.chmod(0o600)
    return server
