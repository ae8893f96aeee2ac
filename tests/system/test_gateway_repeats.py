"""Is a head that is like the last one let in as that one was, and no other? Clients say nearly the same each time."""

import json
from pathlib import Path

import pytest

from glowplug.clock import SECOND, SystemClock
from glowplug_router.gateway.settings import GatewaySettings
from system.gateway_rig import endpoint, gateway, key, request, version


async def test_requests_that_are_alike_differ_in_length_and_id(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        for size in (1, 200, 7, 3000):
            client.send(
                request(
                    "POST", "/app/echo", b"x" * size, token=rig.token, X_Request_Id=f"id-{size}"
                )
            )
            reply = await client.reply()

            assert (len(reply.body), reply.headers["x-request-id"]) == (size, f"id-{size}")
        client.send(request("POST", "/app/echo", b"y", token=rig.token))
        reply = await client.reply()

        assert (reply.body, len(reply.headers["x-request-id"])) == (b"y", 32)


async def test_another_path_key_or_method_on_the_same_connection_is_looked_at(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        statuses = []
        for method, path, token in (
            ("POST", "/app/echo", rig.token),
            ("POST", "/app/other", rig.token),
            ("POST", "/app/echo", rig.token[:-1] + "_"),
            ("POST", "/app/echo", ""),
            ("PUT", "/app/echo", rig.token),
            ("POST", "/app/echo@v2", rig.token),
            ("POST", "/app/echo", rig.token),
        ):
            client.send(request(method, path, b"{}", token=token))
            statuses.append((await client.reply()).status)

        assert statuses == [200, 404, 401, 401, 405, 404, 200]


async def test_a_key_that_is_taken_back_lets_nothing_more_in_on_a_connection_that_stands(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one()
        client = await rig.connect()
        data = request("POST", "/app/echo", b"{}", token=rig.token)
        for _ in range(2):
            client.send(data)
            assert (await client.reply()).status == 200
        rig.keys[:] = [key("invoke:*")[0]]
        await rig.publish(endpoint("app/echo", version(replicas=(rank.route,))))
        client.send(data)

        assert (await client.reply()).status == 401


async def test_a_key_that_expires_lets_nothing_more_in_on_a_connection_that_stands(
    tmp_path: Path,
) -> None:
    clock = SystemClock()
    async with gateway(tmp_path) as rig:
        route, token = key("invoke:*", expires_wall_ns=clock.wall_ns() + SECOND)
        rig.keys.append(route)
        await rig.serve_one()
        client = await rig.connect()
        data = request("POST", "/app/echo", b"{}", token=token)
        statuses: list[int] = []
        while not statuses or statuses[-1] == 200:
            client.send(data)
            statuses.append((await client.reply()).status)

        assert (statuses[0], statuses[-1]) == (200, 401)
        assert clock.wall_ns() >= route.expires_wall_ns


async def test_a_stopped_endpoint_is_stopped_for_connections_that_stand(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one()
        client = await rig.connect()
        data = request("POST", "/app/echo", b"{}", token=rig.token)
        client.send(data)
        assert (await client.reply()).status == 200
        await rig.publish(endpoint("app/echo", version(replicas=(rank.route,)), stopped=True))
        client.send(data)

        assert (await client.reply()).code == "stopped"


async def test_a_second_length_is_refused_and_a_trailer_says_nothing_of_the_next_request(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one()
        good = request("POST", "/app/echo", b"{}", token=rig.token)
        head = request("GET", "/app/echo", token=rig.token).replace(b"GET", b"POST", 1)[:-2]
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        client = await rig.connect()
        client.send(good + chunked + b"X-Request-Id: evil\r\n\r\n" + head + b"\r\n" + good)
        replies = [await client.reply() for _ in range(4)]

        assert [reply.body for reply in replies] == [b"{}", b"{}", b"", b"{}"]
        assert all(reply.headers["x-request-id"] != "evil" for reply in replies)
        for bad in (
            chunked + b"Content-Length: 50\r\n\r\n",
            good.replace(b"Content-Length: 2", b"Content-Length: 2\r\ncontent-length: 2"),
        ):
            client = await rig.connect()
            client.send(good + bad + good)

            assert [(await client.reply()).status for _ in range(2)] == [200, 400]
            assert await client.is_closed()
        assert len(rank.calls) == 6


async def test_the_same_head_in_http_1_0_is_answered_as_such(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        data = request("POST", "/app/echo", b"{}", token=rig.token, Connection="keep-alive")
        client.send(data)
        assert "connection" not in (await client.reply()).headers
        client.send(data.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        reply = await client.reply()

        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert await client.is_closed()


async def test_a_request_id_of_any_length_is_bounded_on_a_connection_that_stands(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        client.send(request("POST", "/app/echo", b"{}", token=rig.token))
        assert (await client.reply()).status == 200
        client.send(request("POST", "/app/echo", b"{}", token=rig.token, X_Request_Id="x" * 40_000))
        reply = await client.reply()

        assert (reply.status, json.loads(reply.body)["code"]) == (431, "headers_too_large")


async def test_a_refused_head_is_refused_however_often_it_is_repeated(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        good = request("POST", "/app/echo", b"{}", token=rig.token)
        bad = request("POST", "/app/echo", b"{}", token=rig.token[:-1] + "_")
        statuses = []
        for data in (good, good, bad, bad, bad, good, bad, good):
            client.send(data)
            statuses.append((await client.reply()).status)

        assert statuses == [200, 200, 401, 401, 401, 200, 401, 200]


async def test_a_repeated_head_with_another_length_gets_that_much_of_a_body_and_no_more(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one()
        client = await rig.connect()
        for size in (5, 5, 5, 99_999, 1, 123, 0, 70_000, 5):
            client.send(request("POST", "/app/echo", b"x" * size, token=rig.token))
            assert len((await client.reply()).body) == size
        before = len(rank.calls)
        two = request("POST", "/app/echo", b"one", token=rig.token) * 2
        client.send(two)
        assert [(await client.reply()).body for _ in range(2)] == [b"one", b"one"]
        assert len(rank.calls) == before + 2


@pytest.mark.parametrize("length", [b"+2", b"-2", b"0x2", b"2 2", b"2,2", b"\xb2", b""])
async def test_a_repeated_head_whose_length_is_no_number_is_refused(
    tmp_path: Path, length: bytes
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one()
        client = await rig.connect()
        data = request("POST", "/app/echo", b"{}", token=rig.token)
        for _ in range(3):
            client.send(data)
            assert (await client.reply()).status == 200
        made = len(rank.calls)
        client.send(data.replace(b"ength: 2\r\n", b"ength: " + length + b"\r\n"))
        assert (await client.reply()).status == 400
        assert len(rank.calls) == made


async def test_bodies_over_the_limit_are_refused_on_a_repeated_head_too(tmp_path: Path) -> None:
    async with gateway(tmp_path, GatewaySettings(body_max_bytes=100)) as rig:
        await rig.serve_one()
        client = await rig.connect()
        statuses = []
        for size in (10, 10, 100, 101, 10):
            client.send(request("POST", "/app/echo", b"x" * size, token=rig.token))
            statuses.append((await client.reply()).status)

        assert statuses == [200, 200, 200, 413, 200]
