"""How do calls get to a replica and answers back? One connection of frames for each replica, calls multiplexed."""

import asyncio
import hmac
import logging
import secrets
from collections.abc import Callable
from struct import Struct

from msgspec.structs import replace

from glowplug.errors import WireError
from glowplug.wire.frames import FLAG_END, META_MAX, Kind
from glowplug.wire.messages import (
    MALFORMED,
    Hello,
    Infer,
    Response,
    pack,
    unpack_failure,
    unpack_hello,
    unpack_response,
    unpack_trailer,
)
from glowplug.wire.transport import FrameProtocol
from glowplug_router.gateway.calls import Call
from glowplug_router.gateway.engine import Engine

_U64 = Struct("<Q")
# An enum's members cost more to reach and to compare than numbers do, and this is done for every frame.
_HELLO, _INFER, _RESPONSE, _CHUNK, _END, _ERROR = map(
    int, (Kind.HELLO, Kind.INFER, Kind.RESPONSE, Kind.CHUNK, Kind.END, Kind.ERROR)
)
AHEAD_MAX = 64  # calls beyond the permits, whatever a replica says
HEAD_MAX = (
    META_MAX - 1024
)  # bytes of an answer's head: what is put to it for another replica must fit, too
OWED_MAX = 1024 * 1024  # bytes of one stream without credit: four times its window
_BODILESS = (204, 304)
_NO_TRAILER = unpack_trailer(pack([]))
_LOG = logging.getLogger("glowplug.gateway")


class Inbox:
    """What a link does with frames of streams that the replica opens; see `nested`."""

    def take(
        self, link: "DataLink", kind: int, flags: int, rid: int, meta: bytes, body: bytes
    ) -> None:
        """Take one frame of such a stream."""
        raise NotImplementedError

    def drop(self, link: "DataLink") -> None:
        """Forget the streams of a link that is gone."""
        raise NotImplementedError


class DataLink(FrameProtocol):
    """The gateway's end of a replica's data socket. We dial, so our streams have odd numbers."""

    def __init__(self, engine: Engine, inbox: Inbox, hello: Hello, replica: str) -> None:
        super().__init__()
        self.replica = replica
        self.version = ""
        self.phases: tuple[tuple[str, int], ...] = ()  # of the replica's start, from the snapshot
        self.gone = asyncio.Event()
        self.pending: dict[int, Call] = {}
        self.is_leaving = False
        self.is_cut_off = False  # it lied
        self._engine = engine
        self._inbox = inbox
        self._hello = hello
        self._next = 1
        self._key = ""  # the version that the snapshot lists it for; "" where nobody told
        self._permits_max = 0  # 0: no bound
        self._permits = 0  # calls that it runs at once
        self._said: Hello | None = None  # while it takes calls
        # It goes out with every call. Code inside a call calls on by it, and by the id of a call that is in flight on
        # this very connection: what one rank knows is of no use to another, or when the connection is gone.
        self._token = secrets.token_hex(16)
        self._when_idle: Callable[[], None] | None = None

    def listed(self, key: str, permits: int) -> None:
        """Take what the snapshot says of the replica: it bounds what the replica says of itself."""
        if (key, permits) != (self._key, self._permits_max):
            self._key, self._permits_max = key, permits
            if self._said is not None and not self.is_leaving:
                self._ready(self._said)

    # -- Carrier -------------------------------------------------------------------------------------

    def carry(self, call: Call, timeout_ns: int) -> None:
        """Send a call."""
        rid = call.rid = self._next
        self._next = rid + 2
        self.pending[rid] = call
        lane = call.lane
        infer = Infer(
            call.path,
            "POST",
            "native",
            call.query,
            call.headers,
            lane.name,
            lane.key,
            call.tenant,
            call.klass,
            timeout_ns,
            call.trace,
            call.request_id,
            call.idempotency_key,
            call.attempt,
            call.chain,
            "",
            self._token,
            lane.dev or call.shows_code,
            call.payload,
            call.offload,
        )
        self.send(_INFER, rid, pack(infer), call.body, FLAG_END)

    def parent(self, request_id: str, token: str) -> Call | None:
        """Return the call in flight here that code may call on for with this token; None for none."""
        call = self._engine.by_request.get(request_id)
        if call is None or call.link is not self or call.over:
            return None
        return call if hmac.compare_digest(token.encode(), self._token.encode()) else None

    def cancel(self, call: Call) -> None:
        """Say that nobody waits for a call. The replica still ends the stream, when the permit is free."""
        if call.rid in self.pending:
            self.send(Kind.CANCEL, call.rid)

    def credit(self, call: Call, size: int) -> None:
        """Say that bytes of a streamed answer were taken."""
        size = min(size, call.owed)  # another replica may take them, and say anything
        if size:
            call.owed -= size
            self.send(Kind.CREDIT, call.rid, _U64.pack(size))

    # -- frames --------------------------------------------------------------------------------------

    def connected(self) -> None:
        """Greet."""
        self.greet()

    def greet(self) -> None:
        """Say who we are, and what memory we offer for large bodies."""
        self.send(Kind.HELLO, 0, pack(replace(self._hello, ring=self.ring_offer())))

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        """Hand a frame to the call it belongs to."""
        try:
            if rid & 1:
                call = self.pending.get(rid)
                if call is None:
                    return
                if len(meta) > HEAD_MAX:
                    raise WireError(f"the head of an answer has {len(meta)} bytes")
                if kind == _RESPONSE and flags & FLAG_END:
                    self._whole(call, unpack_response(meta), body)
                else:
                    self._answered(call, kind, flags, meta, body)
            elif kind == _HELLO:
                self._greeted(unpack_hello(meta))
            else:
                self._inbox.take(self, kind, flags, rid, meta, body)
        except MALFORMED as error:
            self.is_cut_off = True
            _LOG.warning("cut off replica %s: %s", self.replica, error)
            self.abort()

    def _whole(self, call: Call, response: Response, body: bytes) -> None:
        """Take an answer in one piece; nearly all are."""
        if call.begun or not 200 <= response.status <= 599:
            raise WireError(f"status {response.status} is no answer, or a second one")
        del self.pending[call.rid]
        if response.batch > 0:
            self._count(call, response)
        self._engine.whole(call, response, body)
        if self._when_idle is not None and not self.pending:
            self._when_idle()

    def _answered(self, call: Call, kind: int, flags: int, meta: bytes, body: bytes) -> None:
        if kind == _RESPONSE:
            response = unpack_response(meta)
            status = response.status
            if call.begun or not 200 <= status <= 599 or status in _BODILESS:
                raise WireError(f"status {status} begins no stream, or a second one")
            if response.batch > 0:
                self._count(call, response)
            call.owed = len(body)
            self._engine.begin(call, response, body)
        elif kind == _CHUNK and not flags & FLAG_END:
            self._chunk(call, body)
        elif kind in (_END, _CHUNK):
            self._chunk(call, body)
            self._end(call.rid)
            self._engine.end(call, unpack_trailer(meta) if meta else _NO_TRAILER)
        elif kind == _ERROR:
            self._end(call.rid)
            self._engine.fail(call, unpack_failure(meta), body)

    def _count(self, call: Call, response: Response) -> None:
        most = max(1, self._permits)
        call.lane.tally.batch(min(response.batch, most), response.flush)

    def _chunk(self, call: Call, body: bytes) -> None:
        if not call.begun:
            raise WireError("an answer goes on that has not begun")
        call.owed += len(body)
        if call.owed > OWED_MAX:
            raise WireError(f"{call.owed} bytes of a stream came without credit")
        if body:
            self._engine.chunk(call, body)

    def _end(self, rid: int) -> None:
        del self.pending[rid]
        if self._when_idle is not None and not self.pending:
            self._when_idle()

    def _greeted(self, hello: Hello) -> None:
        if hello.name and hello.name != self.replica:
            self.abort()  # another process listens at this address now
            return
        self.hear_offer(hello.ring)
        if hello.state == "draining":
            self.leave()
        elif hello.state in ("", "ready") and not self.is_leaving:
            self._ready(hello)

    def _ready(self, hello: Hello) -> None:
        """Let it have calls: of the endpoint that it is listed for, and no more at once than it is listed with."""
        version = hello.version or self.version or self._key
        # A replica that is swapped in place says so before the snapshot does.
        if self._key and _endpoint(version) != _endpoint(self._key):
            raise WireError(f"it says that it is {version}, and is listed as {self._key}")
        self.version, self._said = version, hello
        permits = max(0, hello.permits)
        if self._permits_max > 0:
            permits = min(permits, self._permits_max)
        self._permits = permits
        ahead = min(max(0, hello.ahead), AHEAD_MAX)
        self._engine.replica_ready(self, version, permits, ahead)

    def leave(self) -> None:
        """Take no more calls; those that are under way go on."""
        if not self.is_leaving:
            self.is_leaving = True
            self._engine.replica_leaving(self.replica)

    def close_when_idle(self) -> None:
        """Take no more calls and close when the last has ended."""
        self.leave()
        self._when_idle = self.close
        if not self.pending:
            self.close()

    def lost(self, error: Exception | None) -> None:
        """Tell everybody; the calls that were under way end."""
        self.pending.clear()
        self._when_idle = None
        self._inbox.drop(self)
        self._engine.replica_lost(self.replica)
        self.gone.set()


def _endpoint(version: str) -> str:
    return version.rpartition("@")[0]
