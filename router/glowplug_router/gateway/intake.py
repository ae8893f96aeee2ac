"""How do bytes become requests? uvicorn's parser is fed, and what it reads becomes an exchange or goes to the site.

What a connection may do besides is the guard's to say, which subclasses this. A head that is the last one again is let
in as that one was; a large body goes around the parser, into its own memory.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from glowplug_router.gateway.bodies import LARGE_MIN, LargeBody
from glowplug_router.gateway.doors import Door, open_door
from glowplug_router.gateway.exchange import Exchange, too_large
from glowplug_router.gateway.flaws import head_flaw, size_flaw
from glowplug_router.gateway.heads import (
    LENGTH_DIGITS,
    LENGTHS,
    REQUEST_ID_MAX,
    REQUEST_IDS,
    Fields,
    Head,
    Seen,
    is_worth_keeping,
)
from glowplug_router.gateway.patience import Phase
from glowplug_router.gateway.problems import Trouble, bad_request
from glowplug_router.gateway.turns import AsgiTurn
from glowplug_router.gateway.wishes import REQUEST_ID

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from glowplug_router.gateway.front import Front

DISCARD_MAX = 64 * 1024  # a refused body up to this is read to its end, and the connection lives on
LINGER_BYTES = 256 * 1024 * 1024  # a refused larger one is dropped up to this, then cut off
SILENT_MAX = 512 * 1024  # bytes in a body's place that are no body: chunk extensions, trailers
# A read of this size may begin a large body: the parser is given the head alone.
SPLIT_MIN = 16 * 1024

Turn = Exchange | AsgiTurn


class Intake(HttpToolsProtocol, ABC):
    """The reading half of a connection."""

    def __init__(
        self,
        front: "Front",
        config: "Config",
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.front = front
        self._phase: Phase = "head"
        self._since_ns = front.coarse_ns  # when the phase, or the last piece of a body, began
        self._body_since_ns = 0
        self._raw = 0  # bytes of this head, or since the last piece of body
        self._unparsed = 0  # bytes of a body that the parser does not take: see `_take_unparsed`
        self._large: LargeBody | None = None  # a body that goes around the parser
        self._fields: Fields = []  # of the head being read, or trailers; less the two that are kept apart:
        self._length: bytes | None = None
        self._request_id: bytes | None = None
        self._seen: Seen | None = None
        self._is_seen = False  # the head just read is the one in `_seen`
        self._is_fresh = True  # nothing was ever received
        self._reading: Turn | None = None  # whose body is arriving
        self._active: Turn | None = None  # whose answer is due
        self._turns: deque[Turn] = deque()  # sent ahead
        self._is_closing = False  # answer what is there, then close
        self._is_deaf = False  # what still arrives is not HTTP, or not wanted

    # -- what the guard does -----------------------------------------------------------------------------

    @abstractmethod
    def _queue(self, turn: Turn) -> None:
        """Let a turn begin when those before it are answered."""

    @abstractmethod
    def _refuse_rest(self, trouble: Trouble) -> None:
        """Refuse what is being read; nothing more is."""

    @abstractmethod
    def answered(self, turn: Turn) -> None:
        """Go on after an answer."""

    # -- bytes -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._is_fresh = False
        if self._phase != "idle" or self._is_deaf:
            self._take(data)
        elif self._seen is None or self._active is not None or not self._repeats(self._seen, data):
            self._phase = "head"
            self._since_ns = self.front.coarse_ns
            self._raw = 0
            self._is_seen = False
            self._take(data)
            if self._is_seen and self._large is None and self._seen is not None:
                self._seen.keep(data)

    def _take(self, data: bytes) -> None:
        self._raw += len(data)
        if self._is_deaf:
            if self._raw > LINGER_BYTES:
                self.transport.abort()
        elif self._unparsed:
            self._take_unparsed(data)
        elif len(data) < SPLIT_MIN or self._phase != "head":
            self._parse(data)
        else:
            self._split(data)
        if self._large is not None:
            self._large.receive()

    def _repeats(self, seen: Seen, data: bytes) -> bool:
        """Let a request in without the parser if its head is the last one, byte for byte; say whether it was."""
        body = seen.repeated(self.front, data) if seen.is_kept else None
        if body is None:
            return False
        exchange = Exchange(self, seen.door, None, keep_alive=not self._is_closing)
        exchange.take(body)
        exchange.is_whole = True
        self._active = exchange
        exchange.start()
        return True

    def _split(self, data: bytes) -> None:
        """Parse the head apart: a large body behind it would be cut into copies."""
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self._parse(data)
        elif self._parse(data[:end]):
            if self._large is None:
                self._parse(data[end:])
            else:
                self._take_large(memoryview(data)[end:])

    def _parse(self, data: bytes) -> bool:
        """Let the parser call what is under "a head" and "a body"; False when it is to have no more."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._take_unparsed(data[upgrade.args[0] :])
            return False
        except httptools.HttpParserError as error:
            self._refuse_rest(bad_request(f"not an HTTP/1.1 request: {error}"))
            return False
        if self._phase != "idle":
            self._check_volume()
        return not self._is_deaf

    def _take_unparsed(self, data: bytes) -> None:
        """Take the body of a request that offers an upgrade (Java's client does so by default): the parser leaves it.

        We speak HTTP/1.1 only, so the request is answered as if it offered nothing, and the connection closed.
        """
        body = data[: self._unparsed]
        if body:
            self._unparsed -= len(body)
            self.on_body(body)
            if not self._unparsed:
                self.on_message_complete()
        self._is_deaf = not self._unparsed

    def _check_volume(self) -> None:
        """Refuse what the parser holds for a header that never ends, which it does not tell us of."""
        if self._phase == "head":
            flaw = size_flaw(self.front.settings, self._raw, 0)
            if flaw is not None:
                self._refuse_rest(flaw)
        elif self._phase == "body":
            if self._raw > SILENT_MAX:
                self._refuse_rest(bad_request("the body has too much chunk framing"))
            elif len(self._fields) > self.front.settings.fields_max:
                self._refuse_rest(bad_request("there are too many trailers"))

    # -- a head ------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_deaf:
            return
        self.url = b""
        self._fields = []
        self._length = self._request_id = None
        if self._phase != "head":
            self._enter_phase("head")

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name in LENGTHS and self._length is None:
            self._length = value
        elif name in REQUEST_IDS and self._request_id is None:
            self._request_id = value
        else:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        if self._is_deaf:  # what follows a refusal in the same packet is never a request
            return
        self._phase = "body"
        self._since_ns = self._body_since_ns = self.front.coarse_ns
        self._raw = 0
        seen, length, request_id = self._seen, self._length, self._request_id
        if (
            seen is not None
            and length is not None
            and len(length) <= LENGTH_DIGITS
            and (request_id is None or len(request_id) <= REQUEST_ID_MAX)
            and seen.fits(self.front, self.parser, self.url, self._fields)
        ):
            self._is_seen = True
            exchange = Exchange(self, seen.door, request_id, keep_alive=not self._is_closing)
            self._let_in(exchange, int(length))
        else:
            self._is_seen = False
            self._examine()

    def _let_in(self, exchange: Exchange, length: int | None) -> None:
        """Collect the body of a request that may become a call, unless it is too large."""
        self._reading = exchange
        if length is not None and (length >= LARGE_MIN or length > exchange.limit):
            trouble = exchange.announce(length, is_parsed=self.parser.should_upgrade())
            if trouble is not None:
                self._refuse(exchange, trouble, length)
                return
            self._large = exchange.large
        if self._active is None and not exchange.expects_continue:
            self._active = exchange  # its body is still to come
        else:
            self._queue(exchange)

    def _examine(self) -> None:
        """Look at all of a head."""
        front, parser = self.front, self.parser
        head = Head(self.url, self._fields, self._length, self._request_id)
        self._fields = []  # for trailers
        version, method, length = parser.get_http_version(), parser.get_method(), head.length
        flaw = (
            head.flaw
            or size_flaw(front.settings, head.size, len(head.headers))
            or head_flaw(front.hosts, version, method, self.url, head.known)
        )
        found = None if flaw is not None else front.table.find(self.url)
        if parser.should_upgrade():
            self._unparsed = length or 0
            if length is None:
                flaw = flaw or bad_request("an upgrade cannot have a chunked body")
        if flaw is None and found is None:
            if length is None or length <= front.settings.upload_max_bytes:
                self._to_site(head)
                return
            flaw = too_large(front.settings.upload_max_bytes, length)
        if flaw is not None or found is None:
            door: Door | Trouble = flaw or bad_request("it goes nowhere")
        else:
            door = open_door(front, found, method, head.known, length)
        exchange = self._exchange(head, version, None if isinstance(door, Trouble) else door)
        if isinstance(door, Trouble):
            exchange.is_head = method == b"HEAD"
            self._refuse(exchange, door, None if flaw else length)
        else:
            self._let_in(exchange, length)

    def _exchange(self, head: Head, version: str, door: Door | None) -> Exchange:
        """Make an exchange, also of a request that is refused, wherever it was to go."""
        parser, is_old = self.parser, version == "1.0"
        lives_on = parser.should_keep_alive() and not is_old and not parser.should_upgrade()
        given_id = head.known.get(REQUEST_ID)
        exchange = Exchange(self, door, given_id, keep_alive=lives_on and not self._is_closing)
        if is_old:
            exchange.http10 = True
        else:
            exchange.expects_continue = head.expects_continue
        # A reference to a payload is good for a time, and for an empty body.
        if (
            door is not None
            and not door.payload
            and is_worth_keeping(self.front, head, lives_on=lives_on)
        ):
            self._seen, self._is_seen = Seen(self.front, head, door), True
        return exchange

    def _refuse(self, exchange: Exchange, trouble: Trouble, length: int | None) -> None:
        """Answer without a call; a short body is still read, and the connection lives on."""
        exchange.trouble = trouble
        self._reading = exchange
        if length is None or length > DISCARD_MAX or exchange.expects_continue:
            self._stop_reading(exchange)
        self._queue(exchange)

    def _to_site(self, head: Head) -> None:
        """Hand the request to uvicorn's cycle, which calls the site through ASGI."""
        super().on_message_begin()  # makes the scope, which exchanges do without
        self.url = head.url
        self.headers.extend(head.headers)
        self.expect_100_continue = head.expects_continue
        self.cycle = None  # type: ignore[assignment]  # or uvicorn would queue it: `_start_asgi_task` does
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        turn = AsgiTurn(cycle, lambda: super(Intake, self)._start_asgi_task(cycle, app))
        if self._is_closing:
            turn.keep_alive = False
        self._reading = turn
        self._queue(turn)

    # -- a body ----------------------------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        self._raw = 0
        self._since_ns = self.front.coarse_ns
        turn = self._reading
        if isinstance(turn, Exchange):
            if turn.trouble is None and not turn.take(body):
                self._give_up(turn)
        elif turn is not None:
            if turn.count(len(body)) > self.front.settings.upload_max_bytes:
                self.transport.abort()
                return
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_deaf or self._unparsed:
            return
        if self._length is None and len(self._fields) > self.front.settings.fields_max:
            raise ValueError("too many trailers")  # only what is chunked has any
        self._phase = "idle"
        self._since_ns = self.front.coarse_ns
        turn, self._reading = self._reading, None
        self._large = None
        if type(turn) is Exchange:
            turn.is_whole = True
            if self._active is turn:
                turn.start()
        elif turn is not None:
            super().on_message_complete()

    def _stop_reading(self, exchange: Exchange) -> None:
        """Answer without the body: the rest of it is dropped, and the connection closed after the answer."""
        if self._large is not None:
            self._large.end()
            self._large = None
        exchange.keep_alive = False
        exchange.is_whole = True
        self._is_deaf = True
        self._reading = None
        self._raw = 0
        self._phase = "body"

    def _take_large(self, rest: memoryview) -> None:
        """Take what came of a large body together with its head, and what came behind it."""
        large, exchange = self._large, self._reading
        assert large is not None, "just announced"
        assert isinstance(exchange, Exchange), "bodies for the site are not collected"
        piece = rest[: large.missing]
        if not exchange.take(piece):
            self._give_up(exchange)
        elif not large.missing:
            self._end_large(large)
            if len(piece) < len(rest):
                self.data_received(bytes(rest[len(piece) :]))

    def received(self) -> None:
        """Note that more of a large body is in its place."""
        self._since_ns = self.front.coarse_ns
        large, exchange = self._large, self._reading
        if large is None or not isinstance(exchange, Exchange):
            return
        if not exchange.make_room():
            self._give_up(exchange)
        elif not large.missing:
            self._end_large(large)

    def _end_large(self, large: LargeBody) -> None:
        large.end()
        # The old parser waits for a body that it will never see.
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self.on_message_complete()

    def _give_up(self, exchange: Exchange) -> None:
        """Answer a request whose body cannot be taken."""
        self._stop_reading(exchange)
        if self._active is exchange:
            exchange.start()

    def _enter_phase(self, phase: Phase) -> None:
        self._phase = phase
        self._since_ns = self.front.coarse_ns
