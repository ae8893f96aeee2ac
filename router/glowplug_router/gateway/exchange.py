"""How does one HTTP call go? Checked at the door, its body collected, sent on, and answered."""

from typing import TYPE_CHECKING

from glowplug.clock import SECOND
from glowplug.events import ndjson_event, sse_event
from glowplug.wire.messages import Response, Trailer
from glowplug_router.gateway.answers import (
    CHALLENGE,
    CHUNKED,
    CLOSE,
    COLD,
    CONTINUE,
    LAST_CHUNK,
    chunk,
    server_timing,
    trouble_answer,
)
from glowplug_router.gateway.calls import CREDIT_STEP, Call
from glowplug_router.gateway.keys import PUBLIC, Grant
from glowplug_router.gateway.problems import Trouble, document, refusal
from glowplug_router.gateway.routes import Found, Lane, Target, no_traffic, pinned, unknown_version
from glowplug_router.gateway.wishes import (
    AUTHORIZATION,
    EXPECT,
    REQUEST_ID,
    Known,
    Wishes,
    native_headers,
    wishes,
)

if TYPE_CHECKING:
    from glowplug_router.gateway.front import Front
    from glowplug_router.gateway.guard import Guard

JOIN_MAX = 16 * 1024  # a larger body is written apart from its head, so that it is not copied
_ERROR_EVENT = {"text/event-stream": sse_event, "application/x-ndjson": ndjson_event}


class Exchange:
    """One request for an endpoint, or one that is refused, and its answer."""

    __slots__ = (
        "_call", "_front", "_grant", "_guard", "_is_chunked", "_known", "_lane", "_owed", "_pieces", "_query",
        "_request_id", "_size", "_stream", "_target", "_wishes", "expects_continue", "http10", "is_head", "is_whole",
        "keep_alive", "trouble",
    )  # fmt: skip  # a line each would hide the class

    def __init__(
        self,
        guard: "Guard",
        front: "Front",
        known: Known,
        *,
        http10: bool,
        keep_alive: bool,
    ) -> None:
        self.trouble: Trouble | None = None  # why it is refused at the door
        self.http10 = http10
        self.keep_alive = keep_alive
        self.expects_continue = not http10 and known.get(EXPECT, b"").lower() == b"100-continue"
        self.is_head = False  # HEAD: the answer has no body, whatever it is
        self.is_whole = False  # nothing more of it will arrive, or matters
        self._guard = guard
        self._front = front
        self._known = known
        self._grant: Grant | None = None
        self._target: Target | None = None
        self._lane: Lane | None = None
        self._wishes: Wishes | None = None
        self._query = ""
        self._pieces: list[bytes] = []
        self._size = 0
        self._call: Call | None = None
        self._request_id = ""
        self._is_chunked = False
        self._stream = ""  # content type of a streamed answer that has begun
        self._owed = 0  # bytes of it that the replica has not been credited for

    # -- the door --------------------------------------------------------------------------------------

    def enter(self, found: Found, method: bytes, length: int | None) -> None:
        """Check everything that can be known from the headers; the first failure is the answer."""
        self.trouble = self._admit(found) or self._shape(found, method, length)

    def _admit(self, found: Found) -> Trouble | None:
        """Who is it, and may they do this?"""
        target = self._target = found.target
        self._query = found.query
        grant = self._front.keys.check(self._known.get(AUTHORIZATION))
        if grant is None:
            if target is None or target.auth != "public":
                return unauthorized(was_sent=AUTHORIZATION in self._known)
            grant = PUBLIC
        elif target is not None and target.auth != "public" and not grant.may_invoke(target.name):
            return Trouble("forbidden", f"the key {grant.id} has no scope invoke:{target.name}")
        self._grant = grant
        return None

    def _shape(self, found: Found, method: bytes, length: int | None) -> Trouble | None:
        """Is it a call that can be made?"""
        target = found.target
        if target is None:
            assert self._grant is not None, found
            return Trouble("not_found", self._front.table.missing(found, self._grant.may_invoke))
        if found.selector:
            self._lane = pinned(target, found.selector)
            if self._lane is None:
                return Trouble("version_not_found", unknown_version(target, found.selector))
        if method != b"POST":
            detail = f"{target.name} was asked with {method.decode('latin-1')}"
            return Trouble("method_not_allowed", detail, headers=b"allow: POST\r\n")
        if target.stopped:
            return Trouble("stopped", f"{target.name} is stopped")
        asked = wishes(self._known)
        if isinstance(asked, Trouble):
            return asked
        self._wishes = asked
        limit = self._front.settings.body_max_bytes
        return too_large(limit, length) if length is not None and length > limit else None

    # -- the body --------------------------------------------------------------------------------------

    def take(self, piece: bytes) -> bool:
        """Take a piece of the body; False when that made it a refusal."""
        front = self._front
        if self._size + len(piece) > front.settings.body_max_bytes:
            self._refuse(too_large(front.settings.body_max_bytes, None))
            return False
        if not front.held.take(len(piece)):
            detail = (
                f"calls in progress hold {front.held.limit} bytes of bodies, which is the limit"
            )
            self._refuse(Trouble("overloaded", detail, retry_after_ns=SECOND))
            return False
        self._size += len(piece)
        self._pieces.append(piece)
        return True

    def _refuse(self, trouble: Trouble) -> None:
        self.trouble = trouble
        self._pieces.clear()
        self._release()

    def _release(self) -> None:
        self._front.held.release(self._size)
        self._size = 0

    # -- its turn --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Go on with it: those before it on this connection are answered."""
        if self.is_whole:
            self.start()
        elif self.expects_continue:
            self._guard.transport.write(CONTINUE)

    def start(self) -> None:
        """Make the call, or say why not; the body is here."""
        front, pinned = self._front, self._lane is not None
        self._request_id = front.request_id(self._known.get(REQUEST_ID))
        if self.trouble is None and front.stopping:
            self.trouble = refusal(
                "shutting_down", self._target.name if self._target else "", retry_after_ns=SECOND
            )
        if self.trouble is None and self._lane is None and self._target is not None:
            self._lane = self._target.draw(front.chance)
            if self._lane is None:
                self.trouble = no_traffic(self._target)
        if self.trouble is not None:
            front.metrics.refuse(self.trouble.code)
            self._write_trouble(self.trouble)
            return
        front.engine.arrive(self._make_call(pinned=pinned))

    def _make_call(self, *, pinned: bool) -> Call:
        target, lane, grant, asked = self._target, self._lane, self._grant, self._wishes
        assert target is not None, "past the door"
        assert lane is not None, "past the door"
        assert grant is not None, "past the door"
        assert asked is not None, "past the door"
        wait_ns = self._front.settings.wait_max_ns
        pieces, self._pieces = self._pieces, []
        call = self._call = Call(
            self,
            lane,
            target.path,
            request_id=self._request_id,
            body=pieces[0] if len(pieces) == 1 else b"".join(pieces),
            deadline_ns=self._front.clock.now_ns()
            + (min(asked.timeout_ns, wait_ns) if asked.timeout_ns else wait_ns),
            tenant=grant.tenant,
            klass=asked.klass or target.klass,
            headers=native_headers(self._known),
            query=self._query,
            trace=asked.trace,
            idempotency_key=asked.idempotency_key,
            has_asked=asked.timeout_ns > 0,
            pinned=pinned,
            shows_code=grant.may_see_code(target.name),
        )
        return call

    def gone(self) -> None:
        """Note that the connection is lost."""
        self._pieces.clear()
        self._release()
        if self._call is not None:
            self._front.engine.cancel(self._call)

    def drained(self) -> None:
        """Let the replica go on: the reader has caught up."""
        if self._owed and self._call is not None and self._call.link is not None:
            self._call.link.credit(self._call, self._owed)
            self._owed = 0

    # -- Caller ----------------------------------------------------------------------------------------

    def head(self, call: Call, response: Response, body: bytes, *, final: bool) -> None:
        transport = self._guard.transport
        if not final:
            self._begin_stream(call, response, body)
            return
        head = self._head_of(call, response, b"content-length: %d\r\n\r\n" % len(body))
        if len(body) > JOIN_MAX:
            transport.write(head)
            transport.write(body)
        else:
            transport.write(head + body)
        self._finish()

    def _begin_stream(self, call: Call, response: Response, body: bytes) -> None:
        self._is_chunked = not self.http10
        self._stream = next(
            (value for name, value in response.headers if name == "content-type"), "?"
        )
        if self.http10:
            self.keep_alive = False  # the end of the connection is the end of the body
        framing = CHUNKED if self._is_chunked else b"\r\n"
        self._guard.transport.write(self._head_of(call, response, framing))
        self.chunk(call, body)

    def _head_of(self, call: Call, response: Response, framing: bytes) -> bytes:
        front = self._front
        return b"%b%bx-request-id: %b\r\n%b%b%b%b" % (
            front.heads.of(
                response.status, response.headers, response.executed, call.lane.number, call.attempt
            ),
            _timing(call, response),
            call.request_id.encode(),
            COLD if call.cold else b"",
            front.date,
            b"" if self.keep_alive else CLOSE,
            framing,
        )

    def chunk(self, call: Call, body: bytes) -> None:
        if not body:
            return
        self._guard.transport.write(chunk(body) if self._is_chunked else body)
        self._owed += len(body)
        # A reader that does not read: the replica hears nothing and stops when its window is used up.
        if self._owed >= CREDIT_STEP and not self._guard.flow.write_paused:
            self.drained()

    def end(self, call: Call, trailer: Trailer) -> None:
        if self._is_chunked:
            self._guard.transport.write(LAST_CHUNK)
        self._finish()

    def fail(self, call: Call, trouble: Trouble) -> None:
        if not self._stream:
            self._write_trouble(trouble)
            return
        # The status went out long ago: typed streams have an event for this, others are cut off before their end.
        frame = _ERROR_EVENT.get(self._stream.partition(";")[0].strip())
        if frame is None:
            self._release()
            self._guard.transport.close()
            return
        if not trouble.document:  # else the replica has written the event itself
            self.chunk(call, frame("error", document(trouble, call.request_id)))
        self.end(call, Trailer())

    def _write_trouble(self, trouble: Trouble) -> None:
        call = self._call
        timing = (
            server_timing((call.sent_ns or call.arrived_ns) - call.arrived_ns, ())
            if call is not None
            else b""
        )
        answer = trouble_answer(
            trouble,
            self._request_id or self._front.request_id(self._known.get(REQUEST_ID)),
            date=self._front.date,
            version=self._lane.number if self._lane is not None else 0,
            attempts=call.attempt if call is not None else 0,
            close=not self.keep_alive,
            timing=timing,
        )
        self._guard.transport.write(
            answer[: answer.index(b"\r\n\r\n") + 4] if self.is_head else answer
        )
        self._finish()

    def _finish(self) -> None:
        self._release()
        self._guard.answered(self)


def unauthorized(*, was_sent: bool) -> Trouble:
    """Return the trouble of a request without a good key."""
    detail = (
        "the key is unknown, wrong, revoked or expired"
        if was_sent
        else "this needs a key and none was sent"
    )
    return Trouble("unauthorized", detail, headers=CHALLENGE)


def too_large(limit: int, length: int | None) -> Trouble:
    """Return the trouble of a body over the limit."""
    size = f"{length} bytes" if length is not None else "more"
    return Trouble("too_large", f"the body has {size}, and at most {limit} bytes are taken")


def _timing(call: Call, response: Response) -> bytes:
    """Return where the time went; a call that waited for a replica to start is told that start's phases."""
    started = call.link.phases if call.cold and call.link is not None else ()
    return server_timing(call.sent_ns - call.arrived_ns, (*started, *response.timings))
