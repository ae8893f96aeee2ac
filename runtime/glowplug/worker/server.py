"""Who may call this rank now, and how do frames become calls? The data socket's side of the gateway's links.

Permits are counted and enforced here, so that several gateways need no shared counters: a call beyond them is refused
as `busy`, unexecuted, and goes elsewhere. One timer serves all calls: it stands at the earliest end, and calls that end
before theirs (nearly all) cost it nothing.
"""

import asyncio
import threading
from collections.abc import Callable
from struct import Struct

from glowplug.clock import SECOND, Clock
from glowplug.context import Transport
from glowplug.errors import WireError
from glowplug.wire.frames import BODY_MAX, FLAG_END, Kind
from glowplug.wire.messages import MALFORMED, Failure, Hello, Infer, pack, unpack_infer
from glowplug.wire.transport import FrameProtocol
from glowplug.worker.call import Call
from glowplug.worker.capture import Captured, LogFile
from glowplug.worker.compute import Compute, Outbox
from glowplug.worker.failures import fault
from glowplug.worker.inside import Ask, Inside
from glowplug.worker.program import Program

STUCK_GRACE_NS = SECOND  # a synchronous handler this long past its limit will not come back
LINKS_MAX = 64  # gateways at once
_U64 = Struct("<Q")


class Server:
    """What all links of this rank share: permits, calls, counters. Everything runs on the loop's thread."""

    def __init__(
        self,
        replica: str,
        clock: Clock,
        outbox: Outbox,
        compute: Compute,
        log: LogFile,
        captured: Captured,
    ) -> None:
        self.replica = replica
        self.now_ns = clock.now_ns
        self.loop = asyncio.get_running_loop()
        self.loop_thread = threading.get_ident()
        self.outbox = outbox
        self.compute = compute
        self.log = log
        self.captured = captured
        self.program: Program
        self.version = log.version
        self.state = "starting"
        self.epoch = 0
        self.permits = 0
        self.free = 0
        self.overdue = 0  # permits of calls that were answered, but whose threads still run
        self.calls: set[Call] = set()
        self.links: set[Link] = set()
        self.calls_done = 0
        self.busy_ns = 0
        self.last_call_wall_ns = 0
        self.on_idle: Callable[[], None] = _nothing
        self.on_stuck: Callable[[str], None] = _nothing_said
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0

    # -- what the rank tells it ------------------------------------------------------------------------

    def serve(self, program: Program, version: str) -> None:
        """Answer calls with this program from now on; calls under way end with theirs."""
        self.program = program
        self.version = version
        taken = self.permits - self.free
        self.permits = program.spec.concurrency
        self.free = self.permits - taken

    def announce(self, state: str, epoch: int) -> None:
        """Tell every gateway the state. A failed rank says `draining`: all a gateway must know is to send no more."""
        self.state = state
        self.epoch = epoch
        for link in self.links:
            link.greet()

    def hello(self) -> bytes:
        """Return the greeting."""
        state = "draining" if self.state in ("failed", "stopped") else self.state
        return pack(
            Hello(
                "replica",
                self.replica,
                epoch=self.epoch,
                permits=max(0, self.permits - self.overdue),
                version=self.version,
                state=state,
            )
        )

    def cancel_all(self) -> None:
        """End the calls under way: the drain's time is over."""
        for call in list(self.calls):
            call.abort(
                "replica_lost", "the replica was told to go, and the call did not end in time"
            )

    async def close(self) -> None:
        """Send what is queued, close every link and wait until they are; the caller bounds the wait."""
        if self._timer is not None:
            self._timer.cancel()
        links = list(self.links)
        for link in links:
            link.close()
        for link in links:
            await link.gone.wait()

    # -- calls -------------------------------------------------------------------------------------------

    def admit(self, link: "Link", rid: int, infer: Infer, body: bytes) -> Call | None:
        """Take a permit and return the call, or refuse it unexecuted and return None."""
        refusal = self._refusal(infer)
        if refusal is not None:
            code, detail = refusal
            failed = fault(code, detail, "no", infer.request_id)
            link.send(Kind.ERROR, rid, failed.meta, failed.body, FLAG_END)
            return None
        self.free -= 1
        now_ns = self.now_ns()
        call = Call(self, link, rid, infer, body, now_ns)
        self.calls.add(call)
        if self._timer is None or call.due_ns < self._timer_ns:
            self._arm(call.due_ns, now_ns)
        return call

    def _refusal(self, infer: Infer) -> tuple[str, str] | None:
        if self.state != "ready":
            leaving = self.state in ("draining", "failed", "stopped")
            return ("draining" if leaving else "unavailable"), f"the replica is {self.state}"
        if infer.protocol != "native":
            return "bad_request", f"this replica does not speak {infer.protocol!r}"
        if self.free <= 0:
            return "busy", f"all {self.permits} permits are taken"
        return None

    def end(self, call: Call) -> None:
        """Give the permit back: nothing of the call runs any more."""
        self.calls.discard(call)
        call.link.over(call.rid)
        call.inside = None  # it knows the call: no garbage for the collector
        self.free += 1
        if call.expired and call.task is None:
            self._hold_back(-1)
        if not self.calls:
            self.on_idle()

    def _hold_back(self, permits: int) -> None:
        """Tell gateways of permits they hold no call for: a call sent there would be refused until then."""
        self.overdue += permits
        for link in self.links:
            link.greet()

    def note(self, call: Call, code: str, status: int) -> None:
        """Count and log an answered call."""
        took_ns = self.now_ns() - call.started_ns
        self.calls_done += 1
        self.busy_ns += took_ns
        self.last_call_wall_ns = self._clock.wall_ns()
        self.log.call(call.infer.request_id, code, status, took_ns)

    @property
    def is_awaited(self) -> bool:
        """Say whether somebody waits for a call that still runs."""
        return any(not call.answered for call in self.calls)

    def transport(self, call: Call) -> Transport:
        """Return how the code of this call reaches other endpoints."""
        call.inside = Inside(call)
        return call.inside

    # -- time --------------------------------------------------------------------------------------------

    def _arm(self, due_ns: int, now_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = due_ns
        self._timer = self.loop.call_later(max(due_ns - now_ns, 0) / SECOND, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now_ns = self.now_ns()
        dues = [
            due_ns for call in list(self.calls) if (due_ns := self._look(call, now_ns)) is not None
        ]
        if dues:
            self._arm(min(dues), now_ns)

    def _look(self, call: Call, now_ns: int) -> int | None:
        """End a call whose time is over; return when to look at it again."""
        if not call.expired:
            if now_ns < call.due_ns:
                return call.due_ns
            if call.task is None:
                self._hold_back(1)  # before the answer, which would free the permit there
            call.expire()
        if call.ended or call.task is not None:
            return None
        limit_ns = call.program.spec.timeouts.run_ns
        lost_ns = call.started_ns + limit_ns + STUCK_GRACE_NS
        if now_ns < lost_ns:
            return lost_ns
        limit_s = limit_ns / SECOND
        self.on_stuck(
            f"request {call.infer.request_id} ran longer than {limit_s:g} s and its thread cannot be stopped"
        )
        return None


class Link(FrameProtocol):
    """One gateway's connection."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self.calls: dict[int, Call] = {}
        self.asks: dict[int, Ask] = {}
        self._arriving: dict[int, list[bytes]] = {}  # bodies that come in pieces
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
        self.send(Kind.HELLO, 0, self.server.hello())

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        try:
            if kind == Kind.INFER:
                self._infer(flags, rid, unpack_infer(meta), body)
            elif rid in self.asks:
                self._answer(kind, flags, rid, meta, body)
            elif rid in self.calls:
                self._more(kind, flags, rid, meta, body)
        except MALFORMED:
            self.abort()  # the peer does not speak as we do; its calls are cancelled by `lost`

    def lost(self, error: Exception | None) -> None:
        self.server.links.discard(self)
        self.gone.set()
        for call in list(self.calls.values()):
            call.cancel()
        gone = pack(Failure("unavailable", "maybe", True, "the connection to the gateway was lost"))
        for ask in list(self.asks.values()):
            ask.frame(Kind.ERROR, FLAG_END, gone, b"")
        self.asks.clear()
        self._arriving.clear()

    def _infer(self, flags: int, rid: int, infer: Infer, body: bytes) -> None:
        if not rid & 1 or rid in self.calls:
            raise WireError(f"request id {rid} is not the peer's to open now")
        call = self.server.admit(self, rid, infer, body)
        if call is None:
            return
        self.calls[rid] = call
        if flags & FLAG_END:
            call.start()
        else:
            self._arriving[rid] = [body]
            self._arrived += len(body)

    def _answer(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        ask = self.asks[rid]
        if flags & FLAG_END or kind == Kind.ERROR:
            del self.asks[rid]
        ask.frame(kind, flags, meta, body)

    def _more(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        call = self.calls[rid]
        if kind == Kind.CREDIT:
            size = _U64.unpack(meta)[0]
            if call.window is not None:
                call.window.credit(size)
        elif kind == Kind.CANCEL:
            self._forget(rid)
            call.cancel()
        elif kind in (Kind.CHUNK, Kind.END) and rid in self._arriving:
            self._piece(call, flags, body)

    def _piece(self, call: Call, flags: int, body: bytes) -> None:
        pieces = self._arriving[call.rid]
        pieces.append(body)
        self._arrived += len(body)
        if self._arrived > BODY_MAX:
            raise WireError(f"more than {BODY_MAX} bytes of unfinished requests")
        if body:
            self.send(Kind.CREDIT, call.rid, _U64.pack(len(body)))
        if flags & FLAG_END:
            call.body = b"".join(pieces)
            self._forget(call.rid)
            call.start()

    def over(self, rid: int) -> None:
        """Forget a call: nothing of it runs any more."""
        self.calls.pop(rid, None)
        if rid in self._arriving:
            self._forget(rid)

    def _forget(self, rid: int) -> None:
        self._arrived -= sum(map(len, self._arriving.pop(rid, ())))


def _nothing() -> None:
    return


def _nothing_said(_: str) -> None:
    return
