"""How do the frames of one gateway's connection become calls, and calls that code here makes of others?"""

import asyncio
from struct import Struct
from typing import TYPE_CHECKING

from glowplug.errors import WireError
from glowplug.wire.frames import BODY_MAX, FLAG_END, Kind
from glowplug.wire.messages import MALFORMED, Failure, pack, unpack_hello, unpack_infer
from glowplug.wire.transport import FrameProtocol

if TYPE_CHECKING:
    from glowplug.worker.call import Call
    from glowplug.worker.inside import Ask
    from glowplug.worker.server import Server

LINKS_MAX = 64  # gateways at once
_U64 = Struct("<Q")
_INFER = int(Kind.INFER)  # looked up for every call


class Link(FrameProtocol):
    """One gateway's connection."""

    def __init__(self, server: "Server") -> None:
        super().__init__()
        self.server = server
        self.calls: dict[int, Call] = {}
        self.asks: dict[int, Ask] = {}
        self.arriving: dict[int, list[bytes]] = {}  # bodies that come in pieces
        self._arrived = 0
        self._next = 0
        self.gone = asyncio.Event()

    def next_rid(self) -> int:
        """Return an id for a stream that this side opens: the accepting side takes the even ones."""
        self._next += 2
        return self._next

    def connected(self) -> None:
        if len(self.server.links) >= LINKS_MAX:
            self.abort()
            return
        self.server.links.add(self)
        self.greet()

    def greet(self) -> None:
        """Say who we are and how we are."""
        self.send(Kind.HELLO, 0, self.server.hello(self.ring_offer()))

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        try:
            if kind == _INFER:
                infer = unpack_infer(meta)
                if not rid & 1 or rid in self.calls:
                    raise WireError(f"request id {rid} is not the peer's to open now")
                call = self.server.admit(self, rid, infer, body)
                if call is None:
                    return
                if flags & FLAG_END:
                    call.start()
                else:
                    self.arriving[rid] = [body]
                    self._arrived += len(body)
            else:
                self._route(kind, flags, rid, meta, body)
        except MALFORMED:
            self.abort()  # the peer does not speak as we do; its calls are cancelled by `lost`

    def _route(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if rid in self.asks:
            self._answer(kind, flags, rid, meta, body)
        elif rid in self.calls:
            self._more(kind, flags, rid, meta, body)
        elif kind == Kind.HELLO:
            self.hear_offer(unpack_hello(meta).ring)

    def lost(self, error: Exception | None) -> None:
        self.server.links.discard(self)
        self.gone.set()
        for call in list(self.calls.values()):
            call.cancel()
        gone = pack(Failure("unavailable", "maybe", True, "the connection to the gateway was lost"))
        for ask in list(self.asks.values()):
            ask.frame(Kind.ERROR, FLAG_END, gone, b"")
        self.asks.clear()
        self.arriving.clear()

    def _answer(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        self.asks[rid].frame(
            kind, flags, meta, body
        )  # nonsense in it is told to the asker by `lost`
        if flags & FLAG_END or kind == Kind.ERROR:
            del self.asks[rid]

    def _more(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        call = self.calls[rid]
        if kind == Kind.CREDIT:
            size = _U64.unpack(meta)[0]
            if call.stream is not None:
                call.stream.credit(size)
        elif kind == Kind.CANCEL:
            self.forget(rid)
            call.cancel()
        elif kind in (Kind.CHUNK, Kind.END) and rid in self.arriving:
            self._piece(call, flags, body)

    def _piece(self, call: "Call", flags: int, body: bytes) -> None:
        pieces = self.arriving[call.rid]
        pieces.append(body)
        self._arrived += len(body)
        if self._arrived > BODY_MAX:
            raise WireError(f"more than {BODY_MAX} bytes of unfinished requests")
        if body:
            self.send(Kind.CREDIT, call.rid, _U64.pack(len(body)))
        if flags & FLAG_END:
            call.body = b"".join(pieces)
            self.forget(call.rid)
            call.start()

    def forget(self, rid: int) -> None:
        """Let go of the pieces of a body, if there are any."""
        self._arrived -= sum(map(len, self.arriving.pop(rid, ())))
