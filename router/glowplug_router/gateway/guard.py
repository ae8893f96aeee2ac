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
from typing import TYPE_CHECKING, Any

from glowplug_router.gateway.exchange import Exchange
from glowplug_router.gateway.intake import Intake, Turn
from glowplug_router.gateway.patience import verdict
from glowplug_router.gateway.problems import Trouble
from glowplug_router.gateway.turns import AsgiTurn

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from glowplug_router.gateway.front import Front

PIPELINE_MAX = 64  # requests sent ahead on one connection


class Guard(Intake):
    """One connection."""

    def __init__(
        self,
        front: "Front",
        config: "Config",
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(front, config, server_state, app_state, _loop)
        self._stalled_ns = 0  # since when the client takes no bytes; 0 = it does

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
        self._large = None  # they know each other: the collector would come late for it
        self._turns.clear()
        for turn in dict.fromkeys(turns):
            turn.gone()
        if self.flow is not None:
            self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]  # breaks a cycle of references, as uvicorn does

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
        if self.flow.read_paused and not self._turns:
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
            self._give_up(exchange)
            return
        if self._is_deaf:
            return
        if isinstance(self._reading, AsgiTurn):
            if not self._reading.withdraw():  # its answer has begun: there is no second one
                self.transport.close()
                return
            if self._active is self._reading:
                self._active = None
        exchange = Exchange(self, None, None, keep_alive=False)
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
