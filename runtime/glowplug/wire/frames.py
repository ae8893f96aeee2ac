"""How do bytes become frames, and frames bytes? No sockets, no clock, no allocation before the bounds are checked.

A frame is a 24-byte header, `meta` (msgpack of an append-only array struct, see messages.py) and `body` (opaque bytes):

    0      1        2     3      4           8              16              24
    magic  version  kind  flags  meta u32    request id u64  body u64        meta, body

Requests are numbered by the side that opens them: the dialling side uses odd ids, the other even ones, so both may open
streams on one connection. Every stream ends with a frame that carries FLAG_END, or with ERROR or CANCEL, in each
direction.
"""

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from glowplug.errors import WireError

MAGIC = 0x67  # "g"
VERSION = 1
HEADER = Struct("<BBBBIQQ")
HEADER_BYTES = HEADER.size
META_MAX = 256 * 1024  # headers of a call, an exception's traceback
BODY_MAX = (
    1 << 30
)  # senders look first: a frame over it ends the connection. The gateway takes far less of a request

FLAG_END = 1  # the last frame of its stream in this direction
FLAG_ONEWAY = 2  # no answer is expected


class Kind(IntEnum):
    """What a frame says. Numbers are for ever; new kinds are added at the end of their block."""

    HELLO = 1  # first frame in each direction
    INFER = 2  # open a stream: a call, or a request between daemons
    RESPONSE = 3  # head of the answer, with the first piece of its body
    CHUNK = 4  # a further piece, of either direction
    END = 5  # trailer of a streamed answer
    ERROR = 6  # the stream failed; ends it
    CANCEL = 7  # the opener has lost interest; ends it
    CREDIT = 8  # the reader took this many bytes (u64 in meta): the writer may send as many more
    LOAD = 16  # control: run this instead (swap in place)
    WAKE = 17
    SLEEP = 18
    DRAIN = 19
    STATS = 20
    PING = 21


class Frame(NamedTuple):
    """One frame as received."""

    kind: int
    flags: int
    rid: int
    meta: bytes
    body: bytes


def encode(kind: int, rid: int, meta: bytes = b"", body: bytes = b"", flags: int = 0) -> bytes:
    """Return the frame as one byte string; for bodies over a few KiB write `head()` and the body apart instead."""
    return HEADER.pack(MAGIC, VERSION, kind, flags, len(meta), rid, len(body)) + meta + body


def head(kind: int, rid: int, meta: bytes, body_len: int, flags: int = 0) -> bytes:
    """Return header and meta of a frame whose body is written next, without a copy."""
    return HEADER.pack(MAGIC, VERSION, kind, flags, len(meta), rid, body_len) + meta


class Decoder:
    """Bytes in, frames out. Keeps at most one unfinished frame, never larger than the bounds."""

    __slots__ = ("_body_max", "_buffer", "_need")

    def __init__(self, body_max: int = BODY_MAX) -> None:
        self._buffer = bytearray()
        self._body_max = body_max
        self._need = HEADER_BYTES  # bytes to have before anything more can be decided

    def feed(self, data: bytes) -> list[Frame]:
        """Take what arrived and return the frames it completes, in order.

        Raises:
            WireError: The bytes are no frame, or one over the bounds; the connection must be closed.
        """
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._need:
                return []
            frames, used, self._need = _split(buffer, self._body_max)
            del buffer[:used]
            return frames
        frames, used, self._need = _split(data, self._body_max)
        if used < len(data):
            buffer += memoryview(data)[used:]
        return frames

    @property
    def pending_bytes(self) -> int:
        """Return how much of an unfinished frame is held."""
        return len(self._buffer)


def _split(data: bytes | bytearray, body_max: int) -> tuple[list[Frame], int, int]:
    """Cut whole frames off the front: (frames, bytes used, bytes the rest needs before it is worth looking again)."""
    frames: list[Frame] = []
    at, end = 0, len(data)
    unpack = HEADER.unpack_from
    while end - at >= HEADER_BYTES:
        magic, version, kind, flags, meta_len, rid, body_len = unpack(data, at)
        if magic != MAGIC or version != VERSION:
            raise WireError(f"not a glow frame: magic {magic:#x}, version {version}")
        if meta_len > META_MAX or body_len > body_max:
            raise WireError(f"frame over the bounds: meta {meta_len} B, body {body_len} B")
        meta_at = at + HEADER_BYTES
        body_at = meta_at + meta_len
        next_at = body_at + body_len
        if next_at > end:
            return frames, at, next_at - at
        frames.append(
            Frame(kind, flags, rid, bytes(data[meta_at:body_at]), bytes(data[body_at:next_at]))
        )
        at = next_at
    return frames, at, HEADER_BYTES
