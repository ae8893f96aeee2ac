"""How do frames cross a socket? One of the two modules that know asyncio's transports.

`FrameProtocol` is the bare hot path: subclass it and override `frame()`. Writes of one loop turn are joined into one
syscall; a body over JOIN_MAX is written apart so that it is not copied. Reads have two modes: many small frames in one
read, and, while a large body is under way, reads straight into that body's own memory. On a Unix socket large bodies
pass beside the socket, through shared memory (lane.py), once both sides have greeted.

Other hosts can be reached with the same frames over TCP or TLS; peers prove there that they belong to us (gate.py).
No setting makes such an address yet.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from glowplug.errors import WireError
from glowplug.wire.frames import (
    BODY_MAX,
    FLAG_RING,
    HEADER,
    MAGIC,
    META_MAX,
    VERSION,
    Decoder,
    Kind,
    encode,
    head,
)
from glowplug.wire.gate import ADMIT_S, HELLO_MAX, Gate
from glowplug.wire.heap import keep_freed
from glowplug.wire.lane import Lane
from glowplug.wire.memfd import has_memfd
from glowplug.wire.ring import RING_BYTES, RING_MIN

_LOG = logging.getLogger("glowplug.wire")
JOIN_MAX = 16 * 1024
PORT_MAX = 65_535
WRITE_HIGH = 1024 * 1024  # bytes in the transport before `writable` goes false


class FrameProtocol(asyncio.Protocol):
    """Frames in and out of one connection."""

    ring_bytes = (
        RING_BYTES if has_memfd() else 0
    )  # of shared memory to offer; 0: none, nor take any

    def __init__(self, body_max: int = BODY_MAX) -> None:
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.writable = True
        self._decoder = Decoder(self.frame, body_max, self._beside)
        self._out: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lane: Lane | None = None
        self._joins = True
        self._body: _Body | None = None
        self._gate: Gate | None = None

    # -- what subclasses override ------------------------------------------------------------

    def connected(self) -> None:
        """Run once the connection stands: send HELLO here."""

    def greet(self) -> None:
        """Send HELLO with `ring=self.ring_offer()`; called again when there is something to offer."""

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        """Take one frame. Must not block."""

    def lost(self, error: Exception | None) -> None:
        """Run once when the connection is gone; nothing more arrives."""

    def drained(self) -> None:
        """Run when the peer reads again after `writable` went false."""

    # -- sending ---------------------------------------------------------------------------------

    def send(
        self,
        kind: int,
        rid: int,
        meta: bytes = b"",
        body: bytes | bytearray | memoryview = b"",
        flags: int = 0,
    ) -> None:
        """Queue one frame; it leaves at the end of this loop turn. What is no `bytes` is copied now."""
        if self.closed or self._loop is None:
            return
        out = self._out
        if not out:
            self._loop.call_soon(self._flush)
        if type(body) is not bytes or len(body) > JOIN_MAX:
            self._send_large(kind, rid, meta, body, flags)
        else:
            out.append(
                HEADER.pack(MAGIC, VERSION, kind, flags, len(meta), rid, len(body)) + meta + body
            )

    def _send_large(
        self, kind: int, rid: int, meta: bytes, body: bytes | bytearray | memoryview, flags: int
    ) -> None:
        if isinstance(body, memoryview):
            body = body.cast("B") if body.c_contiguous else body.tobytes()
        size = len(body)
        place = self._share(body) if size >= RING_MIN else None
        if place is not None:
            self._out.append(encode(kind, rid, meta, place, flags | FLAG_RING))
            return
        self._out.append(head(kind, rid, meta, size, flags))
        self._out.append(bytes(body))  # no copy of what is bytes already

    def _share(self, body: bytes | bytearray | memoryview) -> bytes | None:
        """Return the place of a large body in shared memory, or None when the socket has to carry it."""
        keep_freed()
        lane = self._lane
        if lane is None:
            return None
        place = lane.put(body, len(body))
        if place is None and lane.want():
            self.greet()
        return place

    def close(self) -> None:
        """Send what is queued, then close."""
        self._flush()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close at once, dropping what is queued; no further frame is handed on."""
        self._out.clear()
        self._decoder.take = self._decoder.take_shared = _drop
        if self.transport is not None and not self.closed:  # asyncio's breaks on a closed one
            self.transport.abort()

    def _flush(self) -> None:
        transport = self.transport
        if transport is None or not self._out:
            return
        if self._lane is not None:
            self._lane.settle()
        out, self._out = self._out, []
        if len(out) == 1:
            transport.write(out[0])
        elif self._joins and any(len(one) > JOIN_MAX for one in out):
            for one in out:
                transport.write(one)
        else:
            transport.writelines(out)

    # -- shared memory -----------------------------------------------------------------------------

    def ring_offer(self) -> str:
        """Return what to say in Hello.ring."""
        return "" if self._lane is None else self._lane.offer()

    def hear_offer(self, ring: str) -> None:
        """Take the Hello.ring of the peer; call it for every HELLO."""
        if self._lane is not None:
            self._lane.hear(ring)

    def _release(self, meta: bytes) -> None:
        self.send(Kind.RELEASE, 0, meta, flags=FLAG_RING)

    def _beside(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        """Take a frame about shared memory: a body to fetch there, or places that are free again."""
        lane = self._lane
        if lane is None:
            raise WireError("this connection shares no memory")
        if kind == Kind.RELEASE:
            lane.released(meta)
        else:
            whole = lane.fetch(body, self._decoder.body_max)
            self._decoder.take(kind, flags & ~FLAG_RING, rid, meta, whole)

    # -- asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport and greet."""
        stream = cast(
            "asyncio.Transport", transport
        )  # uvloop's transports do not subclass asyncio's
        self.transport = stream
        self._loop = asyncio.get_running_loop()
        # Its writelines() hands the pieces to the kernel as they are; others join them first.
        self._joins = not type(stream).__module__.startswith("uvloop")
        stream.set_write_buffer_limits(high=WRITE_HIGH)
        sock = stream.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        elif sock is not None and sock.family == socket.AF_UNIX and self.ring_bytes:
            self._lane = Lane(sock, self.ring_bytes, self._loop.call_later, self._release)
        if self._gate is None:
            self.connected()
        else:
            self._gate.begin(self._loop.call_later, self.abort)

    def data_received(self, data: bytes) -> None:
        """Cut the bytes into frames; a peer that breaks the protocol is cut off."""
        decoder = self._decoder
        try:
            decoder.feed(data)
        except WireError as error:
            self._broken(error)
            return
        if decoder.is_large:
            if self._body is None:
                keep_freed()
                self._body = _Body(self, decoder)
            self._read_with(self._body)

    def _broken(self, error: WireError) -> None:
        _LOG.info("cut off a peer: %s", error)
        self.abort()

    def _read_with(self, protocol: asyncio.BaseProtocol) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        transport.set_protocol(protocol)
        if not self._joins and transport.is_reading():
            # uvloop asks what kind of protocol it has only when reading starts.
            transport.pause_reading()
            transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the subclass once, and let go of everything the connection had."""
        self.closed = True
        self._out.clear()
        self._body = None
        if self._lane is not None:
            self._lane.close()
            self._lane = None
        if self._gate is not None:
            self._gate.end()
            return  # nobody was told that it had come
        self.lost(exc)

    def pause_writing(self) -> None:
        """Note that the peer reads too slowly."""
        self.writable = False

    def resume_writing(self) -> None:
        """Note that the peer caught up."""
        self.writable = True
        self.drained()

    # -- proving membership ----------------------------------------------------------------------

    def guard(self, gate: Gate) -> None:
        """Hear nothing but a HELLO with the right token, and say nothing, until the gate opens."""
        self._gate, decoder = gate, self._decoder
        body_max = decoder.body_max
        decoder.meta_max, decoder.body_max = HELLO_MAX, 0

        def first(kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
            if kind != Kind.HELLO or not gate.fits(meta):
                raise WireError("its first frame is no HELLO with the token of this installation")
            gate.end()
            self._gate = None
            decoder.take, decoder.take_shared = self.frame, self._beside
            decoder.meta_max, decoder.body_max = META_MAX, body_max
            self.connected()
            self.frame(kind, flags, rid, meta, body)

        decoder.take = decoder.take_shared = first


class _Body(asyncio.BufferedProtocol):
    """Stands in while a large body is received: the loop reads into the body's own memory."""

    def __init__(self, owner: FrameProtocol, decoder: Decoder) -> None:
        self._owner = owner
        self._decoder = decoder
        self.connection_lost = owner.connection_lost  # type: ignore[method-assign]  # all but reading is the owner's
        self.pause_writing = owner.pause_writing  # type: ignore[method-assign]  # as above
        self.resume_writing = owner.resume_writing  # type: ignore[method-assign]  # as above

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes belong: never beyond the end of the body."""
        return self._decoder.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Note what came; with the last byte go back to reading many frames at once."""
        try:
            self._decoder.filled(nbytes)
        except WireError as error:
            self._owner._broken(error)  # noqa: SLF001  # it is a part of it
        if not self._decoder.is_large:
            self._owner._read_with(self._owner)  # noqa: SLF001  # as above


def _drop(kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
    """Take a frame of a connection that was cut off."""


_P = TypeVar("_P", bound=FrameProtocol)


async def dial(address: str, factory: Callable[[], _P], *, tls: ssl.SSLContext | None = None) -> _P:
    """Connect to `unix:/path`, `tcp:host:port` or `tls:host:port` and return the protocol object.

    Args:
        address: Where to.
        factory: Makes the protocol. Over TCP and TLS its HELLO must carry the token.
        tls: Whom to trust at a `tls:` address.

    Raises:
        OSError: Nobody listens there, or the certificate is not trusted.
        WireError: The address is none, or needs a context.
    """
    loop = asyncio.get_running_loop()
    scheme, rest = _parts(address)
    if scheme == "unix":
        _, protocol = await loop.create_unix_connection(factory, rest)
        return protocol
    host, port = _host_and_port(address, rest)
    if scheme == "tcp":
        _, protocol = await loop.create_connection(factory, host, port)
        return protocol
    if tls is None:
        raise WireError(f"{address} can be dialled only with a TLS context that says whom to trust")
    _, protocol = await loop.create_connection(
        factory, host, port, ssl=tls, ssl_handshake_timeout=ADMIT_S
    )
    return protocol


async def listen(
    address: str | Path,
    factory: Callable[[], FrameProtocol],
    backlog: int = 128,
    *,
    token: str = "",
    tls: ssl.SSLContext | None = None,
) -> asyncio.Server:
    """Listen at a path, `unix:/path`, `tcp:host:port` or `tls:host:port`.

    A Unix socket is for this user alone, and a stale file from a dead process is replaced. Others need the token that
    peers prove their membership with, and `tls:` a context with a certificate.
    """
    loop = asyncio.get_running_loop()
    scheme, rest = ("unix", str(address)) if isinstance(address, Path) else _parts(address)
    if scheme == "unix":
        path = Path(rest)
        path.unlink(missing_ok=True)
        server = await loop.create_unix_server(factory, str(path), backlog=backlog)
        path.chmod(0o600)
        return server
    if not token or (scheme == "tls") != (tls is not None):
        raise WireError(f"{address} needs a token, and a TLS context exactly when it is tls:")
    strangers: set[Gate] = set()

    def guarded() -> FrameProtocol:
        protocol = factory()
        protocol.guard(Gate(token, strangers))
        return protocol

    host, port = _host_and_port(str(address), rest)
    limit_s = None if tls is None else ADMIT_S
    return await loop.create_server(
        guarded, host, port, backlog=backlog, ssl=tls, ssl_handshake_timeout=limit_s
    )


def _parts(address: str) -> tuple[str, str]:
    scheme, _, rest = address.partition(":")
    if scheme not in ("unix", "tcp", "tls") or not rest:
        raise WireError(f"{address!r} is no address: unix:/path, tcp:host:port or tls:host:port")
    return scheme, rest


def _host_and_port(address: str, rest: str) -> tuple[str, int]:
    host, _, port = rest.rpartition(":")
    is_number = port.isascii() and port.isdigit() and len(port) <= len(str(PORT_MAX))
    if not host or not is_number or int(port) > PORT_MAX:
        raise WireError(f"{address!r} is no address: it does not end with a host and a port")
    return host.strip("[]"), int(port)
