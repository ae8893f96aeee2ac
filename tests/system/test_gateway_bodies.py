"""How do large bodies come in? Around the parser: whole, bounded, in time, and nothing behind them is lost."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.gateway.bodies import GROW_BYTES, LARGE_MIN, LargeBody
from glowplug_router.gateway.settings import GatewaySettings
from system.gateway_fakes import JSON_HEADERS, RankLink
from system.gateway_rig import Rig, gateway, request, until

MIB = 1024 * 1024
QUICK = GatewaySettings(body_idle_ns=SECOND // 5, pulse_ns=20 * MILLISECOND)


@pytest.fixture(params=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def noise(size: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(size)


def post(rig: Rig, body: bytes, **headers: str) -> bytes:
    return request("POST", "/app/echo", body, token=rig.token, **headers)


async def held_bytes(rig: Rig) -> float:
    text = (await rig.get("/metrics")).body.decode()
    return float(text.partition("\nglowplug_held_bytes ")[2].split("\n")[0])


@pytest.mark.parametrize("size", [LARGE_MIN - 1, LARGE_MIN, LARGE_MIN + 1, 3 * MIB])
async def test_a_body_of_any_size_comes_back_as_it_was_sent(tmp_path: Path, size: int) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        for seed in range(3):
            body = noise(size, seed)
            client.send(post(rig, body))
            reply = await client.reply()

            assert (reply.status, reply.body == body) == (200, True)
        assert await held_bytes(rig) == 0


async def test_requests_behind_a_large_body_are_answered_in_order(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        bodies = [
            noise(LARGE_MIN, 1),
            b"small",
            noise(MIB, 2),
            b"",
            noise(LARGE_MIN + 7, 3),
            b"last",
        ]
        client.send(b"".join(post(rig, body) for body in bodies))

        assert [(await client.reply()).body for _ in bodies] == bodies


async def test_a_large_body_may_come_in_pieces_and_its_head_too(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        body = noise(LARGE_MIN * 2)
        data, chance = post(rig, body) + post(rig, b"next"), Random(7)
        for cut in (1, 40, data.index(b"\r\n\r\n") + 2, data.index(b"\r\n\r\n") + 4, LARGE_MIN):
            client = await rig.connect()
            at = 0
            for end in (
                cut,
                cut + 1,
                *sorted(chance.sample(range(cut + 1, len(data)), 5)),
                len(data),
            ):
                client.send(data[at:end])
                await client.writer.drain()
                await anyio.sleep(0.002)  # so that the pieces are read apart
                at = end

            assert (await client.reply()).body == body
            assert (await client.reply()).body == b"next"


async def test_what_follows_a_large_body_and_is_no_request_is_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        body = noise(MIB)
        client.send(post(rig, body) + b"more than was announced\r\n\r\n")

        assert (await client.reply()).body == body
        assert (await client.reply()).status == 400
        assert await client.is_closed()


async def test_a_large_body_that_stops_is_refused_in_time(tmp_path: Path) -> None:
    async with gateway(tmp_path, QUICK) as rig:
        rank = await rig.serve_one()
        client = await rig.connect()
        client.send(post(rig, noise(MIB))[:-1])
        reply = await client.reply()

        assert (reply.status, reply.code) == (408, "request_timeout")
        assert await client.is_closed()
        assert (rank.calls, await held_bytes(rig)) == ([], 0)


async def test_a_large_body_that_keeps_moving_is_not_cut_off(tmp_path: Path) -> None:
    async with gateway(tmp_path, QUICK) as rig:
        await rig.serve_one()
        client = await rig.connect()
        body = noise(LARGE_MIN)
        data = post(rig, body)
        for at in range(0, len(data), len(data) // 8):
            client.send(data[at : at + len(data) // 8])
            await anyio.sleep(0.08)  # in all three times the limit for a pause

        assert (await client.reply()).body == body


@pytest.mark.parametrize("is_half", [True, False], ids=["half-closed", "gone"])
async def test_a_client_that_leaves_within_a_large_body_leaves_nothing_behind(
    tmp_path: Path, is_half: bool
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one()
        client = await rig.connect()
        client.send(post(rig, noise(MIB))[: MIB // 2])
        await client.writer.drain()
        with anyio.fail_after(5):
            while await held_bytes(rig) < MIB // 4:  # noqa: ASYNC110  # nobody announces what arrived
                await anyio.sleep(0.005)
        if is_half:
            client.writer.write_eof()
            assert await client.is_closed()
        else:
            await client.gone()
        with anyio.fail_after(5):
            while await held_bytes(rig):  # noqa: ASYNC110  # as above
                await anyio.sleep(0.005)

        assert not rank.calls
        assert (await rig.post(body=b"next")).body == b"next"


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Leave what knows itself in memory."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def arriving() -> list[LargeBody]:
    return [thing for thing in gc.get_objects() if type(thing) is LargeBody]


@pytest.mark.parametrize("sent", [0, 1, 3 * GROW_BYTES // 2])
async def test_what_is_announced_and_does_not_come_costs_no_memory(
    tmp_path: Path, uncollected: None, sent: int
) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        head = request(
            "POST",
            "/app/echo",
            token=rig.token,
            Glowplug_Affinity="a",
            Content_Length=str(64 * MIB),
        ).replace(b"Content-Length: 0\r\n", b"")
        clients = [await rig.connect() for _ in range(10)]
        for client in clients:
            client.send(head + bytes(sent))
        granted = (sent // GROW_BYTES + 1) * GROW_BYTES * len(clients)
        with anyio.fail_after(5):
            while await held_bytes(rig) < granted:  # noqa: ASYNC110  # nobody announces what arrived
                await anyio.sleep(0.005)

        assert await held_bytes(rig) == granted
        assert len(arriving()) == len(clients)
        assert sum(len(body.data) for body in arriving()) <= granted

        for client in clients:
            await client.gone()
        with anyio.fail_after(5):
            while await held_bytes(rig):  # noqa: ASYNC110  # as above
                await anyio.sleep(0.005)
        assert arriving() == []


async def test_a_large_body_for_which_there_is_no_room_is_refused_by_its_head(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path, GatewaySettings(held_max_bytes=GROW_BYTES - 1)) as rig:
        await rig.serve_one()
        client = await rig.connect()
        client.send(post(rig, noise(MIB))[:1000])
        reply = await client.reply()

        assert (reply.status, reply.code) == (429, "overloaded")
        assert await held_bytes(rig) == 0


async def test_large_bodies_in_memory_are_bounded_over_all_calls(tmp_path: Path) -> None:
    async with gateway(tmp_path, GatewaySettings(held_max_bytes=MIB)) as rig:
        rank = await rig.serve_one()
        client = await rig.connect()
        client.send(post(rig, noise(2 * MIB)))
        reply = await client.reply()

        assert (reply.status, reply.code, reply.headers["retry-after"]) == (429, "overloaded", "1")
        assert (rank.calls, await held_bytes(rig)) == ([], 0)
        assert (await rig.post(body=noise(MIB // 2))).status == 200


async def test_a_large_body_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with gateway(tmp_path, GatewaySettings(body_max_bytes=LARGE_MIN)) as rig:
        rank = await rig.serve_one()
        assert (await rig.post(body=noise(LARGE_MIN))).status == 200
        client = await rig.connect()
        client.send(post(rig, b"first"))
        assert (await client.reply()).status == 200
        client.send(post(rig, noise(LARGE_MIN + 1)))
        reply = await client.reply()

        assert (reply.status, reply.code) == (413, "too_large")
        assert await client.is_closed()
        assert len(rank.calls) == 2


async def test_a_client_that_asks_first_may_send_a_large_body(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        client = await rig.connect()
        body = noise(MIB)
        head, _, _ = post(rig, body, Expect="100-continue").partition(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")

        assert (await client.reply()).status == 100
        client.send(body + post(rig, b"next"))
        assert (await client.reply()).body == body
        assert (await client.reply()).body == b"next"


async def test_a_large_body_behind_a_call_that_runs_waits_for_its_turn(tmp_path: Path) -> None:
    waiting: list[tuple[RankLink, int, bytes]] = []

    def later(link: RankLink, rid: int, infer: object, body: bytes) -> None:
        waiting.append((link, rid, body))

    async with gateway(tmp_path) as rig:
        await rig.serve_one(later)
        client = await rig.connect()
        body = noise(MIB)
        client.send(post(rig, b"first") + post(rig, body) + post(rig, b"third"))
        for expected in (b"first", body, b"third"):
            await until(lambda: bool(waiting))
            link, rid, got = waiting.pop()
            assert got == expected
            link.answer(rid, got)

            assert (await client.reply()).body == expected


async def test_the_pieces_of_a_stream_keep_their_order_whatever_their_size(tmp_path: Path) -> None:
    chance = Random(3)
    pieces = [
        chance.randbytes(size) for size in (1, 20, 0, 40_000, 5, 5, 16_384, 16_385, 3, 70_000, 1)
    ]

    def stream(link: RankLink, rid: int, infer: object, body: bytes) -> None:
        link.begin(rid, "application/octet-stream")
        for piece in pieces:
            link.piece(rid, piece)
        link.end(rid)

    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one(stream)
        client = await rig.connect()
        client.send(post(rig, b"a") + post(rig, b"b"))

        for _ in range(2):
            reply = await client.reply()
            assert (reply.is_whole, reply.body) == (True, b"".join(pieces))
        assert rank.links[0].credits > 0


async def test_a_large_answer_comes_whole_behind_its_head(tmp_path: Path) -> None:
    body = noise(2 * MIB)

    def answer(link: RankLink, rid: int, infer: object, _: bytes) -> None:
        link.answer(rid, body, JSON_HEADERS)

    async with gateway(tmp_path) as rig:
        await rig.serve_one(answer)
        replies = await asyncio.gather(*(rig.post() for _ in range(4)))

        assert [(reply.status, reply.body == body) for reply in replies] == [(200, True)] * 4
