"""How does a replica get the body of a call that was uploaded, and a large answer away? Over its call's own link.

The gateway asks the controller for exactly what the call named: nothing else can be fetched this way. Size and digest
are checked before the call reaches a compute thread or a batch; a call that fails here was never executed.
"""

import asyncio
import hashlib
import io
from collections import deque
from struct import Struct
from typing import TYPE_CHECKING

import msgspec

from glowplug.errors import CallError, call_error
from glowplug.payloads import (
    ANSWER_TYPE,
    HEADER,
    LINK_PATH,
    OFFLOAD_MIN_BYTES,
    PIECE_BYTES,
    WINDOW_BYTES,
    AwayAnswer,
    Checked,
    Named,
)
from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.messages import MALFORMED, Infer, pack, to_json, unpack_failure
from glowplug.worker.failures import fault
from glowplug.worker.inside import Ask

if TYPE_CHECKING:
    from glowplug.worker.call import Call
    from glowplug.worker.link import Link

_U64 = Struct("<Q")


class _Place(msgspec.Struct):
    """What the gateway answers when it has taken a body."""

    url: str


_place = msgspec.json.Decoder(_Place).decode


def fetch(call: "Call") -> None:
    """Fetch the body, then let the call begin; or end it, unexecuted."""
    call.task = call.server.loop.create_task(_fetch(call))


def must_go(call: "Call") -> bool:
    """Say whether an answer is to be sent away before the call can end."""
    is_large = call.infer.offload and len(call.payload) > OFFLOAD_MIN_BYTES
    is_wanted = not (call.answered or call.cancelled)
    return is_large and is_wanted and call.stream is None and call.fault is None


def send_away(call: "Call") -> None:
    """Send the answer to the object store, put the place in its stead, and let the call end."""
    call.task = call.server.loop.create_task(_send_away(call))


async def _fetch(call: "Call") -> None:
    named = Named.read(call.infer.payload)
    transfer = Transfer(call.link)
    try:
        transfer.open(_infer(call, "GET", ""), FLAG_END)
        call.body = await transfer.read(Checked(named.digest, named.size_bytes, "the payload"))
    except CallError as error:
        if not call.ended:
            call.task = None
            call.fault = fault(error.code, error.message, "no", call.infer.request_id)
            call.finish()
    else:
        if not call.ended:
            call.task = None
            call.begin()
    finally:
        transfer.abandon()


async def _send_away(call: "Call") -> None:
    data, media = memoryview(call.payload), dict(call.headers)["content-type"]
    transfer = Transfer(call.link)
    try:
        digest = await _digest(data)
        transfer.open(_infer(call, "PUT", f"{digest} {len(data)}"), 0)
        url = await transfer.write(data)
        call.payload = to_json(AwayAnswer(url, digest, len(data), media))
        call.headers = (("content-type", ANSWER_TYPE), (HEADER, f"{digest} {len(data)}"))
    except CallError as error:
        call.payload = b""
        call.fault = fault(error.code, error.message, "yes", call.infer.request_id)
    except asyncio.CancelledError:
        pass  # nobody wants it any more
    finally:
        transfer.abandon()
        call.finish()


async def _digest(data: memoryview) -> str:
    sha = hashlib.sha256()
    for at in range(0, len(data), WINDOW_BYTES):
        sha.update(data[at : at + WINDOW_BYTES])
        await asyncio.sleep(0)  # other calls of this loop go on meanwhile
    return f"sha256:{sha.hexdigest()}"


def _infer(call: "Call", method: str, query: str) -> Infer:
    above = call.infer
    return Infer(
        LINK_PATH,
        method,
        "rpc",
        query,
        parent=above.request_id,
        call_token=above.call_token,
        request_id=above.request_id,
    )


class Transfer(Ask):
    """One body on its way over a link, in either direction."""

    __slots__ = ("_events", "_failure", "_is_over", "_wake", "_window", "link", "rid")

    def __init__(self, link: "Link") -> None:
        self.link = link
        self.rid = 0
        self._events: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._window = WINDOW_BYTES
        self._failure: CallError | None = None
        self._is_over = False

    def open(self, infer: Infer, flags: int) -> None:
        """Ask the gateway."""
        if self.link.closed:
            raise call_error("unavailable", "the gateway has gone", executed="no")
        self.rid = self.link.next_rid()
        self.link.asks[self.rid] = self
        self.link.send(Kind.INFER, self.rid, pack(infer), b"", flags)

    def frame(self, kind: int, flags: int, meta: bytes, body: bytes) -> None:
        """Take a frame of the answer."""
        if kind == Kind.ERROR:
            failure = unpack_failure(meta)
            self._failure = call_error(failure.code, failure.detail, executed="no")
        elif kind == Kind.CREDIT:
            self._window += _U64.unpack(meta)[0]
        else:
            if body:
                self._events.append(body)
            self._is_over = bool(flags & FLAG_END)
        self._wake.set()

    async def read(self, checked: Checked) -> bytes:
        """Return the whole body, checked as it comes; it is copied once, into its place."""
        whole = io.BytesIO()
        while True:
            while self._events:
                piece = self._events.popleft()
                checked.take(piece)
                whole.write(piece)
                self.link.send(Kind.CREDIT, self.rid, _U64.pack(len(piece)))
            if self._is_over:
                checked.end()
                return whole.getvalue()
            await self._more()

    async def write(self, data: memoryview) -> str:
        """Send a body and return the URL under which it lies then."""
        for at in range(0, len(data), PIECE_BYTES):
            piece = data[at : at + PIECE_BYTES]
            while self._window < len(piece) and not self._is_over:
                await self._more()
            if self._is_over:
                break  # the gateway needs no more of it
            self._window -= len(piece)
            is_last = at + PIECE_BYTES >= len(data)
            self.link.send(Kind.CHUNK, self.rid, b"", piece, FLAG_END if is_last else 0)
        while not self._is_over:
            await self._more()
        try:
            return _place(b"".join(self._events)).url
        except MALFORMED as error:
            detail = f"the gateway did not say where the answer lies: {error}"
            raise call_error("internal", detail) from None

    async def _more(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._wake.clear()
        await self._wake.wait()
        if self._failure is not None:
            raise self._failure

    def fail(self, error: CallError) -> None:
        """End it from this side."""
        self._failure = error
        self._wake.set()

    def abandon(self) -> None:
        """Tell the gateway that nobody waits any more, unless it is over."""
        if self.link.asks.pop(self.rid, None) is not None and not self.link.closed:
            self.link.send(Kind.CANCEL, self.rid)
