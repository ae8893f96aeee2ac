"""What does the gateway say to requests that are too large, out of the ordinary, or not for it?"""

from pathlib import Path

import anyio
import pytest

from glowplug.wire.messages import Infer
from glowplug_router.gateway.settings import GatewaySettings
from system.gateway_fakes import RankLink
from system.gateway_rig import gateway, request

POST = b"POST /app/echo HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize("path", ["/livez", "/-/api/apps"])
async def test_bad_chunks_are_refused_on_the_site_too(tmp_path: Path, path: str) -> None:
    async with gateway(tmp_path, has_controller=False) as rig:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        client = await rig.connect()
        client.send(head + b"xyz\r\n")
        reply = await client.reply()

        assert reply.status == 400
        assert await client.is_closed()


async def test_a_body_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with gateway(tmp_path, GatewaySettings(body_max_bytes=1000)) as rig:
        await rig.serve_one()
        head = request("POST", "/app/echo", token=rig.token, Expect="100-continue").replace(
            b"Length: 0", b"Length: 1001"
        )
        client = await rig.connect()
        client.send(head)
        declared = await client.reply()

        assert (declared.status, declared.code) == (413, "too_large")
        assert await client.is_closed()


async def test_a_chunked_body_is_refused_when_it_passes_the_limit(tmp_path: Path) -> None:
    async with gateway(tmp_path, GatewaySettings(body_max_bytes=1000)) as rig:
        await rig.serve_one()
        head = (
            POST
            + f"Authorization: Bearer {rig.token}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        small = await rig.ask(head + b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n")
        client = await rig.connect()
        client.send(head + b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n")
        large = await client.reply()

        assert (small.status, len(small.body)) == (200, 1000)
        assert large.status == 413
        assert await client.is_closed()


async def test_a_client_that_sends_100_mebibytes_all_the_same_still_reads_the_refusal(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path, has_controller=True) as rig:
        await rig.serve_one()
        client = await rig.connect()
        client.send(
            request("POST", "/app/echo", token=rig.token).replace(
                b"Length: 0", b"Length: 104857600"
            )
        )
        for _ in range(100):
            client.send(b"x" * 1_048_576)
            await client.writer.drain()

        assert (await client.reply()).status == 413


async def test_bodies_in_memory_are_bounded_over_all_calls(tmp_path: Path) -> None:
    def keep(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        pass

    async with gateway(tmp_path, GatewaySettings(held_max_bytes=1500)) as rig:
        rank = await rig.serve_one(keep)
        first = await rig.connect()
        first.send(request("POST", "/app/echo", b"x" * 1000, token=rig.token))
        await rank.arrived.wait()
        second = await rig.post(body=b"x" * 1000)
        rank.links[0].answer(rank.calls[0][0], b"done")
        assert (await first.reply()).body == b"done"
        rank.handler = lambda link, rid, _, body: link.answer(rid, body)

        assert (second.status, second.code) == (429, "overloaded")
        assert "retry-after" in second.headers
        assert (await rig.post(body=b"x" * 1000)).status == 200


async def test_a_client_that_asks_first_is_told_to_go_on(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        whole = request("POST", "/app/echo", b"hello", token=rig.token, Expect="100-continue")
        client.send(whole[:-5])

        assert (await client.head())[0] == 100
        client.send(b"hello")
        assert (await client.reply()).body == b"hello"


async def test_requests_sent_ahead_are_answered_in_order_on_one_connection(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        client.send(
            request("POST", "/app/echo", b"one", token=rig.token)
            + request("GET", "/livez")
            + request("POST", "/app/none", b"two", token=rig.token)
            + request("POST", "/app/echo", b"three", token=rig.token)
            + request("GET", "/metrics")
            + b"nonsense\r\n\r\n"
        )
        replies = [await client.reply() for _ in range(6)]

        assert [reply.status for reply in replies] == [200, 200, 404, 200, 200, 400]
        assert [replies[0].body, replies[3].body] == [b"one", b"three"]
        assert await client.is_closed()


async def test_http_1_0_is_answered_and_closed(tmp_path: Path) -> None:
    def stream(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        link.begin(rid)
        link.piece(rid, b"data: 1\n\n")
        link.end(rid)

    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one()
        old = request("POST", "/app/echo", b"x", token=rig.token).replace(b"HTTP/1.1", b"HTTP/1.0")
        client = await rig.connect()
        client.send(old)
        plain = await client.reply()
        assert await client.is_closed()
        rank.handler = stream
        streamed = await rig.ask(old)

        assert (plain.status, plain.body, plain.headers["connection"]) == (200, b"x", "close")
        assert "transfer-encoding" not in streamed.headers
        assert streamed.body == b"data: 1\n\n"


async def test_trailers_are_not_taken_for_headers(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        head = POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
        trailed = await rig.ask(head + f"Authorization: Bearer {rig.token}\r\n\r\n".encode())

        assert trailed.status == 401


async def test_an_upgrade_is_ignored_and_the_request_answered(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        client.send(
            request("POST", "/app/echo", b"x", token=rig.token, Connection="upgrade", Upgrade="h2c")
            + b"PRI *"
        )
        reply = await client.reply()

        assert (reply.status, reply.body, reply.headers["connection"]) == (200, b"x", "close")
        with anyio.fail_after(5):
            assert await client.is_closed()


async def test_the_answer_to_head_has_no_body(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        client.send(request("HEAD", "/app/echo", token=rig.token) + request("GET", "/livez"))
        status, headers = await client.head()
        after = await client.reply()

        assert (status, headers["allow"]) == (405, "POST")
        assert (after.status, after.body) == (200, b"ok\n")


async def test_connections_over_the_limit_are_told_so_and_closed(tmp_path: Path) -> None:
    async with gateway(tmp_path, GatewaySettings(connections_max=1)) as rig:
        first = await rig.connect()
        first.send(request("GET", "/livez"))
        assert (await first.reply()).status == 200
        second = await rig.connect()
        refused = await second.reply()

        assert (refused.status, refused.code) == (429, "overloaded")
        assert await second.is_closed()
