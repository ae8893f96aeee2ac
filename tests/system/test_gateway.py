"""How do calls go through the gateway: answered, streamed, cancelled, retried, nested, and without a controller?"""

import asyncio
import json
from pathlib import Path

import anyio

from glowplug.clock import MILLISECOND, SECOND
from glowplug.wire.messages import Infer
from glowplug_router.gateway.settings import GatewaySettings
from system.gateway_fakes import RankLink, echo
from system.gateway_rig import Reply, endpoint, gateway, request, version


def silent(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
    """Never answer."""


# -- plain calls -----------------------------------------------------------------------------------------


async def test_a_call_reaches_its_replica_with_what_it_may_know_and_comes_back(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one()
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        headers = {
            "X-Request-Id": "mine",
            "Content-Type": "text/x",
            "Cookie": "no",
            "Traceparent": trace,
        }
        reply = await rig.post(
            "/app/echo?a=1", b"hello", Glowplug_Priority="batch", Idempotency_Key="k", **headers
        )
        infer = rank.calls[0][1]

        assert (reply.status, reply.body) == (200, b"hello")
        assert reply.headers["x-request-id"] == infer.request_id == "mine"
        assert reply.headers["glowplug-executed"] == "yes"
        assert reply.headers["glowplug-version"] == "v1"
        assert reply.headers["glowplug-attempts"] == "1"
        assert reply.headers["server-timing"].startswith("queue;dur=")
        assert reply.headers["server-timing"].endswith("run;dur=1.000")
        assert (infer.path, infer.query, infer.endpoint, infer.version) == (
            "/echo",
            "a=1",
            "app/echo",
            "app/echo@1",
        )
        assert infer.headers == (("content-type", "text/x"),)
        assert (infer.klass, infer.tenant, infer.trace, infer.idempotency_key) == (
            "batch",
            "ten",
            trace,
            "k",
        )


async def test_a_replica_cannot_forge_our_headers_or_split_the_answer(tmp_path: Path) -> None:
    def forge(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        forged = (
            ("content-type", "a/b"),
            ("x-a", "b\r\nx-evil: 1"),
            ("content-length", "3"),
            ("glowplug-version", "v9"),
        )
        link.answer(rid, b"body", forged)

    async with gateway(tmp_path) as rig:
        await rig.serve_one(forge)
        reply = await rig.post()

        assert (reply.body, reply.headers["glowplug-version"], "x-evil" in reply.headers) == (
            b"body",
            "v1",
            False,
        )


async def test_versions_are_pinned_by_suffix_and_drawn_by_share(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        one = await rig.rank("r1", "app/echo@1")
        two = await rig.rank("r2", "app/echo@2")
        await rig.publish(
            endpoint(
                "app/echo",
                version(1, permille=900, replicas=(one.route,)),
                version(2, permille=100, replicas=(two.route,)),
                stable=1,
            )
        )
        drawn = [(await rig.post()).headers["glowplug-version"] for _ in range(100)]

        assert 70 <= drawn.count("v1") < 100
        assert (await rig.post("/app/echo@v2")).headers["glowplug-version"] == "v2"
        assert (await rig.post("/app/echo@stable")).headers["glowplug-version"] == "v1"
        assert (await rig.post("/app/echo%40v2")).headers["glowplug-version"] == "v2"
        missing = await rig.post("/app/echo@v3")
        assert (missing.status, missing.code) == (404, "version_not_found")


async def test_wishes_are_checked_and_kept(tmp_path: Path) -> None:
    async with gateway(tmp_path, GatewaySettings(pulse_ns=20 * MILLISECOND)) as rig:
        rank = await rig.serve_one()
        bad = [
            await rig.post(Prefer="respond-async"),
            await rig.post(Glowplug_Deadline="soon"),
            await rig.post(Glowplug_Deadline="-1"),
            await rig.post(Glowplug_Priority="royal"),
            await rig.post(Cancel_After="soon"),
        ]
        assert [(reply.status, reply.code) for reply in bad] == [(400, "bad_request")] * 5
        assert b"no jobs yet" in bad[0].body
        assert not rank.calls

        rank.handler = silent
        late = await rig.post(Glowplug_Deadline="0.1")

        assert (late.status, late.code, late.headers["glowplug-executed"]) == (
            504,
            "deadline",
            "maybe",
        )
        assert 0 < rank.calls[0][1].timeout_ns <= SECOND // 10
        with anyio.fail_after(2):
            await rank.was_cancelled.wait()


async def test_the_documented_problems_come_back_whole_and_a_replicas_own_is_passed_on(
    tmp_path: Path,
) -> None:
    def refuse(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        link.fail(rid, "invalid_request", detail="x is missing")

    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one(refuse)
        wrong = await rig.post()
        await rig.publish(endpoint("app/echo", version(replicas=(rank.route,)), stopped=True))
        stopped = await rig.post()
        got = await rig.get("/app/echo")

        assert (wrong.status, wrong.code, wrong.headers["glowplug-executed"]) == (
            422,
            "invalid_request",
            "no",
        )
        assert json.loads(wrong.body)["detail"] == "x is missing"
        assert (stopped.status, stopped.code) == (503, "stopped")
        assert (got.status, got.headers["allow"]) == (405, "POST")


# -- the caller goes away ----------------------------------------------------------------------------------


async def test_a_disconnect_cancels_the_call_within_a_second(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one(silent, permits=1)
        client = await rig.connect()
        client.send(request("POST", "/app/echo", b"x", token=rig.token))
        with anyio.fail_after(2):
            await rank.arrived.wait()
        client.close()
        with anyio.fail_after(1):
            await rank.was_cancelled.wait()
        rank.handler = echo

        assert (await rig.post()).status == 200  # its permit is free again
        assert b'code="499",endpoint="echo",version="1"} 1.0' in (await rig.get("/metrics")).body


# -- streams -----------------------------------------------------------------------------------------------


async def test_a_stream_arrives_piece_by_piece(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one(lambda link, rid, *_: link.begin(rid))
        client = await rig.connect()
        client.send(request("POST", "/app/echo", b"x", token=rig.token, Accept="text/event-stream"))
        status, headers = await client.head()
        link, rid = rank.links[0], rank.calls[0][0]
        for n in range(3):
            link.piece(rid, b"data: %d\n\n" % n)
            with anyio.fail_after(2):
                assert await client.reader.readuntil(b"\n\n\r\n") == b"9\r\ndata: %d\n\n\r\n" % n
        link.end(rid)

        assert (status, headers["content-type"], headers["transfer-encoding"]) == (
            200,
            "text/event-stream",
            "chunked",
        )
        assert await client.reader.readexactly(5) == b"0\r\n\r\n"
        client.send(request("GET", "/livez"))
        assert (await client.reply()).status == 200  # the connection lives on


async def test_a_slow_reader_stops_the_credit_and_a_stalled_one_is_cut_off(tmp_path: Path) -> None:
    settings = GatewaySettings(write_stall_ns=400 * MILLISECOND, pulse_ns=50 * MILLISECOND)
    async with gateway(tmp_path, settings) as rig:
        rank = await rig.serve_one(lambda link, rid, *_: link.begin(rid))
        client = await rig.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a reader that does not read
        client.send(request("POST", "/app/echo", b"x", token=rig.token))
        with anyio.fail_after(2):
            await rank.arrived.wait()
        link, rid = rank.links[0], rank.calls[0][0]
        sent = 0
        while (
            sent - link.credits < 256 * 1024 and sent < 64 * 1024 * 1024
        ):  # what a rank's window lets through
            link.piece(rid, b"x" * 65_536)
            sent += 65_536
            await asyncio.sleep(0.002)

        assert (
            sent < 32 * 1024 * 1024
        )  # the sockets' buffers were full, and then nothing more was asked for
        assert sent - link.credits >= 256 * 1024
        with anyio.fail_after(3):
            await rank.was_cancelled.wait()


async def test_a_reader_that_catches_up_gets_the_rest(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one(
            lambda link, rid, *_: link.begin(rid, "application/octet-stream")
        )
        client = await rig.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # for a while
        client.send(request("POST", "/app/echo", b"x", token=rig.token))
        with anyio.fail_after(2):
            await rank.arrived.wait()
        link, rid = rank.links[0], rank.calls[0][0]
        sent = 0
        while sent - link.credits < 256 * 1024:
            link.piece(rid, b"x" * 65_536)
            sent += 65_536
            await asyncio.sleep(0.002)
        link.end(rid)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # caught up
        reply = await client.reply()

        assert (reply.is_whole, len(reply.body)) == (True, sent)


async def test_a_stream_that_breaks_says_so_in_its_own_way(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one()

        async def broken(content_type: str) -> Reply:
            rank.arrived.clear()

            def breaks(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
                link.begin(rid, content_type)
                link.piece(rid, b"data: 1\n\n")
                link.fail(rid, "endpoint_error", "yes")

            rank.handler = breaks
            return await rig.post()

        events, lines, raw = [
            await broken(t) for t in ("text/event-stream", "application/x-ndjson", "image/png")
        ]

        assert b"event: error\ndata: {" in events.body
        assert events.is_whole
        assert json.loads(lines.body.split(b"\n\n", 1)[1])["event"] == "error"
        assert (raw.is_whole, raw.body) == (False, b"data: 1\n\n")
