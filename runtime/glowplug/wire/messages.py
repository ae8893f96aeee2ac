"""What do frames carry in `meta`? Append-only array structs: a field is only ever added at the end, with a default.

`INFER.path` names what is asked: `/{endpoint}` for a call to a replica, `/-/…` between daemons (docs/architecture.md
lists them).
"""

import struct
from collections.abc import Callable
from typing import Any

import msgspec

from glowplug.errors import WireError

PROTOCOLS = (1,)  # versions of these messages this build speaks


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """First frame of each side: who I am and what I can do."""

    role: str  # gateway, replica, agent, controller, rank-control
    name: str = ""  # replica id, node id, gateway id
    protocols: tuple[int, ...] = PROTOCOLS
    epoch: int = 0
    permits: int = 0  # a replica: calls it runs at once
    version: str = ""  # a replica: "app/endpoint@12"
    token: str = ""  # proves membership on sockets that are not private to the user
    state: str = ""  # a replica: ready, draining
    ahead: int = 0  # a replica: calls it takes beyond its permits and starts as these free up; none with a parent
    ring: str = ""  # shared memory for large bodies that this side offers; see `ring`


class Infer(msgspec.Struct, array_like=True, frozen=True):
    """Open a stream."""

    path: str
    method: str = "POST"
    protocol: str = "native"  # native, asgi, rpc
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()  # chosen ones, lower-case names
    endpoint: str = ""  # "app/endpoint"
    version: str = ""
    tenant: str = ""
    klass: str = "standard"
    timeout_ns: int = 0  # what is left of the deadline when sent; 0 = none
    trace: str = ""  # W3C traceparent
    request_id: str = ""
    idempotency_key: str = ""
    attempt: int = 1
    chain: tuple[str, ...] = ()  # "app/endpoint" of each call above this one, outermost first
    parent: str = ""  # request id of the call that made this one
    call_token: str = (
        ""  # gateway → replica: lets code in this call make further calls; sent back with them
    )
    dev: bool = (
        False  # tracebacks may be shown to the caller: in `dev`, or to those who deploy the app
    )
    payload: str = (
        ""  # the body lies in the object store: "sha256:<hex> <bytes>", checked by the gateway
    )
    offload: bool = False  # the caller takes a reference in place of a large answer


class Response(msgspec.Struct, array_like=True, frozen=True):
    """Head of an answer."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    executed: str = "yes"
    timings: tuple[tuple[str, int], ...] = ()  # phase -> ns, for Server-Timing
    batch: int = 0  # calls in the batch it ran in; said by one call of each batch
    flush: str = ""  # why that batch was cut then: full, idle, wait, key, deadline


class Trailer(msgspec.Struct, array_like=True, frozen=True):
    """End of a streamed answer."""

    executed: str = "yes"
    timings: tuple[tuple[str, int], ...] = ()


class Failure(msgspec.Struct, array_like=True, frozen=True):
    """Why a stream failed. `body` of the frame may hold a ready problem+json document."""

    code: str
    executed: str = "maybe"
    retryable: bool = False
    detail: str = ""
    retry_after_ms: int = 0


class Command(msgspec.Struct, array_like=True, frozen=True):
    """Meta of LOAD WAKE SLEEP DRAIN STATS PING: fenced, so that an agent that was replaced cannot command."""

    epoch: int
    deadline_ns: int = 0  # time left for it
    reason: str = ""
    lease_ns: int = 0  # PING: the lease is good for this long from now


_UINT64 = b"\xcf"  # of msgpack
_ENCODER = msgspec.msgpack.Encoder()
pack = _ENCODER.encode

unpack_hello = msgspec.msgpack.Decoder(Hello).decode
unpack_infer = msgspec.msgpack.Decoder(Infer).decode
unpack_response = msgspec.msgpack.Decoder(Response).decode
unpack_trailer = msgspec.msgpack.Decoder(Trailer).decode
unpack_failure = msgspec.msgpack.Decoder(Failure).decode
unpack_command = msgspec.msgpack.Decoder(Command).decode


# What reading a peer's nonsense may raise: text that is not UTF-8 and short integers pass msgspec by.
MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, struct.error, WireError)


def plain_answer(headers: tuple[tuple[str, str], ...]) -> Callable[[int, int, int], bytes]:
    """Return what packs the `Response` of a call that went well and ran by itself, from its three timings.

    It is said of nearly every call, and only the numbers differ: written at full width, their places are known.
    """
    before = b"\x96\xcc\xc8" + pack(headers) + pack("yes") + b"\x93\x92" + pack("decode") + _UINT64
    between, last = b"\x92" + pack("run") + _UINT64, b"\x92" + pack("encode") + _UINT64
    after = b"\x00\xa0"
    form = f">{len(before)}sQ{len(between)}sQ{len(last)}sQ{len(after)}s"
    write = struct.Struct(form).pack

    def packed(decode_ns: int, run_ns: int, encode_ns: int) -> bytes:
        return write(before, decode_ns, between, run_ns, last, encode_ns, after)

    return packed


def to_json(value: Any) -> bytes:
    """Return a record as JSON: the body of messages between daemons."""
    return msgspec.json.encode(value)
