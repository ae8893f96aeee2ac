"""How does a gateway live with its controller, without it, and how does it end?"""

import asyncio
import json
from pathlib import Path

import anyio

from glowplug.clock import MILLISECOND
from glowplug.wire.channel import Exchange
from glowplug.wire.messages import Infer, to_json
from glowplug_router.gateway.settings import GatewaySettings
from system.gateway_fakes import RankLink
from system.gateway_rig import endpoint, gateway, request, version


def silent(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
    """Never answer."""


# -- the controller ------------------------------------------------------------------------------------------


async def test_a_gateway_alone_serves_with_the_snapshot_on_its_disk(tmp_path: Path) -> None:
    async with gateway(tmp_path, has_controller=False) as rig:
        rank = await rig.rank("r1", "app/echo@1")
        snapshot = rig.snapshot(endpoint("app/echo", version(replicas=(rank.route,))))
        rig.home.router.mkdir(parents=True)
        file = rig.home.router / "snapshot.json"
        file.write_bytes(to_json(snapshot))
        token = rig.token

    async with gateway(tmp_path, has_controller=False) as again:
        again.servers.append(await rank.start())
        reply = await again.post(token=token)

        assert (reply.status, reply.headers["glowplug-executed"]) == (200, "yes")
        assert (await again.get("/-/api/apps", token=token)).code == "control_unavailable"


async def test_the_snapshot_on_disk_is_for_us_alone(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()

        assert (rig.home.router / "snapshot.json").stat().st_mode & 0o777 == 0o600


async def test_the_control_api_is_reached_through_the_gateway_both_ways_in_pieces(
    tmp_path: Path,
) -> None:
    seen: list[tuple[str, str, int]] = []

    async def count(exchange: Exchange) -> None:
        size = 0
        async for piece in exchange.body:
            size += len(piece)
        headers = dict(exchange.infer.headers)
        seen.append((exchange.infer.path, headers["authorization"], size))
        out = exchange.begin(status=201, headers=(("content-type", "application/x-ndjson"),))
        for n in range(3):
            await out.write(b"%d\n" % n)
        out.end()

    async with gateway(tmp_path, GatewaySettings(body_max_bytes=1000)) as rig:
        await rig.serve_one()
        rig.controller.streams = count
        reply = await rig.ask(request("PUT", "/-/api/blobs/x", b"x" * 3_000_000, token=rig.token))

        assert (reply.status, reply.body) == (201, b"0\n1\n2\n")
        assert seen == [("/-/api/blobs/x", f"Bearer {rig.token}", 3_000_000)]


async def test_a_client_that_leaves_a_control_stream_stops_it(tmp_path: Path) -> None:
    stopped = asyncio.Event()

    async def follow(exchange: Exchange) -> None:
        exchange.on_cancel = stopped.set
        await exchange.begin().write(b"line\n")
        await stopped.wait()

    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        rig.controller.streams = follow
        client = await rig.connect()
        client.send(request("GET", "/-/api/logs?follow=1", token=rig.token))
        assert (await client.head())[0] == 200
        client.close()
        with anyio.fail_after(2):
            await stopped.wait()


async def test_schemas_are_served_to_those_with_a_key(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()

        assert json.loads((await rig.get("/openapi.json")).body)["info"]["title"] == "app"
        assert json.loads((await rig.get("/-/openapi/app")).body)["paths"] == {"/app/echo": {}}
        assert (await rig.get("/-/openapi/none")).code == "not_found"
        lost = await rig.get("/opnapi.json")
        assert (lost.status, b"did you mean `/openapi.json`?" in lost.body) == (404, True)


# -- the end -------------------------------------------------------------------------------------------------


async def test_stopping_answers_what_waits_and_finishes_what_runs(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.rank("r1", "app/echo@1", silent, permits=1)
        await rig.publish(endpoint("app/echo", version(replicas=(rank.route,), permits=1)))
        running, waiting = await rig.connect(), await rig.connect()
        running.send(request("POST", "/app/echo", b"x", token=rig.token))
        with anyio.fail_after(2):
            await rank.arrived.wait()
        waiting.send(request("POST", "/app/echo", b"x", token=rig.token))
        with anyio.fail_after(2):
            await rig.controller.reported.wait()
        rig.stop.set()
        refused = await waiting.reply()
        rank.links[0].answer(rank.calls[0][0], b"done")
        finished = await running.reply()

        assert (refused.status, refused.code, refused.headers["glowplug-executed"]) == (
            503,
            "shutting_down",
            "no",
        )
        assert (finished.status, finished.body, finished.headers["connection"]) == (
            200,
            b"done",
            "close",
        )
        with anyio.fail_after(2):
            await rig.stopped.wait()


async def test_what_does_not_finish_in_time_is_told_so(tmp_path: Path) -> None:
    async with gateway(tmp_path, GatewaySettings(drain_ns=100 * MILLISECOND)) as rig:
        rank = await rig.serve_one(silent)
        client = await rig.connect()
        client.send(request("POST", "/app/echo", b"x", token=rig.token))
        with anyio.fail_after(2):
            await rank.arrived.wait()
        rig.stop.set()
        reply = await client.reply()

        assert (reply.status, reply.code, reply.headers["glowplug-executed"]) == (
            503,
            "shutting_down",
            "maybe",
        )
