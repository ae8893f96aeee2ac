"""How do bytes become frames, and frames bytes? No sockets, no clock, no allocation before the bounds are checked.

A frame is a 24-byte header, `meta` (msgpack of an append-only array struct, see messages.py) and `body` (opaque bytes):

    0      1        2     3      4           8              16              24
    magic  version  kind  flags  meta u32    request id u64  body u64        meta, body

Requests are numbered by the side that opens them: the dialling side uses odd ids, the other even ones, so both may open
streams on one connection. Every stream ends with a frame that carries FLAG_END, or with ERROR or CANCEL, in each
direction. A kind or a flag that the reader does not know is no error: a newer peer may say more than we understand, and
what it says so is passed over.

With FLAG_RING a frame concerns the memory that both sides share (ring.py): its body is the place of the true body
there; a RELEASE gives places back. It never reaches those who read the stream.
"""

from collections.abc import Callable
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
DIRECT_MIN = 64 * 1024  # an unfinished body of this size is received into a buffer of its own
SEGMENT_BYTES = 1024 * 1024  # pieces of that buffer: memory follows what arrives, not what is said

FLAG_END = 1  # the last frame of its stream in this direction
FLAG_ONEWAY = 2  # no answer is expected
FLAG_RING = 4  # about the shared memory

_HEAD = Struct("<HBBIQQ")  # HEADER with magic and version read as one number
_MARK = MAGIC | VERSION << 8


class Kind(IntEnum):
    """What a frame says. Numbers are for ever; new kinds are added at the end of their block."""

    HELLO = 1  # first frame in each direction; said again when something in it has changed
    INFER = 2  # open a stream: a call, or a request between daemons
    RESPONSE = 3  # head of the answer, with the first piece of its body
    CHUNK = 4  # a further piece, of either direction
    END = 5  # trailer of a streamed answer
    ERROR = 6  # the stream failed; ends it
    CANCEL = 7  # the opener has lost interest; ends it
    CREDIT = 8  # the reader took this many bytes (u64 in meta): the writer may send as many more
    RELEASE = 9  # bodies were copied out of the shared ring: their places are free again. Empty: the ring is open
    LOAD = 16  # control: run this instead (swap in place)
    WAKE = 17
    SLEEP = 18
    DRAIN = 19
    STATS = 20
    PING = 21


class Frame(NamedTuple):
    """One frame, for those who keep them."""

    kind: int
    flags: int
    rid: int
    meta: bytes
    body: bytes


Take = Callable[[int, int, int, bytes, bytes], None]  # kind, flags, rid, meta, body


def encode(kind: int, rid: int, meta: bytes = b"", body: bytes = b"", flags: int = 0) -> bytes:
    """Return the frame as one byte string; for bodies over a few KiB write `head()` and the body apart instead."""
    return HEADER.pack(MAGIC, VERSION, kind, flags, len(meta), rid, len(body)) + meta + body


def head(kind: int, rid: int, meta: bytes, body_len: int, flags: int = 0) -> bytes:
    """Return header and meta of a frame whose body is written next, without a copy."""
    return HEADER.pack(MAGIC, VERSION, kind, flags, len(meta), rid, body_len) + meta


class Decoder:
    """Bytes in, frames out: each is handed to `take` as soon as its last byte is there.

    Two ways in. `feed` takes what was read: whole frames are cut out of it by slicing alone. While `is_large`, the rest
    of a large body may instead be received straight into `room()`, and `filled` says how much came.

    Args:
        take: Gets every frame. May be exchanged at any time, by itself too.
        body_max: The largest body to accept.
        take_shared: Gets the frames with FLAG_RING instead, where there is shared memory.
    """

    __slots__ = ("_large", "_need", "_rest", "body_max", "meta_max", "take", "take_shared")

    def __init__(
        self, take: Take, body_max: int = BODY_MAX, take_shared: Take | None = None
    ) -> None:
        self.take = take
        self.take_shared = take_shared or take
        self.body_max = body_max
        self.meta_max = META_MAX
        self._rest = bytearray()  # an unfinished frame, less its body when that is large
        self._need = HEADER_BYTES  # bytes of it to have before anything more can be decided
        self._large: _Large | None = None

    def feed(self, data: bytes) -> None:
        """Take what arrived, and hand on the frames it completes, in order.

        Raises:
            WireError: The bytes are no frame, or one over the bounds; the connection must be closed.
        """
        at, rest = 0, self._rest
        if self._large is not None:
            at = self._copy(data, 0)
        elif rest:
            if len(rest) + len(data) < self._need:
                rest += data
                return
            data = bytes(rest) + data
            rest.clear()
        if at < len(data):
            self._cut(data, at)

    def _cut(self, data: bytes, at: int) -> None:
        """Hand on the whole frames of `data` from `at` on, and keep what is left."""
        end = len(data)
        unpack = _HEAD.unpack_from
        self._need = HEADER_BYTES
        while end - at >= HEADER_BYTES:
            mark, kind, flags, meta_len, rid, body_len = unpack(data, at)
            if mark != _MARK:
                raise WireError(f"not a glow frame: magic {mark & 255:#x}, version {mark >> 8}")
            if meta_len > self.meta_max or body_len > self.body_max:
                raise WireError(f"frame over the bounds: meta {meta_len} B, body {body_len} B")
            meta_at = at + HEADER_BYTES
            body_at = meta_at + meta_len
            next_at = body_at + body_len
            if next_at > end:
                if body_len < DIRECT_MIN:
                    self._need = next_at - at
                elif body_at > end:
                    self._need = body_at - at
                else:
                    self._large = _Large(kind, flags, rid, data[meta_at:body_at], body_len)
                    self._copy(data, body_at)
                    return
                break
            take = self.take_shared if flags & FLAG_RING else self.take
            take(kind, flags, rid, data[meta_at:body_at], data[body_at:next_at])
            at = next_at
        if at < end:
            self._rest += memoryview(data)[at:]

    # -- large bodies --------------------------------------------------------------------------------

    @property
    def is_large(self) -> bool:
        """Say whether a large body is under way: `room()` may be filled in place of `feed`."""
        return self._large is not None

    def room(self) -> memoryview:
        """Return where the next bytes of the large body belong; never empty, never beyond its end."""
        assert self._large is not None, "no large body is under way"
        return self._large.room

    def filled(self, size: int) -> None:
        """Note that so many bytes came into `room()`; the last ones hand the frame on."""
        large = self._large
        assert large is not None, "no large body is under way"
        if large.filled(size):
            self._large = None
            kind, flags, rid, meta = large.head
            take = self.take_shared if flags & FLAG_RING else self.take
            take(kind, flags, rid, meta, large.body())

    def _copy(self, data: bytes, at: int) -> int:
        """Fill the large body from `data`; return where the next frame begins."""
        end = len(data)
        with memoryview(data) as view:
            while self._large is not None and at < end:
                room = self._large.room
                size = min(len(room), end - at)
                room[:size] = view[at : at + size]
                at += size
                self.filled(size)
        return at

    @property
    def held_bytes(self) -> int:
        """Return how much memory an unfinished frame takes: what arrived of it and at most one segment more."""
        return len(self._rest) + (0 if self._large is None else self._large.held_bytes)


class _Large:
    """A body on its way into its own memory."""

    __slots__ = ("_left", "_segments", "head", "room")

    def __init__(self, kind: int, flags: int, rid: int, meta: bytes, size: int) -> None:
        self.head = (kind, flags, rid, meta)
        self._left = size
        self._segments: list[bytearray] = []
        self._widen()

    def _widen(self) -> None:
        segment = bytearray(min(self._left, SEGMENT_BYTES))
        self._segments.append(segment)
        self.room = memoryview(segment)

    def filled(self, size: int) -> bool:
        """Say whether that was all of it."""
        self._left -= size
        self.room = self.room[size:]
        if not self.room and self._left:
            self._widen()
        return not self._left

    def body(self) -> bytes:
        segments = self._segments
        return bytes(segments[0]) if len(segments) == 1 else b"".join(segments)

    @property
    def held_bytes(self) -> int:
        return len(self.head[3]) + sum(map(len, self._segments))
