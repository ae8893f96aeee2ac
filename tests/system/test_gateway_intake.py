"""Does it matter how a client's bytes are cut on their way, or an answer's pieces?"""

import asyncio
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.server import ServerState

from glowplug.clock import ManualClock
from glowplug.wire.messages import Response, Trailer
from glowplug_router.dispatch import ReplicaReady, VersionSet
from glowplug_router.gateway.bodies import LARGE_MIN
from glowplug_router.gateway.calls import Call
from glowplug_router.gateway.engine import Engine
from glowplug_router.gateway.exchange import JOIN_MAX
from glowplug_router.gateway.front import Front
from glowplug_router.gateway.guard import Guard
from glowplug_router.gateway.metrics import Metrics
from glowplug_router.gateway.reporter import Reporter
from glowplug_router.gateway.routes import Table
from glowplug_router.gateway.settings import GatewaySettings
from glowplug_router.gateway.tally import Tallies
from glowplug_router.records.published import RouteEndpoint, RouteVersion, Snapshot

SIZES = st.sampled_from([0, 1, 200, LARGE_MIN - 1, LARGE_MIN, LARGE_MIN + 1, 3 * LARGE_MIN])


class Wire(asyncio.Transport):
    """A transport in memory: what is written lies in `out`."""

    def __init__(self) -> None:
        super().__init__()
        self.out: list[bytes] = []
        self.protocol: Any = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.out.append(bytes(data))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """Do nothing: who feeds it knows no pauses."""

    def resume_reading(self) -> None:
        """Do nothing either."""

    def receive(self, data: bytes) -> None:
        """Hand bytes over as a loop does, to whatever protocol is there then."""
        while data:
            if not isinstance(self.protocol, asyncio.BufferedProtocol):
                self.protocol.data_received(data)
                return
            room = memoryview(self.protocol.get_buffer(-1))
            size = min(len(room), len(data))
            room[:size] = data[:size]
            self.protocol.buffer_updated(size)
            data = data[size:]


class Link:
    """A replica that remembers its calls and answers when told."""

    replica = "r"
    phases: tuple[tuple[str, int], ...] = ()

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.bodies: list[bytes] = []

    def carry(self, call: Call, timeout_ns: int) -> None:
        self.calls.append(call)
        self.bodies.append(bytes(call.body))

    def cancel(self, call: Call) -> None: ...

    def credit(self, call: Call, size: int) -> None: ...


class Rig:
    """A connection, its gateway and one replica; no sockets."""

    def __init__(self) -> None:
        clock, tallies = ManualClock(), Tallies()
        self.engine = Engine(clock, tallies, Reporter("g", tallies))
        self.front = Front(GatewaySettings(), clock, Random(1), self.engine, Metrics(tallies))
        version = RouteVersion(
            number=1, permille=1000, replicas=(), permits=9, max_replicas=1, hold=9, queue_ns=1, start_ns=1, run_ns=1
        )  # fmt: skip  # a line each would hide the rig
        route = RouteEndpoint(app="a", endpoint="e", auth="public", versions=(version,), stable=1)
        self.front.table = Table(Snapshot(number=1, epoch=1, endpoints=(route,)), tallies.of)
        self.engine.feed(VersionSet("a/e@1", 9, 10**12, 10**12, 9), 0)
        self.link = Link()
        self.engine.links["r"] = self.link
        self.engine.feed(ReplicaReady("r", "a/e@1", 9), 0)
        self.wire = Wire()
        config = Config(nothing, ws="none", lifespan="off", log_config=None)
        config.load()
        self.guard = Guard(self.front, config, ServerState(), {}, asyncio.get_running_loop())
        self.wire.protocol = self.guard
        self.guard.connection_made(self.wire)

    def answer_all(self) -> None:
        """Answer every call with its own body."""
        while self.link.calls:
            call, body = self.link.calls.pop(0), self.link.bodies[-1]
            self.engine.whole(call, Response(), body)


async def nothing(scope: object, receive: object, send: object) -> None:
    """Be the site, which is never asked."""


def post(body: bytes, form: str) -> bytes:
    head = b"POST /a/e HTTP/1.1\r\nHost: localhost\r\n"
    if form == "length":
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    chunks = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@settings(deadline=None)
@given(
    requests=st.lists(
        st.tuples(SIZES, st.sampled_from(["length", "chunks"])), min_size=1, max_size=4
    ),
    seed=st.integers(0, 2**32),
    cuts=st.integers(0, 12),
    is_answered=st.booleans(),
)
async def test_the_same_calls_come_out_however_the_bytes_are_cut(
    requests: list[tuple[int, str]], seed: int, cuts: int, is_answered: bool
) -> None:
    chance, rig = Random(seed), Rig()
    bodies = [chance.randbytes(size) for size, _ in requests]
    data = b"".join(post(body, form) for body, (_, form) in zip(bodies, requests, strict=True))
    at = 0
    for end in (*sorted(chance.randrange(len(data)) for _ in range(cuts)), len(data)):
        rig.wire.receive(data[at:end])
        at = end
        if is_answered:  # else only when all have come: they wait their turn
            rig.answer_all()
    rig.answer_all()

    assert [len(body) for body in rig.link.bodies] == [len(body) for body in bodies]
    assert rig.link.bodies == bodies
    assert b"".join(rig.wire.out).count(b"HTTP/1.1 200 OK\r\n") == len(bodies)
    assert rig.front.held.bytes == 0
    assert not rig.engine.calls


async def test_pieces_of_one_turn_of_the_loop_leave_in_one_write_and_in_order() -> None:
    rig = Rig()
    rig.wire.receive(post(b"", "length"))
    (call,) = rig.link.calls
    rig.engine.begin(call, Response(), b"0;")
    for n in range(1, 100):
        rig.engine.chunk(call, b"%d;" % n)
    assert rig.wire.out == []
    await asyncio.sleep(0)
    assert len(rig.wire.out) == 1
    rig.engine.chunk(call, b"late;")
    rig.engine.end(call, Trailer())

    assert len(rig.wire.out) == 2
    body = b"".join(rig.wire.out).partition(b"\r\n\r\n")[2]
    pieces = [line for line in body.split(b"\r\n") if line.endswith(b";")]
    assert pieces == [*(b"%d;" % n for n in range(100)), b"late;"]
    assert body.endswith(b"\r\n0\r\n\r\n")


async def test_a_large_piece_is_not_joined_and_keeps_its_place() -> None:
    rig = Rig()
    rig.wire.receive(post(b"", "length"))
    (call,) = rig.link.calls
    large = b"x" * (JOIN_MAX + 1)
    rig.engine.begin(call, Response(), b"first")
    rig.engine.chunk(call, large)
    rig.engine.chunk(call, b"last")
    rig.engine.end(call, Trailer())

    assert large in rig.wire.out
    assert b"".join(rig.wire.out).partition(b"\r\n\r\n")[2] == (
        b"5\r\nfirst\r\n4001\r\n" + large + b"\r\n4\r\nlast\r\n0\r\n\r\n"
    )


async def test_a_caller_that_leaves_with_pieces_unwritten_is_written_to_no_more() -> None:
    rig = Rig()
    rig.wire.receive(post(b"", "length"))
    (call,) = rig.link.calls
    rig.engine.begin(call, Response(), b"first")
    rig.guard.connection_lost(None)
    await asyncio.sleep(0)

    assert rig.wire.out == []
    assert call.over
