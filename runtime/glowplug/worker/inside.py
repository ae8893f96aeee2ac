"""How does code inside a call reach other endpoints? Over the very connection its own call came in on.

The gateway holds the call that is above, so it knows the chain, the deadline and the key: the rank only sends its
parent's request id and the token it was given. Works from a compute thread (blocking) and from the loop.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from queue import Empty, SimpleQueue
from struct import Struct
from typing import TYPE_CHECKING

from glowplug.clock import SECOND
from glowplug.context import Answer, Outgoing
from glowplug.errors import CallError, DefinitionError, Executed, call_error
from glowplug.events import SseReader
from glowplug.problems import PROBLEMS
from glowplug.remote_errors import error_from_answer, error_from_problem
from glowplug.schema import EVENTS
from glowplug.spec import qualified
from glowplug.wire.frames import BODY_MAX, FLAG_END, Kind
from glowplug.wire.messages import Infer, Response, pack, unpack_failure, unpack_response

if TYPE_CHECKING:
    from glowplug.worker.call import Call
    from glowplug.worker.link import Link

ASKS_MAX = 4096  # calls that the code of one connection has under way; more is a runaway loop
GRACE_NS = (
    2 * SECOND
)  # after the deadline the gateway itself answers; this is for that answer's way
_U64 = Struct("<Q")

Event = Response | bytes | CallError | None  # head, piece, failure, end
Deliver = Callable[[Event], None]


class Ask:
    """One call from inside, as its link sees it."""

    __slots__ = ("_deliver", "_eager", "_link", "_rid")

    def __init__(self, link: "Link", rid: int, deliver: Deliver, *, eager: bool) -> None:
        self._link = link
        self._rid = rid
        self._deliver = deliver
        self._eager = eager  # the whole answer is wanted: take its pieces as they come

    def frame(self, kind: int, flags: int, meta: bytes, body: bytes) -> None:
        """Take a frame of the answer."""
        if kind == Kind.RESPONSE:
            self._deliver(unpack_response(meta))
        elif kind == Kind.ERROR:
            self._deliver(_failed(meta, body))
            return
        if body:
            self._deliver(body)
            if self._eager and kind == Kind.CHUNK:
                self.credit(len(body))
        if flags & FLAG_END:
            self._deliver(None)

    def credit(self, size: int) -> None:
        """Let the writer send as much again."""
        self._link.send(Kind.CREDIT, self._rid, _U64.pack(size))

    def fail(self, error: CallError) -> None:
        """End it from this side."""
        self._deliver(error)

    def abandon(self) -> None:
        """Tell the gateway that nobody waits any more, unless it has answered."""
        if self._link.asks.pop(self._rid, None) is not None:
            self._link.send(Kind.CANCEL, self._rid)


class Inside:
    """A `context.Transport` for the code of one call."""

    __slots__ = ("_asks", "_chain", "_deadline_ns", "_infer", "_link")

    def __init__(self, call: "Call") -> None:
        spec = call.program.spec
        self._link = call.link
        self._infer = call.infer
        self._deadline_ns = call.due_ns
        self._chain = (*call.infer.chain, qualified(spec.app, spec.name))
        self._asks: set[Ask] = set()

    def call(self, outgoing: Outgoing) -> Answer:
        """Send and wait, blocking this thread."""
        with closing(self._events(outgoing, eager=True)) as events:
            return _answer(list(events))

    async def acall(self, outgoing: Outgoing) -> Answer:
        """Send and wait."""
        async with aclosing(self._aevents(outgoing, eager=True)) as events:
            return _answer([event async for event in events])

    def stream(self, outgoing: Outgoing) -> Iterator[bytes]:
        """Send and yield each item; closing the iterator ends the call."""
        with closing(self._events(outgoing, eager=False)) as events:
            items = _Items()
            for event in events:
                yield from items.take(event)
            items.end()

    async def astream(self, outgoing: Outgoing) -> AsyncIterator[bytes]:
        """Like `stream`, without blocking."""
        async with aclosing(self._aevents(outgoing, eager=False)) as events:
            items = _Items()
            async for event in events:
                for item in items.take(event):
                    yield item
            items.end()

    def cancel(self) -> None:
        """Fail what is under way: the call above is over."""
        for ask in list(self._asks):
            ask.fail(
                call_error("cancelled", "the call that made this one is over", executed="maybe")
            )

    # -- opening -------------------------------------------------------------------------------------

    def _open(self, outgoing: Outgoing, deliver: Deliver, eager: bool, opened: list[Ask]) -> None:
        """Send the request. On the loop."""
        link = self._link
        if link.closed or len(link.asks) >= ASKS_MAX:
            detail = (
                "the gateway has gone" if link.closed else f"{ASKS_MAX} calls are under way already"
            )
            deliver(call_error("unavailable", detail, executed="no"))
            return
        if len(outgoing.body) > BODY_MAX:  # it would break the link, and every call on it
            detail = f"the request has {len(outgoing.body)} bytes, and {BODY_MAX} is the most"
            deliver(call_error("too_large", detail, executed="no"))
            return
        rid = link.next_rid()
        ask = Ask(link, rid, deliver, eager=eager)
        link.asks[rid] = ask
        self._asks.add(ask)
        opened.append(ask)
        link.send(Kind.INFER, rid, pack(self._infer_of(outgoing)), outgoing.body, FLAG_END)

    def _infer_of(self, outgoing: Outgoing) -> Infer:
        above = self._infer
        return Infer(
            path=f"/{outgoing.app}/{outgoing.endpoint}",
            headers=(
                ("content-type", outgoing.content_type),
                ("accept", outgoing.accept),
                ("glowplug-affinity", outgoing.affinity),
            ),
            endpoint=qualified(outgoing.app, outgoing.endpoint),
            version=outgoing.version,
            tenant=above.tenant,
            klass=outgoing.klass or above.klass,
            timeout_ns=self._left_ns(outgoing),
            trace=above.trace,
            chain=self._chain,
            parent=above.request_id,
            call_token=above.call_token,
            dev=above.dev,
        )

    def _left_ns(self, outgoing: Outgoing) -> int:
        left_ns = self._deadline_ns - self._link.server.now_ns()
        if outgoing.timeout_s is not None:
            left_ns = min(left_ns, int(outgoing.timeout_s * SECOND))
        return max(left_ns, 1)  # 0 would mean: no deadline

    def _credit_later(self, ask: Ask, size: int) -> None:
        self._link.server.outbox.post(lambda: ask.credit(size))

    def _close(self, opened: list[Ask]) -> None:
        for ask in opened:
            self._asks.discard(ask)
            ask.abandon()

    # -- waiting -------------------------------------------------------------------------------------

    def _events(self, outgoing: Outgoing, *, eager: bool) -> Generator[Event, None, None]:
        server = self._link.server
        if threading.get_ident() == server.loop_thread:
            name = qualified(outgoing.app, outgoing.endpoint)
            raise DefinitionError(
                f"a blocking call of {name} from async code would wait for itself",
                hint="await its `aremote`, or iterate its `astream`",
            )
        events: SimpleQueue[Event] = SimpleQueue()
        opened: list[Ask] = []
        until_ns = server.now_ns() + self._left_ns(outgoing) + GRACE_NS
        server.outbox.post(lambda: self._open(outgoing, events.put, eager, opened))
        try:
            while True:
                event = _next(events, (until_ns - server.now_ns()) / SECOND)
                if event is None:
                    return
                yield event
                if not eager and isinstance(event, bytes):
                    self._credit_later(opened[0], len(event))
        finally:
            server.outbox.post(lambda: self._close(opened))

    async def _aevents(self, outgoing: Outgoing, *, eager: bool) -> AsyncGenerator[Event, None]:
        waiting: deque[Event] = deque()
        arrived = asyncio.Event()
        opened: list[Ask] = []

        def deliver(event: Event) -> None:
            waiting.append(event)
            arrived.set()

        left_s = (self._left_ns(outgoing) + GRACE_NS) / SECOND
        self._open(outgoing, deliver, eager, opened)
        timer = asyncio.get_running_loop().call_later(left_s, deliver, _late())
        try:
            while True:
                await arrived.wait()
                arrived.clear()
                while waiting:
                    event = waiting.popleft()
                    if isinstance(event, CallError):
                        raise event
                    if event is None:
                        return
                    yield event
                    if not eager and isinstance(event, bytes):
                        opened[0].credit(len(event))
        finally:
            timer.cancel()
            self._close(opened)


class _Items:
    """Reads a streamed answer: an SSE stream's items, or the pieces of raw bytes."""

    def __init__(self) -> None:
        self._head: Response | None = None
        self._refusal = bytearray()
        self._sse: SseReader | None = None
        self._done = False

    def take(self, event: Event) -> Iterator[bytes]:
        if isinstance(event, Response):
            self._head = event
            self._sse = SseReader() if _content_type(event).startswith(EVENTS) else None
        elif isinstance(event, bytes):
            if self._head is not None and self._head.status >= 400:
                self._refusal += event
            elif self._sse is None:
                yield event
            else:
                yield from self._output(self._sse, event)

    def end(self) -> None:
        """Raise for a refusal, or for a stream that broke off."""
        if self._head is not None and self._head.status >= 400:
            raise error_from_answer(
                self._head.status, dict(self._head.headers), bytes(self._refusal)
            )
        if self._sse is not None and not self._done:
            raise call_error("replica_lost", "the stream broke off", executed="maybe")

    def _output(self, reader: SseReader, piece: bytes) -> Iterator[bytes]:
        import msgspec

        for event in reader.feed(piece):
            if event.kind == "output":
                yield event.data
            elif event.kind == "error":
                raise error_from_problem(msgspec.json.decode(event.data), {})
            elif event.kind == "done":
                self._done = True


def _next(events: "SimpleQueue[Event]", left_s: float) -> Event:
    try:
        event = events.get(timeout=max(left_s, 0.0))
    except Empty:
        raise _late() from None
    if isinstance(event, CallError):
        raise event
    return event


def _late() -> CallError:
    return call_error("deadline", "no answer before the deadline", executed="maybe")


def _answer(events: list[Event]) -> Answer:
    head = events[0]
    assert isinstance(head, Response), head
    body = b"".join(event for event in events[1:] if isinstance(event, bytes))
    headers = dict(head.headers)
    if head.status >= 400:
        raise error_from_answer(head.status, headers, body)
    return Answer(status=head.status, headers=headers, body=body)


def _content_type(head: Response) -> str:
    return next((value for name, value in head.headers if name == "content-type"), "")


def _failed(meta: bytes, body: bytes) -> CallError:
    failure = unpack_failure(meta)
    status = PROBLEMS[failure.code].status if failure.code in PROBLEMS else 500
    if body:
        return error_from_answer(status, {"glowplug-executed": failure.executed}, body)
    retry_after_s = failure.retry_after_ms / 1000 if failure.retry_after_ms else None
    executed: Executed = failure.executed  # type: ignore[assignment]  # from the wire: one of the three
    return call_error(failure.code, failure.detail, executed=executed, retry_after_s=retry_after_s)
