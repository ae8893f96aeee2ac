"""What may a connection do to us? An HTTP/1.1 protocol with limits, on uvicorn's httptools machinery.

uvicorn bounds neither headers nor time: it swallows a header of 67 MB and waits for ever for the next byte. This class
counts what is read before the parser can keep it, watches every phase of a connection by the gateway's pulse (one timer
for all connections), and checks what a request must have before anything else happens: one Host that is ours, an Origin
that may write, a body that is framed in one way only.

Requests for endpoints become an `Exchange` and never see ASGI; all others go through uvicorn's own cycle to the site.
Both are *turns*: a connection may send requests ahead (pipelining), and they are answered in order, one at a time.
"""

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from glowplug_router.gateway.exchange import Exchange, too_large
from glowplug_router.gateway.flaws import head_flaw, size_flaw
from glowplug_router.gateway.patience import Phase, verdict
from glowplug_router.gateway.problems import Trouble, bad_request
from glowplug_router.gateway.routes import Found
from glowplug_router.gateway.turns import AsgiTurn
from glowplug_router.gateway.wishes import ENCODING, EXPECT, KNOWN, LENGTH, ONCE

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from glowplug_router.gateway.front import Front

PIPELINE_MAX = 64  # requests sent ahead on one connection
DISCARD_MAX = 64 * 1024  # a refused body up to this is read to its end, and the connection lives on
LINGER_BYTES = 256 * 1024 * 1024  # a refused larger one is dropped up to this, then cut off
SILENT_MAX = 512 * 1024  # bytes in a body's place that are no body: chunk extensions, trailers

Turn = Exchange | AsgiTurn


class Guard(HttpToolsProtocol):
    """One connection."""

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
        self._stalled_ns = 0  # since when the client takes no bytes; 0 = it does
        self._raw = 0  # bytes of this head, or since the last piece of body
        self._head_bytes = 0  # of this head, as parsed
        self._fields = 0
        self._unparsed = 0  # bytes of a body that the parser does not take: see `_take_unparsed`
        self._known: dict[bytes, bytes] = {}
        self._flaw: Trouble | None = None  # what is wrong with the head being read
        self._is_fresh = True  # nothing was ever received
        self._reading: Turn | None = None  # whose body is arriving
        self._active: Turn | None = None  # whose answer is due
        self._turns: deque[Turn] = deque()  # sent ahead
        self._is_closing = False  # answer what is there, then close
        self._is_deaf = False  # what still arrives is not HTTP, or not wanted

    # -- connection ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > self.front.settings.connections_max:
            self._refuse_rest(
                Trouble("overloaded", "too many connections", retry_after_ns=1_000_000_000)
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        turns = [turn for turn in (self._active, *self._turns, self._reading) if turn is not None]
        self._active = self._reading = None
        self._turns.clear()
        for turn in dict.fromkeys(turns):
            turn.gone()
        if self.flow is not None:
            self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]  # breaks a cycle of references, as uvicorn does

    def data_received(self, data: bytes) -> None:
        self._is_fresh = False
        if self._phase == "idle" and not self._is_deaf:
            self._enter_phase("head")
            self._raw = 0
        self._raw += len(data)
        if self._is_deaf:
            if self._raw > LINGER_BYTES:
                self.transport.abort()
            return
        if self._unparsed:
            self._take_unparsed(data)
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._take_unparsed(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse_rest(self._flaw or bad_request(f"not an HTTP/1.1 request: {error}"))
        else:
            self._check_volume()

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
        elif self._phase == "body" and self._raw > SILENT_MAX:
            self._refuse_rest(bad_request("the body has too much chunk framing"))

    def shutdown(self) -> None:
        """Answer what is under way, then close: the server is stopping."""
        self._is_closing = True
        if self._active is None and self._reading is None:
            self.transport.close()
        for turn in (self._active, *self._turns, self._reading):
            if turn is not None:
                turn.keep_alive = False

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled_ns = self.front.coarse_ns

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled_ns = 0
        if self._active is not None:
            self._active.drained()

    # -- a head ------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_deaf:
            return
        self.url = b""
        self.headers = []
        self._known = {}
        self._head_bytes = self._fields = 0
        self._flaw = None
        if self._phase != "head":
            self._enter_phase("head")

    def on_url(self, url: bytes) -> None:
        self.url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._phase == "body":  # a trailer: counted, and never mixed with the head
            if self._fields > self.front.settings.fields_max:
                raise ValueError("too many trailers")
            return
        name = name.lower()
        self.headers.append((name, value))
        if name in KNOWN:
            known = self._known
            if name not in known:
                known[name] = value
            elif name in ONCE:
                self._flaw = bad_request(f"there are two {name.decode()} headers")
            else:
                known[name] += b", " + value

    def on_headers_complete(self) -> None:
        if (
            self._is_deaf
        ):  # what follows a refusal in the same packet must never be taken for a request
            return
        parser, known = self.parser, self._known
        self._enter_phase("body")
        self._body_since_ns = self._since_ns
        self._raw = 0
        version, method = parser.get_http_version(), parser.get_method()
        length = int(known[LENGTH]) if LENGTH in known else (None if ENCODING in known else 0)
        flaw = (
            self._flaw
            or size_flaw(self.front.settings, self._head_bytes, self._fields)
            or head_flaw(self.front.hosts, version, method, self.url, known)
        )
        found = None if flaw is not None else self.front.table.find(self.url)
        upgrade = parser.should_upgrade()
        if upgrade:
            self._unparsed = length or 0
            if length is None:
                flaw = flaw or bad_request("an upgrade cannot have a chunked body")
        if flaw is None and found is None:
            if length is None or length <= self.front.settings.upload_max_bytes:
                self._to_site()
                return
            flaw = too_large(self.front.settings.upload_max_bytes, length)
        self._to_endpoint(found, flaw, version, method, length)

    def _to_endpoint(
        self,
        found: Found | None,
        flaw: Trouble | None,
        version: str,
        method: bytes,
        length: int | None,
    ) -> None:
        """Make an exchange of the request; also of one that is refused, wherever it was to go."""
        parser, is_old = self.parser, version == "1.0"
        lives_on = parser.should_keep_alive() and not (
            is_old or parser.should_upgrade() or self._is_closing
        )
        exchange = Exchange(self, self.front, self._known, http10=is_old, keep_alive=lives_on)
        exchange.is_head = method == b"HEAD"
        if found is not None and flaw is None:
            exchange.enter(found, method, length)
        else:
            exchange.trouble = flaw
        self._reading = exchange
        is_long = length is None or length > DISCARD_MAX or exchange.expects_continue
        if exchange.trouble is not None and (is_long or flaw is not None):
            self._stop_reading(exchange)
        self._queue(exchange)

    def _to_site(self) -> None:
        """Hand the request to uvicorn's cycle, which calls the site through ASGI."""
        url, headers = self.url, self.headers
        super().on_message_begin()  # makes the scope, which exchanges do without
        self.url = url
        self.headers.extend(headers)
        self.expect_100_continue = self._known.get(EXPECT, b"").lower() == b"100-continue"
        self.cycle = None  # type: ignore[assignment]  # or uvicorn would queue it: `_start_asgi_task` does
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        turn = AsgiTurn(cycle, lambda: super(Guard, self)._start_asgi_task(cycle, app))
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
                self._stop_reading(turn)
                if self._active is turn:
                    turn.start()
        elif turn is not None:
            if turn.count(len(body)) > self.front.settings.upload_max_bytes:
                self.transport.abort()
                return
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_deaf or self._unparsed:
            return
        self._enter_phase("idle")
        turn, self._reading = self._reading, None
        if isinstance(turn, Exchange):
            turn.is_whole = True
            if self._active is turn:
                turn.start()
        elif turn is not None:
            super().on_message_complete()

    def _stop_reading(self, exchange: Exchange) -> None:
        """Answer without the body: the rest of it is dropped, and the connection closed after the answer."""
        exchange.keep_alive = False
        exchange.is_whole = True
        self._is_deaf = True
        self._reading = None
        self._raw = 0
        self._phase = "body"

    # -- turns -----------------------------------------------------------------------------------------

    def _queue(self, turn: Turn) -> None:
        if self._active is None:
            self._active = turn
            turn.begin()
            return
        self._turns.append(turn)
        self.flow.pause_reading()
        if len(self._turns) > PIPELINE_MAX:
            self.transport.abort()

    def answered(self, turn: Turn) -> None:
        """Go on after an answer: close, or let the next request have its turn."""
        self.server_state.total_requests += 1
        self._active = None
        if self.transport.is_closing():
            return
        if not turn.keep_alive or self._is_closing:
            self._close()
            return
        if self._turns:
            self._active = self._turns.popleft()
            self._active.begin()
        if not self._turns:
            self.flow.resume_reading()
        if self._phase != "body":
            self._since_ns = self.front.coarse_ns

    def on_response_complete(self) -> None:
        """Follow uvicorn's cycle: the site has answered."""
        if self._active is not None:
            if self._reading is self._active:  # it did not want the body
                self._active.keep_alive = False
                self._is_deaf = True
                self._reading = None
            self.answered(self._active)

    def _refuse_rest(self, trouble: Trouble) -> None:
        """Refuse what is being read, after what was asked before it is answered; nothing more is read."""
        if isinstance(self._reading, Exchange):
            exchange = self._reading
            exchange.trouble = exchange.trouble or trouble
            self._stop_reading(exchange)
            if self._active is exchange:
                exchange.start()
            return
        if self._is_deaf:
            return
        if isinstance(self._reading, AsgiTurn):
            if not self._reading.withdraw():  # its answer has begun: there is no second one
                self.transport.close()
                return
            if self._active is self._reading:
                self._active = None
        exchange = Exchange(self, self.front, {}, http10=False, keep_alive=False)
        exchange.trouble = trouble
        self._stop_reading(exchange)
        self._queue(exchange)

    def _close(self) -> None:
        """Close; where the client may still be sending, only after it has had the time to read the answer."""
        if not self._is_deaf or self.parser is None:
            self.transport.close()
            return
        self._enter_phase("linger")
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    # -- time ------------------------------------------------------------------------------------------

    def _enter_phase(self, phase: Phase) -> None:
        self._phase = phase
        self._since_ns = self.front.coarse_ns

    def sweep(self, now_ns: int) -> None:
        """Look at the time. Called with the gateway's pulse."""
        found = verdict(
            self.front.settings,
            self._phase,
            now_ns - self._since_ns,
            body_ns=now_ns - self._body_since_ns,
            stalled_ns=now_ns - self._stalled_ns if self._stalled_ns else 0,
            is_busy=self._active is not None,
            is_paused=self.flow.read_paused or (self._phase == "body" and self._reading is None),
            is_upload=isinstance(self._reading, AsgiTurn),
        )
        if found == "abort":
            self.transport.abort()
        elif found == "close" or (
            found and self._is_fresh
        ):  # it never said anything: there is nothing to answer
            self.transport.close()
        elif found:
            self._refuse_rest(Trouble("request_timeout", f"the {found} did not arrive in time"))
