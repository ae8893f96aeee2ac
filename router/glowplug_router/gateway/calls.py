"""What does the gateway know of one call, and to whom does it answer?"""

from typing import Protocol

from glowplug.errors import Executed
from glowplug.spec import Class
from glowplug.wire.messages import Response, Trailer
from glowplug_router.gateway.problems import Trouble
from glowplug_router.gateway.routes import Lane
from glowplug_router.records.calls import ColdCall

CREDIT_STEP = 64 * 1024  # bytes taken before the rank is told: a quarter of its 256 KiB window
Headers = tuple[tuple[str, str], ...]


class Caller(Protocol):
    """Who waits for a call: an HTTP exchange, or code in a rank. It gets one final `head`, `end` or `fail`."""

    def head(self, call: "Call", response: Response, body: bytes, *, final: bool) -> None:
        """Take the head of the answer with the first piece of its body, or all of it."""
        ...

    def chunk(self, call: "Call", body: bytes) -> None:
        """Take a further piece of a streamed answer."""
        ...

    def end(self, call: "Call", trailer: Trailer) -> None:
        """Take the end of a streamed answer."""
        ...

    def fail(self, call: "Call", trouble: Trouble) -> None:
        """Take the failure, before or after `head`."""
        ...


class Carrier(Protocol):
    """What takes calls to a replica."""

    phases: tuple[tuple[str, int], ...]  # of the replica's start, with their ns

    @property
    def replica(self) -> str:
        """Return the replica's id."""
        ...

    def carry(self, call: "Call", timeout_ns: int) -> None:
        """Send the call; `timeout_ns` is what is left of a deadline that the caller set, 0 for none."""
        ...

    def cancel(self, call: "Call") -> None:
        """Tell the replica that nobody waits for the call any more."""
        ...

    def credit(self, call: "Call", size: int) -> None:
        """Tell the replica that so many bytes of a streamed answer were taken."""
        ...


class Call:
    """One call. A plain class with slots: it is made for every request."""

    __slots__ = (
        "affinity", "arrived_ns", "attempt", "begun", "body", "caller", "chain", "cold", "deadline_ns", "has_asked",
        "headers", "idempotency_key", "klass", "lane", "link", "number", "offload", "over", "owed", "parent", "path",
        "payload", "pinned", "query",
        "request_id", "rid", "sent_ns", "shows_code", "tenant", "trace",
    )  # fmt: skip  # a line each would hide the class

    def __init__(
        self,
        caller: Caller,
        lane: Lane,
        path: str,
        request_id: str,
        body: bytes | bytearray,
        deadline_ns: int,
        tenant: str,
        klass: Class,
        headers: Headers = (),
        query: str = "",
        trace: str = "",
        idempotency_key: str = "",
        chain: tuple[str, ...] = (),
        parent: int = 0,
        has_asked: bool = False,
        pinned: bool = False,
        shows_code: bool = False,
        affinity: str = "",
        payload: str = "",
        offload: bool = False,
    ) -> None:
        self.caller = caller
        self.lane = lane
        self.path = path
        self.request_id = request_id
        self.body = body
        self.deadline_ns = deadline_ns
        self.tenant = tenant
        self.klass: Class = klass
        self.headers = headers
        self.query = query
        self.trace = trace
        self.idempotency_key = idempotency_key
        self.chain = chain
        self.parent = parent
        self.has_asked = has_asked  # the caller set the deadline; otherwise it ends with the first byte of the answer
        self.pinned = pinned  # the caller named the version: no other will do
        self.shows_code = shows_code  # tracebacks may go to the caller
        self.affinity = affinity  # calls with the same text are best served by the same replica
        self.payload = payload  # the body was uploaded: its digest and size
        self.offload = offload  # the caller can fetch a large answer from elsewhere
        self.number = 0  # given by the engine
        self.arrived_ns = self.sent_ns = self.attempt = self.rid = 0
        self.link: Carrier | None = None
        self.begun = False  # the head of the answer came
        self.owed = 0  # bytes of a streamed answer that its replica has not been credited for
        self.over = False  # the caller has its answer, or went away
        self.cold = False  # no replica stood when it arrived

    def met_none(self, status: int, now_ns: int, wall_ns: int) -> ColdCall:
        """Return what is kept of a call that met no replica, now that it is over."""
        took_ns = now_ns - self.arrived_ns
        return ColdCall(
            request_id=self.request_id,
            version=self.lane.key,
            replica=self.link.replica if self.link is not None else "",
            status=status,
            arrived_wall_ns=wall_ns - took_ns,
            wait_ns=self.sent_ns - self.arrived_ns if self.link is not None else took_ns,
            took_ns=took_ns,
            phases=self.link.phases if self.link is not None else (),
        )

    @property
    def executed_so_far(self) -> Executed:
        """Return what can be said for certain while no answer is known."""
        return "no" if self.link is None else "maybe"
