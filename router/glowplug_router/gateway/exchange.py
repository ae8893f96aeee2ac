"""How does one HTTP call go? Let in by its head, its body collected, sent on, and answered."""

from typing import TYPE_CHECKING

from glowplug.clock import SECOND
from glowplug.events import ndjson_event, sse_event
from glowplug.wire.messages import Response, Trailer
from glowplug_router.gateway.answers import (
    CHUNKED,
    CLOSE,
    COLD,
    CONTINUE,
    LAST_CHUNK,
    chunk,
    server_timing,
    trouble_answer,
)
from glowplug_router.gateway.bodies import LargeBody
from glowplug_router.gateway.calls import CREDIT_STEP, Call
from glowplug_router.gateway.doors import Door
from glowplug_router.gateway.problems import Trouble, document, refusal
from glowplug_router.gateway.routes import no_traffic

if TYPE_CHECKING:
    from glowplug_router.gateway.intake import Intake

_BODILESS = (204, 304)  # by definition: what followed would be read as the next answer
NO_CACHE = ("cache-control", "no-cache")  # else proxies collect a stream before they pass it on
JOIN_MAX = 16 * 1024  # a larger piece is written apart, so that it is not copied
_ERROR_EVENT = {"text/event-stream": sse_event, "application/x-ndjson": ndjson_event}


class Exchange:
    """One request for an endpoint, or one that is refused, and its answer."""

    # Most requests leave most of this as it is, and one is made for each: what is not set costs nothing.
    trouble: Trouble | None = None  # why it is refused
    http10 = False
    expects_continue = False
    is_head = False  # HEAD: the answer has no body, whatever it is
    is_whole = False  # nothing more of it will arrive, or matters
    large: LargeBody | None = None  # where a body of some size is collected
    _body = b""  # the first piece of another one: mostly all of it
    _more: list[bytes] | None = None  # the pieces after the first
    _size = 0  # bytes of it that count as held
    _call: Call | None = None
    _request_id = ""
    _is_chunked = False
    _stream = ""  # content type of a streamed answer that has begun
    _owed = 0  # bytes of it that the replica has not been credited for
    _out: list[bytes] | None = None  # pieces of it that leave at the end of this turn of the loop

    def __init__(
        self, guard: "Intake", door: Door | None, given_id: bytes | None, *, keep_alive: bool
    ) -> None:
        self._guard = guard
        self._front = front = guard.front
        self.limit = front.settings.body_max_bytes
        self._door = door  # None: it was not let in
        self._given_id = given_id
        self.keep_alive = keep_alive

    # -- the body --------------------------------------------------------------------------------------

    def announce(self, length: int, *, is_parsed: bool) -> Trouble | None:
        """Prepare for a body of this size, or say why it cannot come; what is not parsed has memory of its own."""
        if length > self.limit:
            return too_large(self.limit, length)
        if not is_parsed:
            self.large = LargeBody(self._guard, length)
            self.make_room()
        return self.trouble

    def make_room(self, size: int = 0) -> bool:
        """Let a large body grow by `size` bytes and what is read next; False when that made it a refusal."""
        large = self.large
        if large is None:
            return True
        growth = large.growth(size)
        if growth and not self.hold(growth):
            return False
        large.grant(growth)
        return True

    def take(self, piece: bytes | memoryview) -> bool:
        """Take a piece of the body; False when that made it a refusal."""
        if self.large is not None:
            if not self.make_room(len(piece)):
                return False
            self.large.put(piece)
            return True
        size, held = len(piece), self._front.held
        if held.bytes + size <= held.limit and self._size + size <= self.limit:
            held.bytes += size
            self._size += size
        elif not self.hold(size):
            return False
        if not self._body:
            self._body = bytes(piece)  # no copy of what is bytes already
        elif self._more is None:
            self._more = [bytes(piece)]
        else:
            self._more.append(bytes(piece))
        return True

    def hold(self, size: int) -> bool:
        """Count bytes of the body; False when that made it a refusal."""
        front = self._front
        if self._size + size > self.limit:
            self._refuse(too_large(self.limit, None))
            return False
        if not front.held.take(size):
            detail = (
                f"calls in progress hold {front.held.limit} bytes of bodies, which is the limit"
            )
            self._refuse(Trouble("overloaded", detail, retry_after_ns=SECOND))
            return False
        self._size += size
        return True

    def _refuse(self, trouble: Trouble) -> None:
        self.trouble = trouble
        self._release()

    def _release(self) -> None:
        """Let go of the body, and of what it counted for."""
        self._front.held.release(self._size)
        self._size = 0
        self._body = b""
        self._more = self.large = None

    def _whole_body(self) -> bytes | bytearray:
        if self.large is not None:
            return self.large.data
        return self._body if self._more is None else b"".join((self._body, *self._more))

    # -- its turn --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Go on with it: those before it on this connection are answered."""
        if self.is_whole:
            self.start()
        elif self.expects_continue:
            self._guard.transport.write(CONTINUE)

    def start(self) -> None:
        """Make the call, or say why not; the body is here."""
        front, door = self._front, self._door
        if self.trouble is not None or door is None:
            self._turn_away(self.trouble or Trouble("internal", "nothing was refused or let in"))
        elif front.stopping:
            self._turn_away(refusal("shutting_down", door.target.name, retry_after_ns=SECOND))
        else:
            lane = door.lane or door.target.draw(front.chance)
            if lane is None:
                self._turn_away(no_traffic(door.target))
                return
            given = self._given_id
            request_id = front.new_id() if given is None else front.request_id(given)
            self._request_id = request_id
            now_ns = front.clock.now_ns()
            wait_ns = door.timeout_ns or front.settings.wait_max_ns
            path, body = door.target.path, self._whole_body()
            call = Call(self, lane, path, request_id, body, now_ns + wait_ns, *door.terms)
            self._call = call
            call.arrived_ns = now_ns
            front.engine.arrive(call)
            if call.cold and call.link is None and not call.over:
                front.holding.begin(self, call, door.accept, now_ns)

    def _turn_away(self, trouble: Trouble) -> None:
        self.trouble = trouble
        self._front.metrics.refuse(trouble.code)
        self._write_trouble(trouble)

    def gone(self) -> None:
        """Note that the connection is lost."""
        self._release()
        self._out = None
        call, self._call = self._call, None
        if call is not None:
            self._front.engine.cancel(call)

    def drained(self) -> None:
        """Let the replica go on: the reader has caught up."""
        if self._owed and self._call is not None and self._call.link is not None:
            self._call.link.credit(self._call, self._owed)
            self._owed = 0

    # -- Caller ----------------------------------------------------------------------------------------

    def head(self, call: Call, response: Response, body: bytes, *, final: bool) -> None:
        if not final:
            self._begin_stream(call, response, body)
            return
        write = self._guard.transport.write
        if response.status in _BODILESS:
            write(self._head_of(call, response, b"\r\n"))
            self._finish()
            return
        size = len(body)
        head = self._head_of(call, response, b"content-length: %d\r\n\r\n" % size)
        if size > JOIN_MAX:
            write(head)
            write(body)
        else:
            write(head + body)
        self._finish()

    def _head_of(self, call: Call, response: Response, rest: bytes) -> bytes:
        front = self._front
        return b"%b%bx-request-id: %b\r\n%b%b%b%b" % (
            front.heads.of(
                response.status, response.headers, response.executed, call.lane.number, call.attempt
            ),
            server_timing(
                call.sent_ns - call.arrived_ns,
                _with_start(call, response) if call.cold else response.timings,
            ),
            call.request_id.encode(),
            COLD if call.cold else b"",
            front.date,
            b"" if self.keep_alive else CLOSE,
            rest,
        )

    def _begin_stream(self, call: Call, response: Response, body: bytes) -> None:
        self._is_chunked = not self.http10
        self._stream = next(
            (value for name, value in response.headers if name == "content-type"), "?"
        )
        if self.http10:
            self.keep_alive = False  # the end of the connection is the end of the body
        framing = CHUNKED if self._is_chunked else b"\r\n"
        self._write_soon(self._head_of(call, response, framing))
        self.chunk(call, body)

    def open_stream(self, call: Call, kind: str) -> None:
        """Begin an answer of events before there is one: what its head would say is for the events to say."""
        front = self._front
        self._is_chunked = not self.http10
        self._stream = kind
        self.keep_alive = self.keep_alive and not self.http10
        head = front.heads.of(200, (("content-type", kind), NO_CACHE), "maybe", 0, 0)
        self._write_soon(
            b"%bx-request-id: %b\r\n%b%b%b%b"
            % (
                head,
                call.request_id.encode(),
                COLD,
                front.date,
                b"" if self.keep_alive else CLOSE,
                CHUNKED if self._is_chunked else b"\r\n",
            )
        )

    def say(self, piece: bytes) -> None:
        """Write a piece that is ours: no replica is credited for it."""
        self._write_soon(chunk(piece) if self._is_chunked else piece)

    def chunk(self, call: Call, body: bytes) -> None:
        size = len(body)
        if not size:
            return
        if size > JOIN_MAX:
            self._write_large(body)
        else:
            self._write_soon(chunk(body) if self._is_chunked else body)
        self._owed += size
        # A reader that does not read: the replica hears nothing and stops when its window is used up.
        if self._owed >= CREDIT_STEP and not self._guard.flow.write_paused:
            self.drained()

    def _write_soon(self, piece: bytes) -> None:
        """Write with all that comes in this turn of the loop: one write for many small pieces."""
        if self._out is None:
            self._out = [piece]
            self._front.soon(self.flush)
        else:
            self._out.append(piece)

    def _write_large(self, body: bytes) -> None:
        self.flush()
        transport = self._guard.transport
        if self._is_chunked:
            transport.write(b"%x\r\n" % len(body))
            transport.write(body)
            transport.write(b"\r\n")
        else:
            transport.write(body)

    def flush(self) -> None:
        """Write what waits for the end of the turn."""
        out, self._out = self._out, None
        if out is not None:
            self._guard.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def end(self, call: Call, trailer: Trailer) -> None:
        if self._is_chunked:
            self._write_soon(LAST_CHUNK)
        self.flush()
        self._finish()

    def fail(self, call: Call, trouble: Trouble) -> None:
        if not self._stream:
            self._write_trouble(trouble)
            return
        # The status went out long ago: typed streams have an event for this, others are cut off before their end.
        frame = _ERROR_EVENT.get(self._stream.partition(";")[0].strip())
        if frame is None:
            self.flush()
            self._release()
            self._guard.transport.close()
            return
        if not trouble.document:  # else the replica has written the event itself
            self.chunk(call, frame("error", document(trouble, call.request_id)))
        self.end(call, Trailer())

    def _write_trouble(self, trouble: Trouble) -> None:
        call, door = self._call, self._door
        lane = call.lane if call is not None else door.lane if door is not None else None
        timing = (
            server_timing((call.sent_ns or call.arrived_ns) - call.arrived_ns, ())
            if call is not None
            else b""
        )
        answer = trouble_answer(
            trouble,
            self._request_id or self._front.request_id(self._given_id),
            date=self._front.date,
            version=lane.number if lane is not None else 0,
            attempts=call.attempt if call is not None else 0,
            close=not self.keep_alive,
            timing=timing,
        )
        self._guard.transport.write(
            answer[: answer.index(b"\r\n\r\n") + 4] if self.is_head else answer
        )
        self._finish()

    def _finish(self) -> None:
        self._front.held.bytes -= self._size
        self._size = 0
        self._call = None  # they know each other: without this, both would wait for the collector
        self._guard.answered(self)


def too_large(limit: int, length: int | None) -> Trouble:
    """Return the trouble of a body over the limit."""
    size = f"{length} bytes" if length is not None else "more"
    return Trouble("too_large", f"the body has {size}, and at most {limit} bytes are taken")


def _with_start(call: Call, response: Response) -> tuple[tuple[str, int], ...]:
    """Return where the time went: a call that waited for a replica to start is told that start's phases too."""
    return response.timings if call.link is None else (*call.link.phases, *response.timings)
