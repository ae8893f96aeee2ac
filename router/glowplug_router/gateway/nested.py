"""How does code inside a call make further calls? Its replica opens a stream on the data link."""

from struct import Struct
from typing import TYPE_CHECKING

from glowplug.clock import MILLISECOND, SECOND
from glowplug.payloads import LINK_PATH
from glowplug.problems import PROBLEMS
from glowplug.spec import AFFINITY_MAX, CHAIN_MAX
from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.messages import Failure, Infer, Response, Trailer, pack, unpack_infer
from glowplug_router.gateway.calls import Call, Headers
from glowplug_router.gateway.front import Held
from glowplug_router.gateway.links import DataLink, Inbox
from glowplug_router.gateway.payloads import PayloadRelay, PayloadStream
from glowplug_router.gateway.problems import Trouble, document
from glowplug_router.gateway.routes import Lane, Target, no_traffic, pinned, unknown_version
from glowplug_router.gateway.wishes import CLASSES, PASSED_ON

if TYPE_CHECKING:
    from glowplug_router.gateway.front import Front

STREAMS_MAX = 1024  # calls that one replica may have open through us
_U64 = Struct("<Q")


class NestedCaller:
    """A replica that waits for a call it made."""

    __slots__ = ("_link", "_rid", "_streams", "_upload", "call")

    def __init__(
        self, link: DataLink, rid: int, streams: dict[int, "Stream"], upload: "Upload | None" = None
    ) -> None:
        self.call: Call | None = None
        self._upload = upload  # what it counts for ends with this
        self._link = link
        self._rid = rid
        self._streams = streams

    def head(self, call: Call, response: Response, body: bytes, *, final: bool) -> None:
        headers = (
            *response.headers,
            ("x-request-id", call.request_id),
            ("glowplug-version", f"v{call.lane.number}"),
        )
        meta = pack(Response(response.status, headers, response.executed, response.timings))
        self._link.send(Kind.RESPONSE, self._rid, meta, body, FLAG_END if final else 0)
        if final:
            self.over()

    def chunk(self, call: Call, body: bytes) -> None:
        self._link.send(Kind.CHUNK, self._rid, b"", body)

    def end(self, call: Call, trailer: Trailer) -> None:
        self._link.send(Kind.END, self._rid, pack(trailer), b"", FLAG_END)
        self.over()

    def fail(self, call: Call, trouble: Trouble) -> None:
        self.refuse(trouble, call.request_id)

    def refuse(self, trouble: Trouble, request_id: str) -> None:
        """Answer with a failure."""
        row = PROBLEMS.get(trouble.code)
        retryable = row is not None and row.retryable
        retry_after_ms = trouble.retry_after_ns // MILLISECOND
        failure = Failure(trouble.code, trouble.executed, retryable, trouble.detail, retry_after_ms)
        self._link.send(
            Kind.ERROR, self._rid, pack(failure), document(trouble, request_id), FLAG_END
        )
        self.over()

    def over(self) -> None:
        """Forget the stream, and what its body counted for."""
        self._streams.pop(self._rid, None)
        if self._upload is not None:
            self._upload.release()


class Upload:
    """A call whose body is still arriving in pieces."""

    __slots__ = ("_held", "infer", "pieces", "size")

    def __init__(self, infer: Infer, held: Held) -> None:
        self.infer = infer
        self.pieces: list[bytes] = []
        self.size = 0
        self._held = held

    def more(self, piece: bytes, limit: int) -> Trouble | None:
        """Keep a piece, or say why it cannot be."""
        size = len(piece)
        if self.size + size > limit:
            return Trouble(
                "too_large", f"a call to {self.infer.endpoint} has a body over the limit"
            )
        if not self._held.take(size):
            detail = (
                f"calls in progress hold {self._held.limit} bytes of bodies, which is the limit"
            )
            return Trouble("overloaded", detail, retry_after_ns=SECOND)
        self.size += size
        self.pieces.append(piece)
        return None

    def whole(self) -> bytes:
        """Return the body; it counts as held until it is released."""
        body = b"".join(self.pieces)
        self.pieces.clear()
        return body

    def release(self) -> None:
        """Let go of what has arrived."""
        self._held.release(self.size)
        self.size = 0
        self.pieces.clear()


Stream = NestedCaller | Upload | PayloadStream


class NestedCalls(Inbox):
    """The streams that replicas opened, by link."""

    def __init__(self, front: "Front", payloads: PayloadRelay) -> None:
        self._front = front
        self._payloads = payloads
        self._streams: dict[DataLink, dict[int, Stream]] = {}
        self._serial = 0

    def take(
        self, link: DataLink, kind: int, flags: int, rid: int, meta: bytes, body: bytes
    ) -> None:
        streams = self._streams.setdefault(link, {})
        if kind == Kind.INFER and rid not in streams:
            self._opened(link, rid, meta)
        stream = streams.get(rid)
        match stream:
            case Upload() if kind in (Kind.INFER, Kind.CHUNK):
                self._more(link, rid, stream, body, is_last=bool(flags & FLAG_END))
            case Upload() if kind == Kind.CANCEL:
                del streams[rid]
                stream.release()
            case PayloadStream():
                stream.frame(kind, flags, meta, body)
            case NestedCaller(call=Call() as call):
                if kind == Kind.CANCEL:
                    stream.over()
                    self._front.engine.cancel(call)
                    # The reader of this stream waits for an end as ours does: a cancelled stream is ended too.
                    link.send(
                        Kind.ERROR,
                        rid,
                        pack(Failure("cancelled", call.executed_so_far)),
                        b"",
                        FLAG_END,
                    )
                elif kind == Kind.CREDIT and call.link is not None:
                    call.link.credit(call, _U64.unpack(meta)[0])
            case _:
                pass  # of a stream that is over

    def drop(self, link: DataLink) -> None:
        for stream in list(self._streams.pop(link, {}).values()):
            match stream:
                case PayloadStream():
                    stream.cancel()
                case Upload():
                    stream.release()
                case NestedCaller():
                    stream.over()
                    if stream.call is not None:
                        self._front.engine.cancel(stream.call)

    def _opened(self, link: DataLink, rid: int, meta: bytes) -> None:
        streams, infer = self._streams[link], unpack_infer(meta)
        head_max = self._front.settings.head_max_bytes
        opened: Stream | Trouble
        parent = link.parent(infer.parent, infer.call_token)
        if len(streams) >= STREAMS_MAX:
            opened = Trouble("overloaded", f"{link.replica} has {STREAMS_MAX} calls open already")
        elif parent is None:
            opened = _stranger(link, infer)
        elif len(meta) > head_max:  # the replica that is called would not take it, and cut us off
            opened = Trouble("headers_too_large", f"a call may say {head_max} bytes of itself")
        elif infer.path != LINK_PATH:
            opened = Upload(infer, self._front.held)
        else:
            opened = self._payloads.open(link, rid, infer, parent, lambda: streams.pop(rid, None))
        if isinstance(opened, Trouble):
            NestedCaller(link, rid, streams).refuse(opened, infer.request_id)
        else:
            streams[rid] = opened

    def _more(
        self, link: DataLink, rid: int, upload: Upload, body: bytes, *, is_last: bool
    ) -> None:
        trouble = upload.more(body, self._front.settings.body_max_bytes)
        if trouble is None and not is_last:
            return
        streams = self._streams[link]
        caller = streams[rid] = NestedCaller(link, rid, streams, upload)
        if trouble is not None:
            caller.refuse(trouble, "")
        else:
            self._open(link, caller, upload.infer, upload.whole())

    def _open(self, link: DataLink, caller: NestedCaller, infer: Infer, body: bytes) -> None:
        parent = link.parent(infer.parent, infer.call_token)
        if parent is None:
            caller.refuse(_stranger(link, infer), infer.request_id)
            return
        chain = (*parent.chain, parent.lane.name)
        request_id = self._new_id(parent)
        if len(chain) >= CHAIN_MAX:
            detail = f"{' → '.join(chain)} → {infer.endpoint}: that is more than {CHAIN_MAX}"
            caller.refuse(Trouble("too_deep", detail), request_id)
            return
        found = self._lane(infer)
        if isinstance(found, Trouble):
            caller.refuse(found, request_id)
            return
        target, lane = found
        call = caller.call = Call(
            caller,
            lane,
            target.path,
            request_id=request_id,
            body=body,
            deadline_ns=self._deadline(parent, infer),
            tenant=parent.tenant,
            klass=infer.klass if infer.klass in CLASSES else parent.klass,  # type: ignore[arg-type]  # just checked
            headers=passed_on(infer.headers),
            query=infer.query,
            trace=parent.trace or infer.trace,
            idempotency_key=infer.idempotency_key,
            chain=chain,
            pinned=bool(infer.version),
            parent=parent.number,
            has_asked=parent.has_asked or infer.timeout_ns > 0,
            shows_code=parent.shows_code,
            affinity=dict(infer.headers).get("glowplug-affinity", "")[:AFFINITY_MAX],
        )
        self._front.engine.arrive(call)

    def _new_id(self, parent: Call) -> str:
        while True:
            self._serial += 1
            request_id = f"{parent.request_id}.{self._serial}"
            if request_id not in self._front.engine.by_request:  # else a caller has guessed it
                return request_id

    def _lane(self, infer: Infer) -> tuple[Target, Lane] | Trouble:
        target = self._front.table.targets.get(infer.endpoint)
        if target is None:
            return Trouble("not_found", f"there is no endpoint {infer.endpoint}")
        if target.stopped:
            return Trouble("stopped", f"{target.name} is stopped")
        selector = infer.version.rpartition("@")[2]
        lane = pinned(target, selector) if selector else target.draw(self._front.chance)
        if lane is not None:
            return target, lane
        return (
            Trouble("version_not_found", unknown_version(target, selector))
            if selector
            else no_traffic(target)
        )

    def _deadline(self, parent: Call, infer: Infer) -> int:
        if infer.timeout_ns <= 0:
            return parent.deadline_ns
        return min(parent.deadline_ns, self._front.clock.now_ns() + infer.timeout_ns)


def _stranger(link: DataLink, infer: Infer) -> Trouble:
    detail = f"{link.replica} has no running call {infer.parent!r} with that token"
    return Trouble("unauthorized", detail)


def passed_on(headers: Headers) -> Headers:
    """Return the headers that a replica gets to see."""
    return tuple((name, value) for name, value in headers if name in PASSED_ON)
