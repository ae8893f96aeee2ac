"""Is every malformed or hostile request ended in the right way, on both event loops, with nothing of it executed?

Each row of the battery says what is sent and which status must come back. What is refused is never executed, nor is
anything behind it on the connection, which ends; after each row another client is served.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from glowplug.clock import MILLISECOND
from glowplug_router.gateway.settings import GatewaySettings
from system.gateway_fakes import FakeRank, Handler, RankLink, echo
from system.gateway_rig import Client, Rig, endpoint, gateway, version

POST = b"POST /app/echo HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = POST + b"Connection: upgrade\r\nUpgrade: h2c\r\n"
GOOD = POST + b"Content-Length: 0\r\n\r\n"  # the endpoint is public, so that the form alone decides

# Short, so that a row ends soon; the published limits are the defaults of the same fields.
HASTY = GatewaySettings(
    head_ns=150 * MILLISECOND,
    body_idle_ns=150 * MILLISECOND,
    body_total_ns=400 * MILLISECOND,
    keep_alive_ns=250 * MILLISECOND,
    write_stall_ns=200 * MILLISECOND,
    linger_ns=100 * MILLISECOND,
    pulse_ns=20 * MILLISECOND,
)


@pytest.fixture(params=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


async def served(rig: Rig, handler: Handler = echo) -> FakeRank:
    rank = await rig.rank("r1", "app/echo@1", handler)
    await rig.publish(endpoint("app/echo", version(replicas=(rank.route,)), auth="public"))
    return rank


async def others_are_served(rig: Rig, rank: FakeRank) -> None:
    rank.handler = echo
    assert (await rig.ask(GOOD)).status == 200


# -- what is malformed ---------------------------------------------------------------------------------

# What is wrong, the bytes, the status of the refusal.
MALFORMED: tuple[tuple[str, bytes, int], ...] = (
    # two ways to frame one body: where a proxy in front and we differ, a request is smuggled
    ("length and chunked", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked and length", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    ("chunked twice", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked, chunked", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    ("gzip before chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    ("identity encoding", POST + b"Transfer-Encoding: identity\r\n\r\nhello", 400),
    ("encoding after chunked", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("an encoding behind a vertical tab", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("a quoted encoding", POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400),
    ("chunked in HTTP/1.0", b"POST /app/echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("two lengths that differ", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    ("two lengths that agree", POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("a list of lengths", POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    ("a signed length", POST + b"Content-Length: +5\r\n\r\nhello", 400),
    ("a negative length", POST + b"Content-Length: -5\r\n\r\nhello", 400),
    ("an empty length", POST + b"Content-Length: \r\n\r\nhello", 400),
    ("a length with a blank in it", POST + b"Content-Length: 5 5\r\n\r\nhello", 400),
    ("a length in hex", POST + b"Content-Length: 0x5\r\n\r\nhello", 400),
    ("a length in other figures", POST + "Content-Length: ５\r\n\r\nhello".encode(), 400),
    ("a length beyond 64 bits", POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    # the frame of a header
    ("a folded header", POST + b"X-A: a\r\n b\r\n\r\n", 400),
    ("a folded length", POST + b"Content-Length:\r\n 5\r\n\r\nhello", 400),
    ("bare line feeds", b"POST /app/echo HTTP/1.1\nHost: localhost\n\n", 400),
    ("a bare line feed within", POST + b"X-A: a\nX-B: b\r\n\r\n", 400),
    ("a bare carriage return", POST + b"X-A: a\rX-B: b\r\n\r\n", 400),
    ("a blank before the colon", b"POST /app/echo HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
    ("a header without a colon", POST + b"nonsense\r\n\r\n", 400),
    ("a header without a name", POST + b": nonsense\r\n\r\n", 400),
    ("a blank before the first header", b"POST /app/echo HTTP/1.1\r\n Host: localhost\r\n\r\n", 400),
    ("a name with a byte above 127", POST + b"X-\xff: 1\r\n\r\n", 400),
    ("a zero byte in a value", POST + b"X-A: a\x00b\r\n\r\n", 400),
    ("a zero byte in a name", POST + b"X-\x00A: b\r\n\r\n", 400),
    ("a control character in a value", POST + b"X-A: a\x01b\r\n\r\n", 400),
    ("two keys", POST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400),
    ("two deadlines", POST + b"Glowplug-Deadline: 1\r\nGlowplug-Deadline: 2\r\n\r\n", 400),
    # whom it is for
    ("no Host", b"POST /app/echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400),
    ("two Hosts", POST + b"Host: localhost\r\n\r\n", 400),
    ("a foreign Host", b"POST /app/echo HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    ("an empty Host", b"POST /app/echo HTTP/1.1\r\nHost: \r\n\r\n", 421),
    ("a Host with a user", b"POST /app/echo HTTP/1.1\r\nHost: evil@localhost\r\n\r\n", 421),
    ("a Host with a path", b"POST /app/echo HTTP/1.1\r\nHost: localhost/evil\r\n\r\n", 421),
    # the request line
    ("no version", b"POST /app/echo\r\nHost: localhost\r\n\r\n", 400),
    ("version 0.9", b"GET /app/echo HTTP/0.9\r\nHost: localhost\r\n\r\n", 400),
    ("version 2.0", b"POST /app/echo HTTP/2.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 400),
    ("version 1.2", b"POST /app/echo HTTP/1.2\r\nHost: localhost\r\n\r\n", 400),
    ("version HTTP/11", b"POST /app/echo HTTP/11\r\nHost: localhost\r\n\r\n", 400),
    ("another protocol's name", b"POST /app/echo ICAP/1.0\r\nHost: localhost\r\n\r\n", 400),
    ("a method nobody has", b"FROB /app/echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("a method in small letters", b"post /app/echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("a TLS hello on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("CONNECT", b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("an absolute target", b"POST http://localhost/app/echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("a foreign absolute target", b"POST http://evil/app/echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("an authority as the target", b"POST localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("an asterisk as the target", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("a zero byte in the path", b"POST /app/\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("a blank in the path", b"POST /app/ echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("a percent sign and no figures", b"POST /app/ec%zzho HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("a percent sign at the end", b"POST /app/echo% HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("a percent sign in the query", b"POST /app/echo?a=%2 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    # the frame of chunks
    ("a chunk size that is no number", CHUNKED + b"xyz\r\nhello\r\n", 400),
    ("a chunk with 0x", CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    ("an empty chunk size", CHUNKED + b"\r\nhello\r\n0\r\n\r\n", 400),
    ("a blank before the chunk size", CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n", 400),
    ("a chunk longer than it says", CHUNKED + b"3\r\nhello\r\n0\r\n\r\n", 400),
    ("a negative chunk", CHUNKED + b"-1\r\nhello\r\n", 400),
    ("a chunk size beyond 64 bits", CHUNKED + b"fffffffffffffffff\r\nhello\r\n", 400),
    ("a chunk size with a bare line feed", CHUNKED + b"5\nhello\r\n0\r\n\r\n", 400),
    ("a chunk without its end", CHUNKED + b"5\r\nhello0\r\n\r\n", 400),
    ("a chunk that ends with a bare line feed", CHUNKED + b"5\r\nhello\n0\r\n\r\n", 400),
    ("a garbage extension", CHUNKED + b"5;\x00\x01\r\nhello\r\n0\r\n\r\n", 400),
    ("a bare line feed in an extension", CHUNKED + b"5;a=\nb\r\nhello\r\n0\r\n\r\n", 400),
    ("a malformed trailer", CHUNKED + b"0\r\nnonsense\r\n\r\n", 400),
    ("an upgrade of a chunked body", UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    # sizes
    ("a header of 40 KiB", POST + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    ("129 fields", POST + b"".join(b"X-%d: 1\r\n" % n for n in range(129)) + b"\r\n", 431),
    ("a target of 40 KiB", b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    ("129 trailers", CHUNKED + b"0\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(129)) + b"\r\n", 400),
    ("a body over the limit", POST + b"Content-Length: 67108865\r\n\r\n", 413),
)  # fmt: skip  # a row a line


@pytest.mark.parametrize(
    ("data", "status"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED]
)
async def test_a_malformed_request_is_refused_and_nothing_behind_it_is_read(
    tmp_path: Path, data: bytes, status: int
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await served(rig)
        client = await rig.connect()
        client.send(data)
        reply = await client.reply()

        assert reply.status == status
        assert reply.headers["glowplug-executed"] == "no"
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.headers["connection"] == "close"
        assert await client.is_closed()
        assert not rank.calls

        client = await rig.connect()
        client.send(
            GOOD + data + GOOD
        )  # what came before it is answered, what is behind it is not read

        assert [(await client.reply()).status for _ in range(2)] == [200, status]
        assert await client.is_closed()
        assert len(rank.calls) == 1
        await others_are_served(rig, rank)


# -- what never ends -----------------------------------------------------------------------------------

# What goes on and on, how it begins, what is repeated, the status; all are cut off within a megabyte.
ENDLESS: tuple[tuple[str, bytes, bytes, int], ...] = (
    ("a header", POST + b"X-A: ", b"a" * 10_000, 431),
    ("a header's name", POST, b"a" * 10_000, 431),
    ("headers", POST, b"X-A: a\r\n" * 1_000, 431),
    ("a target", b"POST /", b"a" * 10_000, 431),
    ("a method", b"", b"A" * 10_000, 400),
    ("empty lines", b"", b"\r\n" * 5_000, 431),
    ("a chunk's extension", CHUNKED + b"5;", b"a" * 10_000, 400),
    ("a chunk's size", CHUNKED, b"0" * 10_000, 400),
    ("a trailer", CHUNKED + b"0\r\nX-A: ", b"a" * 10_000, 400),
    ("trailers", CHUNKED + b"0\r\n", b"X-A: a\r\n" * 1_000, 400),
)


@pytest.mark.parametrize(
    ("start", "more", "status"), [row[1:] for row in ENDLESS], ids=[row[0] for row in ENDLESS]
)
async def test_what_never_ends_is_cut_off(
    tmp_path: Path, start: bytes, more: bytes, status: int
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await served(rig)
        client = await rig.connect()
        client.send(start)
        sent = await _pour(client, more, at_most=4_000_000)

        assert (await client.reply()).status == status
        assert sent < 1_000_000
        assert not rank.calls
        await others_are_served(rig, rank)


async def _pour(client: Client, more: bytes, at_most: int) -> int:
    sent = 0
    while sent < at_most and not client.has_answer:
        client.send(more)
        sent += len(more)
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)  # the gateway runs on this loop, too
    return sent


# -- what is slow --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slow:
    """A client that takes its time: what it sends at once, then a piece every 20 ms."""

    name: str
    start: bytes
    drip: Callable[[], Iterator[bytes]] = lambda: iter(())
    status: int = 408  # 0: closed without a word


SLOW = (
    Slow("no byte at all", b"", status=0),
    Slow("a request line in part", b"POST /app"),
    Slow("a header in part", POST + b"X-A: a"),
    Slow("a header, a byte at a time", POST + b"X-A: ", lambda: repeat(b"a")),
    Slow("headers, one at a time", POST, lambda: repeat(b"X-A: a\r\n")),
    Slow("empty lines, one at a time", b"", lambda: repeat(b"\r\n")),
    Slow("a body that stalls", POST + b"Content-Length: 10\r\n\r\nhello"),
    Slow("a body that never begins", POST + b"Content-Length: 10\r\n\r\n"),
    Slow("a body, a byte at a time", POST + b"Content-Length: 9999\r\n\r\n", lambda: repeat(b"a")),
    Slow("a chunk that stalls", CHUNKED + b"5\r\nhel"),
    Slow("a last chunk that stalls", CHUNKED + b"5\r\nhello\r\n0\r\n"),
    Slow("chunks, a byte at a time", CHUNKED, lambda: repeat(b"1\r\na\r\n")),
    Slow("trailers, one at a time", CHUNKED + b"0\r\n", lambda: repeat(b"X-A: a\r\n")),
    Slow("an upload that stalls", POST.replace(b"/app/echo", b"/livez") + b"Content-Length: 9\r\n\r\na", status=401),
)  # fmt: skip  # a row a line


@pytest.mark.parametrize("row", SLOW, ids=[row.name for row in SLOW])
async def test_a_slow_client_is_ended_in_time(tmp_path: Path, row: Slow) -> None:
    async with gateway(tmp_path, HASTY) as rig:
        rank = await served(rig)
        client = await rig.connect()
        client.send(row.start)
        for piece in row.drip():
            if client.has_answer:
                break
            client.send(piece)
            await asyncio.sleep(0.02)

        if row.status:
            assert (await client.reply()).status == row.status
        assert await client.is_closed()
        assert not rank.calls
        await others_are_served(rig, rank)


async def test_a_connection_that_falls_silent_after_an_answer_is_closed(tmp_path: Path) -> None:
    async with gateway(tmp_path, HASTY) as rig:
        await served(rig)
        client = await rig.connect()
        client.send(GOOD)

        assert (await client.reply()).status == 200
        assert await client.is_closed()


async def test_a_reader_that_takes_nothing_is_cut_off_and_its_call_cancelled(
    tmp_path: Path,
) -> None:
    async def pour(link: RankLink, rid: int) -> None:
        sent = 0
        while True:
            for _ in range(4 - (sent - link.credits) // 65_536):  # as a rank: a window, no more
                link.piece(rid, b"x" * 65_536)
                sent += 65_536
            await asyncio.sleep(0.005)

    async with gateway(tmp_path, HASTY) as rig:
        rank = await served(rig, lambda link, rid, *_: link.begin(rid))
        client = await rig.connect()
        client.reader_pauses()
        client.send(GOOD)
        await asyncio.wait_for(rank.arrived.wait(), 5)
        pouring = asyncio.create_task(pour(rank.links[0], rank.calls[0][0]))

        await asyncio.wait_for(rank.was_cancelled.wait(), 5)
        pouring.cancel()
        await others_are_served(rig, rank)


# -- what is odd and yet in order ----------------------------------------------------------------------

# What is odd, the bytes, the body that the endpoint gets.
ODD: tuple[tuple[str, bytes, bytes], ...] = (
    ("an empty line before it", b"\r\n" + GOOD, b""),
    ("trailers", CHUNKED + b"5\r\nhello\r\n0\r\nX-A: a\r\n\r\n", b"hello"),
    ("a chunk extension", CHUNKED + b"5;a=b\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("a chunk size with zeros", CHUNKED + b"00005\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("chunked in capitals", POST + b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", b""),
    ("no blank after the colons", b"POST /app/echo HTTP/1.1\r\nHost:localhost\r\nContent-Length:0\r\n\r\n", b""),
    ("blanks around a value", POST + b"Content-Length:  5  \r\n\r\nhello", b"hello"),
    ("an empty value", POST + b"X-A:\r\nContent-Length: 0\r\n\r\n", b""),
    ("a length with zeros", POST + b"Content-Length: 0005\r\n\r\nhello", b"hello"),
    ("an Expect we do not know", POST + b"Expect: much\r\nContent-Length: 0\r\n\r\n", b""),
)  # fmt: skip  # a row a line


@pytest.mark.parametrize(("data", "body"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
async def test_what_is_odd_and_in_order_is_answered_and_the_connection_lives(
    tmp_path: Path, data: bytes, body: bytes
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await served(rig)
        client = await rig.connect()
        client.send(data)
        first = await client.reply()
        client.send(data)
        again = await client.reply()

        assert (first.status, first.body) == (again.status, again.body) == (200, body)
        assert [call[2] for call in rank.calls] == [body, body]


async def test_any_cut_of_a_request_into_pieces_is_the_same_request(tmp_path: Path) -> None:
    data = (
        CHUNKED.replace(b"\r\n\r\n", b"\r\nX-A: a\r\n\r\n")
        + b"3\r\nhel\r\n2;x\r\nlo\r\n0\r\nX-B: b\r\n\r\n"
    )
    async with gateway(tmp_path) as rig:
        rank = await served(rig)
        client = await rig.connect()
        for cut in range(1, len(data)):
            client.send(data[:cut])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            client.send(data[cut:])
            assert (await client.reply()).body == b"hello"

        assert len(rank.calls) == len(data) - 1
