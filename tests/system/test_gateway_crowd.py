"""Does a crowd of slow clients hold anybody up, and does whoever leaves the queue leave it at once?

Both are told from times, and each has a control beside it in the same minute: what the machine does meanwhile happens
to both.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import pytest

from glowplug.clock import MILLISECOND, SECOND, SystemClock
from glowplug.wire.messages import Infer
from system.gateway_fakes import RankLink
from system.gateway_rig import Client, Rig, gateway, request, until
from system.test_gateway_malformed import GOOD, HASTY, POST, served

SLOW_CLIENTS = 200
ROUNDS = 8
CALLS = 50  # of a round
HELD_UP_MS = 10.0  # a pass of the loop that looks at the whole crowd takes less than one
GONE_MS = 20.0  # docs/promises.md, S5


@pytest.fixture(params=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


# -- a crowd -------------------------------------------------------------------------------------------


async def test_two_hundred_slow_clients_hold_nobody_up(tmp_path: Path) -> None:
    settings = replace(HASTY, head_ns=60 * SECOND)  # none of them is ended while the calls are made
    async with gateway(tmp_path / "a") as quiet, gateway(tmp_path / "b", settings) as crowded:
        await served(quiet)
        await served(crowded)
        crowd = [await crowded.connect() for _ in range(SLOW_CLIENTS)]
        for client in crowd:
            client.send(POST + b"X-A: ")
        alone: list[float] = []
        beside: list[float] = []
        for _ in range(ROUNDS):
            alone += await _latencies_ms(quiet)
            async with _dripping(crowd):
                beside += await _latencies_ms(crowded)

        print(
            f"\np90 of {ROUNDS * CALLS} calls: {_p90(alone):.2f} ms alone,"
            f" {_p90(beside):.2f} ms beside {SLOW_CLIENTS} slow clients"
        )
        assert not any(client.has_answer for client in crowd)
        assert not _are_held_up(beside, alone)


async def test_calls_that_are_held_up_are_seen_to_be(tmp_path: Path) -> None:
    def later(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        asyncio.get_running_loop().call_later(2 * HELD_UP_MS / 1000, link.answer, rid, body)

    async with gateway(tmp_path) as rig:
        rank = await served(rig)
        alone = await _latencies_ms(rig)
        rank.handler = later

        assert _are_held_up(await _latencies_ms(rig), alone)


def _are_held_up(these: list[float], those: list[float]) -> bool:
    return _p90(these) > _p90(those) + HELD_UP_MS


def _p90(took_ms: list[float]) -> float:
    return sorted(took_ms)[int(len(took_ms) * 0.9)]


@asynccontextmanager
async def _dripping(crowd: list[Client]) -> AsyncIterator[None]:
    """Let each of them send a byte a second of a head that never ends."""

    async def drip() -> None:
        while True:
            for client in crowd:
                client.send(b"a")
                await anyio.sleep(1 / SLOW_CLIENTS)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drip)
        yield
        tasks.cancel_scope.cancel()


async def _latencies_ms(rig: Rig) -> list[float]:
    client = await rig.connect()
    clock, took = SystemClock(), []
    for _ in range(CALLS):
        began_ns = clock.now_ns()
        client.send(GOOD)
        assert (await client.reply()).status == 200
        took.append((clock.now_ns() - began_ns) / MILLISECOND)
        await anyio.sleep(0.002)
    return took


# -- the queue -----------------------------------------------------------------------------------------


async def test_a_call_that_waits_is_forgotten_as_soon_as_its_caller_has_gone_and_no_other(
    tmp_path: Path,
) -> None:
    clock, took_ms = SystemClock(), []
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one(_silent, permits=1)
        looker, runs, stays = [await rig.connect() for _ in range(3)]
        runs.send(request("POST", "/app/echo", b"runs", token=rig.token))
        await until(lambda: len(rank.calls) == 1)
        stays.send(request("POST", "/app/echo", b"stays", token=rig.token))
        await _until_queued(rig, looker, 1)
        for _ in range(9):
            leaves = await rig.connect()
            leaves.send(request("POST", "/app/echo", b"leaves", token=rig.token))
            await _until_queued(rig, looker, 2)
            for _ in range(5):
                assert await _queued(rig, looker) == 2  # while it stays, it is not forgotten
            began_ns = clock.now_ns()
            leaves.close()
            await _until_queued(rig, looker, 1)
            took_ms.append((clock.now_ns() - began_ns) / MILLISECOND)
        rank.links[0].answer(rank.calls[0][0], b"")
        await until(lambda: len(rank.calls) == 2)

        print(f"\nS5: callers that left were forgotten after {[round(ms, 1) for ms in took_ms]} ms")
        assert rank.calls[1][2] == b"stays"
        assert median(took_ms) <= GONE_MS


def _silent(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
    """Leave the call unanswered: it keeps its permit."""


async def _until_queued(rig: Rig, looker: Client, count: int) -> None:
    with anyio.fail_after(5):
        while await _queued(rig, looker) != count:
            pass


async def _queued(rig: Rig, looker: Client) -> int:
    looker.send(request("GET", "/metrics"))
    lines = (await looker.reply()).body.decode().splitlines()
    (line,) = (one for one in lines if one.startswith("glowplug_queued_calls{"))
    return int(float(line.rpartition(" ")[2]))
