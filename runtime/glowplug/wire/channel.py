"""How do two daemons ask each other things? Requests, answers and streams over frames, either side may open.

Not for the hot path (the gateway's links and the rank's data socket subclass FrameProtocol themselves). Streams are
bounded by credit: a writer stops when WINDOW bytes are on their way and goes on as the reader takes them.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from struct import Struct

from glowplug.errors import Executed, GlowplugError, UnavailableError, WireError, call_error
from glowplug.wire.frames import FLAG_END, FLAG_ONEWAY, Kind
from glowplug.wire.messages import (
    MALFORMED,
    Command,
    Failure,
    Hello,
    Infer,
    Response,
    pack,
    unpack_command,
    unpack_failure,
    unpack_hello,
    unpack_infer,
    unpack_response,
)
from glowplug.wire.transport import FrameProtocol, dial

_LOG = logging.getLogger("glowplug.wire")
WINDOW = 1024 * 1024
MESSAGE_MAX = 64 * 1024 * 1024  # of one that is read whole
PIECE = 256 * 1024  # size in which large bodies are cut
_U64 = Struct("<Q")
_CONTROL = frozenset({Kind.LOAD, Kind.WAKE, Kind.SLEEP, Kind.DRAIN, Kind.STATS, Kind.PING})

Spawn = Callable[..., object]  # a task group's start_soon
Headers = tuple[tuple[str, str], ...]


class Incoming:
    """One half of a stream: what the peer sends us, in order, with a bound."""

    def __init__(self, channel: "Channel", rid: int) -> None:
        self._channel = channel
        self._rid = rid
        self._pieces: deque[bytes] = deque()
        self._ended = False
        self._error: Exception | None = None
        self._wake = asyncio.Event()

    def feed(self, piece: bytes, *, end: bool) -> None:
        """Take a piece from the socket."""
        if piece:
            self._pieces.append(piece)
        self._ended = self._ended or end
        self._wake.set()

    def fail(self, error: Exception) -> None:
        """End with an error, after what has already arrived."""
        if not self._ended and self._error is None:
            self._error = error
            self._wake.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._channel.send(Kind.CREDIT, self._rid, _U64.pack(len(piece)))
                yield piece
            if self._error is not None:
                raise self._error
            if self._ended:
                return
            self._wake.clear()
            await self._wake.wait()

    def close(self) -> None:
        """Stop reading: unless everything has arrived, the writer is told that nobody takes the rest."""
        if not self._ended and self._error is None:
            self._ended = True
            self._pieces.clear()
            self._channel.abandon(self._rid)

    async def read(self) -> bytes:
        """Return everything, joined; for messages between daemons, which are bounded."""
        whole = bytearray()
        async for piece in self:
            whole += piece
            if len(whole) > MESSAGE_MAX:
                raise call_error("too_large", f"a message is over {MESSAGE_MAX} bytes")
        return bytes(whole)


class Outgoing:
    """The other half: what we send, held back while the peer's window is full."""

    def __init__(self, channel: "Channel", rid: int) -> None:
        self._channel = channel
        self._rid = rid
        self._window = WINDOW
        self._wake = asyncio.Event()
        self.cancelled = self.ended = False

    def credit(self, size: int) -> None:
        """Widen the window."""
        self._window += size
        self._wake.set()

    def cancel(self) -> None:
        """Note that the reader has gone."""
        self.cancelled = True
        self._wake.set()

    async def write(self, piece: bytes) -> None:
        """Send a piece, waiting for room.

        Raises:
            UnavailableError: The reader cancelled or the connection is gone.
        """
        for at in range(0, len(piece), PIECE) or (0,):
            part = piece[at : at + PIECE]
            while self._window < len(part) and not self.cancelled and not self._channel.closed:
                self._wake.clear()
                await self._wake.wait()
            if self.cancelled or self._channel.closed:
                raise UnavailableError("the reader has gone", code="cancelled")
            self._window -= len(part)
            self._channel.send(Kind.CHUNK, self._rid, b"", part)

    def end(self) -> None:
        """Finish the stream."""
        self.ended = True
        self._channel.send(Kind.CHUNK, self._rid, b"", b"", FLAG_END)


class Exchange:
    """One request the peer made of us: read it, answer it once."""

    def __init__(
        self, channel: "Channel", rid: int, kind: int, infer: Infer, command: Command | None
    ) -> None:
        self.kind = kind
        self.infer = infer
        self.command = command
        self.oneway = False
        self.body = Incoming(channel, rid)
        self.out = Outgoing(channel, rid)
        self.on_cancel: Callable[[], None] | None = None
        self._channel = channel
        self._rid = rid
        self.answered = False

    def respond(self, body: bytes = b"", *, status: int = 200, headers: Headers = ()) -> None:
        """Answer in one frame."""
        self._head(status, headers, body, FLAG_END)

    def begin(self, *, status: int = 200, headers: Headers = ()) -> Outgoing:
        """Start a streamed answer; finish it with `out.end()`."""
        self._head(status, headers, b"", 0)
        return self.out

    def fail(self, code: str, detail: str, *, executed: Executed = "no") -> None:
        """Answer with an error; after `begin` it breaks the stream off."""
        self.answered = self.out.ended = True
        if not self.oneway:
            text = detail.encode(
                errors="backslashreplace"
            ).decode()  # of odd bytes in a file's name
            failure = pack(Failure(code, executed, False, text))
            self._channel.send(Kind.ERROR, self._rid, failure, b"", FLAG_END)

    def _head(self, status: int, headers: Headers, body: bytes, flags: int) -> None:
        assert not self.answered, self.infer.path
        self.answered, self.out.ended = True, bool(flags & FLAG_END)
        if not self.oneway:
            self._channel.send(
                Kind.RESPONSE, self._rid, pack(Response(status, headers)), body, flags
            )


Handler = Callable[[Exchange], Awaitable[None]]


class Channel(FrameProtocol):
    """A connection on which both sides may ask.

    Args:
        hello: What to say about ourselves.
        handler: Called in a task for each request the peer makes.
        spawn: The owner's `task_group.start_soon`: every request runs in the owner's task group.
        dialling: True on the side that connected; it takes the odd request ids.
    """

    def __init__(self, hello: Hello, handler: Handler, spawn: Spawn, *, dialling: bool) -> None:
        super().__init__()
        self.peer: Hello | None = None
        self._hello = hello
        self._handler = handler
        self._spawn = spawn
        self._next = 1 if dialling else 2
        self._greeted = asyncio.Event()
        self._gone = asyncio.Event()
        self._mine: dict[int, tuple[asyncio.Future[Response], Incoming, Outgoing]] = {}
        self._theirs: dict[int, Exchange] = {}

    # -- asking ----------------------------------------------------------------------------------

    async def ready(self) -> Hello:
        """Wait for the peer's HELLO and return it; hang up when that wait is given up."""
        try:
            await self._greeted.wait()
        finally:
            if self.peer is None:
                self.abort()
        if self.peer is None:
            raise UnavailableError("the connection closed before it greeted")
        return self.peer

    async def gone(self) -> None:
        """Wait until the connection is lost."""
        await self._gone.wait()

    async def request(
        self, path: str, body: bytes = b"", *, infer: Infer | None = None
    ) -> tuple[Response, bytes]:
        """Ask, and return head and whole body of the answer.

        Raises:
            CallError: The peer refused, or the connection broke.
        """
        head, incoming = await self.open(path, body, infer=infer)
        return head, await incoming.read()

    async def command(self, kind: Kind, command: Command, body: bytes = b"") -> bytes:
        """Send LOAD, DRAIN, PING … and return the answer's body."""
        future, incoming, _ = self._start(kind, pack(command), body, FLAG_END)
        await future
        return await incoming.read()

    async def open(
        self, path: str, body: bytes = b"", *, infer: Infer | None = None
    ) -> tuple[Response, Incoming]:
        """Ask, and return the answer's head and its body as a stream."""
        meta = pack(infer if infer is not None else Infer(path, protocol="rpc"))
        future, incoming, _ = self._start(Kind.INFER, meta, body, FLAG_END)
        return await future, incoming

    async def upload(self, infer: Infer, pieces: AsyncIterator[bytes]) -> tuple[Response, Incoming]:
        """Ask with a streamed body; the answer's head may come before the body has all been sent."""
        future, incoming, out = self._start(Kind.INFER, pack(infer), b"", 0)
        try:
            async for piece in pieces:
                if future.done():
                    break
                await out.write(piece)
            out.end()
        except UnavailableError:
            if not future.done():
                raise
        except BaseException:
            # Cancelled, or the pieces failed: the peer must not wait for the rest.
            future.cancel()
            raise
        return await future, incoming

    def notify(self, path: str, body: bytes = b"") -> None:
        """Say something that needs no answer."""
        self.send(
            Kind.INFER, self._rid(), pack(Infer(path, protocol="rpc")), body, FLAG_END | FLAG_ONEWAY
        )

    def _rid(self) -> int:
        rid = self._next
        self._next += 2
        return rid

    def _start(
        self, kind: Kind, meta: bytes, body: bytes, flags: int
    ) -> tuple[asyncio.Future[Response], Incoming, Outgoing]:
        if self.closed:
            raise UnavailableError("the connection is closed")
        rid = self._rid()
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        incoming, out = Incoming(self, rid), Outgoing(self, rid)
        self._mine[rid] = (future, incoming, out)
        future.add_done_callback(lambda done: self.abandon(rid) if done.cancelled() else None)
        self.send(kind, rid, meta, body, flags)
        return future, incoming, out

    def abandon(self, rid: int) -> None:
        """Tell the peer that nobody waits any more: the asking task was cancelled, or read enough."""
        if self._mine.pop(rid, None) is not None:
            self.send(Kind.CANCEL, rid)

    # -- frames ----------------------------------------------------------------------------------

    def connected(self) -> None:
        """Greet."""
        self.send(Kind.HELLO, 0, pack(self._hello))

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        """Sort a frame to the stream it belongs to."""
        try:
            if kind == Kind.HELLO:
                self.peer = unpack_hello(meta)
                self._greeted.set()
            elif rid in self._mine:
                self._answer(kind, flags, rid, meta, body)
            elif kind == Kind.INFER or kind in _CONTROL:
                self._asked(kind, flags, rid, meta, body)
            elif rid in self._theirs:
                self._more(kind, flags, rid, meta, body)
        except MALFORMED:
            self.abort()

    def _answer(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        future, incoming, out = self._mine[rid]
        if kind == Kind.RESPONSE and not future.done():
            future.set_result(unpack_response(meta))
        if kind in {Kind.RESPONSE, Kind.CHUNK, Kind.END}:
            incoming.feed(body, end=bool(flags & FLAG_END))
        elif kind == Kind.ERROR:
            failure = unpack_failure(meta)
            error = call_error(failure.code, failure.detail, executed=failure.executed)  # type: ignore[arg-type]  # from the wire
            if not future.done():
                future.set_exception(error)
            incoming.fail(error)
        elif kind == Kind.CREDIT:
            out.credit(_U64.unpack(meta)[0])
            return
        if flags & FLAG_END:
            if not future.done():
                raise WireError(f"the answer to {rid} ends before it began")
            self._mine.pop(rid, None)
            out.cancel()

    def _asked(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        infer = unpack_infer(meta) if kind == Kind.INFER else Infer("")
        command = None if kind == Kind.INFER else unpack_command(meta)
        exchange = Exchange(self, rid, kind, infer, command)
        exchange.oneway = bool(flags & FLAG_ONEWAY)
        exchange.body.feed(body, end=bool(flags & FLAG_END))
        self._theirs[rid] = exchange
        self._spawn(self._handle, rid, exchange)

    async def _handle(self, rid: int, exchange: Exchange) -> None:
        code, detail = "internal", f"no whole answer to {exchange.infer.path}"
        try:
            await self._handler(exchange)
        except UnavailableError:
            _LOG.debug("%s: the asker has gone", exchange.infer.path)
        except GlowplugError as error:
            code, detail = error.code, error.message
        except Exception:
            # A bug in one answer must not end the daemon; it is recorded and the asker told.
            _LOG.exception("answering %s failed", exchange.infer.path)
        finally:
            self._theirs.pop(rid, None)
            # A stream that was begun and not ended would hold its reader for ever.
            if not (exchange.out.ended or exchange.out.cancelled or self.closed):
                exchange.fail(code, detail, executed="maybe")

    def _more(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        exchange = self._theirs[rid]
        if kind == Kind.CHUNK:
            exchange.body.feed(body, end=bool(flags & FLAG_END))
        elif kind == Kind.CREDIT:
            exchange.out.credit(_U64.unpack(meta)[0])
        elif kind == Kind.CANCEL:
            exchange.out.cancel()
            exchange.body.fail(UnavailableError("the caller has gone", code="cancelled"))
            if exchange.on_cancel is not None:
                exchange.on_cancel()

    def lost(self, error: Exception | None) -> None:
        """Fail everything that was under way."""
        gone = UnavailableError("the connection was lost")
        for future, incoming, out in list(self._mine.values()):
            if not future.done():
                future.set_exception(gone)
                future.exception()  # the asker may have left: do not warn about it
            incoming.fail(gone)
            out.cancel()
        self._mine.clear()
        for exchange in list(self._theirs.values()):
            exchange.out.cancel()
            exchange.body.fail(gone)
            if exchange.on_cancel is not None:
                exchange.on_cancel()
        self._greeted.set()
        self._gone.set()


async def dial_channel(address: str, hello: Hello, handler: Handler, spawn: Spawn) -> Channel:
    """Connect, exchange HELLOs and return the channel."""
    channel = await dial(address, lambda: Channel(hello, handler, spawn, dialling=True))
    await channel.ready()
    return channel
