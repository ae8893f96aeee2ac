"""Which call is this code running for, and how would it call on?

A rank sets `current` around every call. Client code asks it: inside a call, `g.remote(x)` goes through
`CurrentCall.transport` (the rank's own data link, with chain, deadline, class and trace inherited); outside, over HTTP.
"""

from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from glowplug.spec import Class


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A call about to leave: a body that is already encoded, and where it goes."""

    app: str
    endpoint: str
    version: str = ""  # "", "v12" or "stable"
    content_type: str = "application/json"
    accept: str = "application/json"
    body: bytes = b""
    timeout_s: float | None = (
        None  # None = what is left of the caller's deadline, or the endpoint's own
    )
    klass: Class | None = None
    affinity: str = ""  # calls with the same text are best served by the same replica


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: a status, headers (lower-case names) and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Transport(Protocol):
    """Carries calls to a router: over HTTP from a user's process, over the data link from inside a rank."""

    def call(self, outgoing: Outgoing) -> Answer:
        """Send and wait, blocking this thread."""
        ...

    async def acall(self, outgoing: Outgoing) -> Answer:
        """Send and wait."""
        ...

    def stream(self, outgoing: Outgoing) -> Iterator[bytes]:
        """Send and yield the JSON text (or raw bytes) of each item; raise `CallError` where it breaks."""
        ...

    def astream(self, outgoing: Outgoing) -> AsyncIterator[bytes]:
        """Like `stream`, without blocking."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """The call this code runs for, as a record."""

    request_id: str
    app: str
    endpoint: str
    version: str
    tenant: str
    klass: Class
    deadline_ns: int  # monotonic, of this host
    attempt: int = 1
    chain: tuple[str, ...] = ()
    trace: str = ""  # W3C traceparent
    transport: Transport | None = None


class CurrentCall(Protocol):
    """What may be asked about the call this code runs for. A rank's own calls answer themselves: nothing is built."""

    @property
    def request_id(self) -> str:
        """Return the id that the caller sees."""
        ...

    @property
    def app(self) -> str:
        """Return the app of the endpoint."""
        ...

    @property
    def endpoint(self) -> str:
        """Return the name of the endpoint."""
        ...

    @property
    def version(self) -> str:
        """Return the version that runs."""
        ...

    @property
    def tenant(self) -> str:
        """Return the owner of the key."""
        ...

    @property
    def klass(self) -> Class:
        """Return the priority class."""
        ...

    @property
    def deadline_ns(self) -> int:
        """Return when it must have ended: monotonic, of this host."""
        ...

    @property
    def attempt(self) -> int:
        """Return which try this is, from 1."""
        ...

    @property
    def chain(self) -> tuple[str, ...]:
        """Return the calls above this one, outermost first."""
        ...

    @property
    def trace(self) -> str:
        """Return the W3C traceparent."""
        ...

    @property
    def transport(self) -> Transport | None:
        """Return how to call on."""
        ...


@dataclass(slots=True, kw_only=True)
class Context:
    """What a lifecycle hook may ask: `def load(self, ctx): ...`; a hook without a parameter gets none."""

    app: str
    endpoint: str
    version: str
    device: str  # "cpu" or "cuda"
    gpus: tuple[str, ...] = ()  # UUIDs of the devices this replica owns
    volumes: dict[str, Path] = field(default_factory=dict)
    reason: Literal["", "stop", "scale", "deploy", "lease"] = ""  # on.drain: why
    deadline_s: float = 0.0  # on.drain: seconds left


current: ContextVar[CurrentCall | None] = ContextVar("glowplug_call", default=None)
