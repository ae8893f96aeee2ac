"""How do uploaded bodies reach a replica, and its large answers the object store? Passed through, piece by piece.

A replica opens a stream on its link, in the name of a call it runs; what may be fetched is what that call named, and
nothing else. Both directions are bounded by credit: a slow side stops the other.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from struct import Struct

import anyio

from glowplug.errors import CallError, call_error
from glowplug.payloads import LINK_PATH, WINDOW_BYTES
from glowplug.wire.channel import Channel
from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.messages import Failure, Infer, Response, pack
from glowplug_router.gateway.calls import Call
from glowplug_router.gateway.links import DataLink
from glowplug_router.gateway.problems import Trouble
from glowplug_router.signatures import Signer

_U64 = Struct("<Q")
_LOG = logging.getLogger("glowplug.gateway")
HELD_MAX_BYTES = 2 * WINDOW_BYTES  # of a replica that sends more than it was allowed
Spawn = Callable[..., object]  # a task group's start_soon


def named(
    signer: Signer | None, reference: str, tenant: str, wall_ns: int, length: int | None
) -> str | Trouble:
    """Return the body that a reference names, as the replica is told of it; or why it cannot be."""
    if length != 0:
        detail = "Glowplug-Payload names the body, and the call has one as well"
        return Trouble("bad_request", detail, hint="send the call with an empty body")
    if signer is None:
        return Trouble("control_unavailable", "this gateway has not heard from its controller yet")
    try:
        return str(signer.payload(reference, tenant, wall_ns))
    except CallError as error:
        return Trouble(error.code, error.message, hint=error.hint)


class PayloadStream:
    """One body between a replica and the controller."""

    def __init__(self, link: DataLink, rid: int, over: Callable[[], object]) -> None:
        self._link = link
        self._rid = rid
        self._over = over
        self._pieces: deque[bytes] = deque()
        self._held = 0  # bytes of them
        self._ended = False
        self._window = WINDOW_BYTES
        self._wake = asyncio.Event()
        self._scope = anyio.CancelScope()

    def frame(self, kind: int, flags: int, meta: bytes, body: bytes) -> None:
        """Take a frame of the replica."""
        if kind == Kind.CREDIT:
            self._window = min(self._window + _U64.unpack(meta)[0], WINDOW_BYTES)
        elif kind == Kind.CANCEL:
            self.cancel()
        else:
            if body:
                self._pieces.append(body)
                self._held += len(body)
            self._ended = bool(flags & FLAG_END)
            if self._held > HELD_MAX_BYTES:  # it was told how much it may send
                self.cancel()
        self._wake.set()

    def cancel(self) -> None:
        """Stop: the replica does not want it any more, or has gone."""
        self._scope.cancel()

    async def run(self, channel: Channel | None, call: Call, infer: Infer) -> None:
        """Pass it on, to its end; whatever fails is told to the replica."""
        try:
            with self._scope:
                if channel is None or channel.closed:
                    raise call_error("control_unavailable", "no controller holds payloads now")
                if infer.method == "PUT":
                    await self._up(channel, _asked(call, "PUT", infer.query))
                else:
                    await self._down(channel, _asked(call, "GET", call.payload))
        except CallError as error:
            self._fail(Failure(error.code, "no", error.retryable, error.message))
        except Exception:  # it would end the calls of all the others
            _LOG.exception(
                "a payload of replica %s broke in a way nobody foresaw", self._link.replica
            )
            self._fail(Failure("internal", "no", False, "the router could not pass the payload on"))
        finally:
            self._over()

    async def _down(self, channel: Channel, asked: Infer) -> None:
        _, body = await channel.open(asked.path, infer=asked)
        try:
            self._send(Kind.RESPONSE, pack(Response()), b"", 0)
            async for piece in body:
                while self._window < len(piece):
                    await self._more()
                self._window -= len(piece)
                self._send(Kind.CHUNK, b"", piece, 0)
            self._send(Kind.CHUNK, b"", b"", FLAG_END)
        finally:
            body.close()

    async def _up(self, channel: Channel, asked: Infer) -> None:
        head, body = await channel.upload(asked, self._taken())
        self._send(Kind.RESPONSE, pack(Response(head.status)), await body.read(), FLAG_END)

    async def _taken(self) -> AsyncIterator[bytes]:
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._held -= len(piece)
                self._send(Kind.CREDIT, _U64.pack(len(piece)), b"", 0)
                yield piece
            if self._ended:
                return
            await self._more()

    async def _more(self) -> None:
        self._wake.clear()
        await self._wake.wait()

    def _fail(self, failure: Failure) -> None:
        self._send(Kind.ERROR, pack(failure), b"", FLAG_END)

    def _send(self, kind: Kind, meta: bytes, body: bytes, flags: int) -> None:
        if not self._link.closed:
            self._link.send(kind, self._rid, meta, body, flags)


class PayloadRelay:
    """Opens such streams."""

    def __init__(self, spawn: Spawn, channel: Callable[[], Channel | None]) -> None:
        self._spawn = spawn
        self._channel = channel

    def open(
        self, link: DataLink, rid: int, infer: Infer, call: Call, over: Callable[[], object]
    ) -> PayloadStream | Trouble:
        """Begin a stream for a running call of this replica; or say why not."""
        if not (call.offload if infer.method == "PUT" else call.payload):
            return Trouble("forbidden", f"the call {infer.parent} names no payload")
        stream = PayloadStream(link, rid, over)
        self._spawn(stream.run, self._channel(), call, infer)
        return stream


def _asked(call: Call, method: str, query: str) -> Infer:
    return Infer(LINK_PATH, method, "rpc", query, tenant=call.tenant, request_id=call.request_id)
