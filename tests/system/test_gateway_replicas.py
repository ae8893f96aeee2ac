"""How do calls fare when replicas come, go, refuse, break, or call on themselves?"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from glowplug.clock import SECOND
from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.messages import Infer, Response, pack, unpack_failure, unpack_response
from glowplug_router.gateway.settings import GatewaySettings
from system.gateway_fakes import RankLink
from system.gateway_rig import Rig, endpoint, gateway, request, until, version


def silent(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
    """Never answer."""


# -- replicas come and go ------------------------------------------------------------------------------------


async def test_a_busy_replica_is_passed_over_and_the_call_runs_once(tmp_path: Path) -> None:
    ran: list[str] = []

    def busy_first(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        if infer.attempt == 1:
            link.fail(rid, "busy")
        else:
            ran.append(link.rank.name)
            link.answer(rid, body)

    async with gateway(tmp_path) as rig:
        ranks = [await rig.rank(name, "app/echo@1", busy_first) for name in ("r1", "r2")]
        await rig.publish(
            endpoint("app/echo", version(replicas=tuple(rank.route for rank in ranks)))
        )
        reply = await rig.post()

        assert (reply.status, reply.headers["glowplug-attempts"], len(ran)) == (200, "2", 1)
        assert sum(len(rank.calls) for rank in ranks) == 2


async def test_a_replica_lost_under_a_call_is_told_as_maybe_executed(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one(lambda link, *_: link.abort())
        reply = await rig.post()

        assert (reply.status, reply.code) == (502, "replica_lost")
        assert reply.headers["glowplug-executed"] == "maybe"


async def test_a_broken_link_is_dialled_again(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one()
        rank.links[0].abort()
        await until(lambda: len(rank.links) == 2)

        assert (await rig.post()).status == 200


async def test_a_draining_replica_gets_no_more_calls(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        one, two = [await rig.rank(name, "app/echo@1") for name in ("r1", "r2")]
        await rig.publish(endpoint("app/echo", version(replicas=(one.route, two.route))))
        one.links[0].greet("draining")
        await asyncio.sleep(0.05)
        for _ in range(10):
            assert (await rig.post()).status == 200

        assert (len(one.calls), len(two.calls)) == (0, 10)


async def test_a_call_whose_version_leaves_before_it_ran_goes_to_the_next_one_unless_it_named_its_own(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        new = await rig.rank("r2", "app/echo@2")
        await rig.publish(endpoint("app/echo", version(1)))
        anyone, one = await rig.connect(), await rig.connect()
        anyone.send(request("POST", "/app/echo", b"x", token=rig.token))
        one.send(request("POST", "/app/echo@v1", b"x", token=rig.token))
        await until(lambda: any(r.demands[0].queued == 2 for r in rig.controller.reports))
        await rig.publish(endpoint("app/echo", version(2, replicas=(new.route,))))
        moved, told = await anyone.reply(), await one.reply()

        assert (moved.status, moved.headers["glowplug-version"]) == (200, "v2")
        assert (told.status, told.code) == (404, "version_not_found")
        assert len(new.calls) == 1


async def test_a_call_waits_for_the_first_replica_and_the_controller_hears_of_it_at_once(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        await rig.publish(endpoint("app/echo", version()))
        client = await rig.connect()
        client.send(request("POST", "/app/echo", b"x", token=rig.token))
        with anyio.fail_after(0.15):  # sooner than the regular report
            await rig.controller.reported.wait()
        demand = rig.controller.reports[0].demands[0]
        rank = await rig.rank("r1", "app/echo@1")
        await rig.publish(endpoint("app/echo", version(replicas=(rank.route,))))
        reply = await client.reply()

        assert (demand.key, demand.arrivals, demand.queued) == ("app/echo@1", 1, 1)
        assert (reply.status, reply.headers["glowplug-cold"]) == (200, "1")
        await until(lambda: rig.controller.reports[-1].demands[0].completed == 1)
        last = rig.controller.reports[-1].demands[0]
        assert (last.queued, last.inflight, last.service_ns) == (0, 0, 1_000_000)


async def test_more_than_hold_calls_are_refused_with_a_time_to_come_back(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.publish(endpoint("app/echo", version(hold=1)))
        client = await rig.connect()
        client.send(request("POST", "/app/echo", b"x", token=rig.token))
        with anyio.fail_after(2):
            await rig.controller.reported.wait()
        second = await rig.post()

        assert (second.status, second.code, second.headers["glowplug-executed"]) == (
            429,
            "hold_full",
            "no",
        )
        assert int(second.headers["retry-after"]) >= 1


async def test_waiting_calls_are_answered_when_the_start_fails(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.publish(endpoint("app/echo", version()))
        client = await rig.connect()
        client.send(request("POST", "/app/echo", b"x", token=rig.token))
        with anyio.fail_after(2):
            await rig.controller.reported.wait()
        await rig.publish(endpoint("app/echo", version(failed="ImportError: no module named x")))
        reply = await client.reply()

        assert (reply.status, reply.code) == (503, "start_failed")
        assert b"no module named x" in reply.body


# -- calls from calls ----------------------------------------------------------------------------------------


async def nested(rig: Rig, *, change: dict[str, object]) -> tuple[int, bytes, bytes]:
    """Let app/echo call on while it runs, and return the frame it gets."""
    outer = await rig.rank("r1", "app/echo@1", silent)
    leaf = await rig.rank("r2", "app/leaf@1")
    await rig.publish(
        endpoint("app/echo", version(replicas=(outer.route,))),
        endpoint("app/leaf", version(replicas=(leaf.route,))),
    )
    client = await rig.connect()
    client.send(
        request(
            "POST",
            "/app/echo",
            b"x",
            token=rig.token,
            Glowplug_Priority="batch",
            Glowplug_Deadline="5",
        )
    )
    with anyio.fail_after(3):
        await outer.arrived.wait()
        infer = outer.calls[0][1]
        fields: dict[str, object] = {
            "path": "/leaf",
            "endpoint": "app/leaf",
            "parent": infer.request_id,
            "call_token": infer.call_token,
            "klass": "",
            "headers": (("content-type", "application/json"), ("cookie", "no")),
        }
        return await outer.links[0].call_on(Infer(**(fields | change)), b"deep")  # type: ignore[arg-type]  # by name


async def held_bytes(rig: Rig) -> int:
    text = (await rig.get("/metrics")).body.decode()
    return int(float(text.partition("\nglowplug_held_bytes ")[2].split("\n")[0]))


async def has_held(rig: Rig, size: int) -> None:
    with anyio.fail_after(5):
        while await held_bytes(rig) != size:  # noqa: ASYNC110  # nobody announces what arrived
            await anyio.sleep(0.005)


@asynccontextmanager
async def running(
    folder: Path, settings: GatewaySettings | None = None
) -> AsyncIterator[tuple[Rig, RankLink, Infer]]:
    """Let app/echo run, with a body of one byte, and say what it may ask for."""
    async with gateway(folder, settings) as rig:
        outer = await rig.rank("r1", "app/echo@1", silent)
        leaf = await rig.rank("r2", "app/leaf@1")
        await rig.publish(
            endpoint("app/echo", version(replicas=(outer.route,))),
            endpoint("app/leaf", version(replicas=(leaf.route,))),
        )
        client = await rig.connect()
        client.send(request("POST", "/app/echo", b"x", token=rig.token))
        with anyio.fail_after(5):
            await outer.arrived.wait()
            asked = outer.calls[0][1]
            on = Infer(
                "/leaf",
                endpoint="app/leaf",
                parent=asked.request_id,
                call_token=asked.call_token,
            )
            yield rig, outer.links[0], on


async def test_code_in_a_call_calls_on_and_its_chain_class_and_deadline_go_along(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        kind, meta, body = await nested(rig, change={})
        infer = rig.ranks["r2"].calls[0][1]
        parent = rig.ranks["r1"].calls[0][1]

        assert (kind, unpack_response(meta).status, body) == (Kind.RESPONSE, 200, b"deep")
        assert (infer.chain, infer.klass, infer.tenant) == (("app/echo",), "batch", "ten")
        assert 0 < infer.timeout_ns <= 5 * SECOND
        assert infer.request_id.startswith(parent.request_id + ".")
        assert infer.headers == (("content-type", "application/json"),)


async def test_a_wrong_token_cannot_call_on(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        kind, meta, _ = await nested(rig, change={"call_token": "0" * 64})

        assert (kind, unpack_failure(meta).code) == (Kind.ERROR, "unauthorized")
        assert not rig.ranks["r2"].calls


async def test_a_call_that_is_not_running_here_cannot_call_on(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        kind, meta, _ = await nested(rig, change={"parent": "another"})

        assert (kind, unpack_failure(meta).code) == (Kind.ERROR, "unauthorized")


async def test_a_body_of_a_call_that_may_not_call_on_is_refused_at_once_and_never_kept(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as (rig, link, infer):
        answer = link.upload(replace(infer, parent="nobody"), b"a" * 1000)
        kind, meta, _ = await answer
        link.piece(2, b"b" * 1000)

        assert (kind, unpack_failure(meta).code) == (Kind.ERROR, "unauthorized")
        assert await held_bytes(rig) == 1


@pytest.mark.parametrize("end", ["whole", "cancelled", "lost"])
async def test_the_pieces_of_a_body_count_until_their_call_is_over(
    tmp_path: Path, end: str
) -> None:
    async with running(tmp_path) as (rig, link, infer):
        answer = link.upload(infer, b"a" * 1000)
        link.piece(2, b"b" * 1000)
        await has_held(rig, 2001)
        if end == "lost":
            link.abort()
        elif end == "cancelled":
            link.send(Kind.CANCEL, 2)
        else:
            link.send(Kind.CHUNK, 2, b"", b"c", FLAG_END)
            assert (await answer)[2] == b"a" * 1000 + b"b" * 1000 + b"c"
        await has_held(rig, 0 if end == "lost" else 1)


async def test_the_pieces_of_bodies_are_bounded_with_all_others(tmp_path: Path) -> None:
    async with running(tmp_path, GatewaySettings(held_max_bytes=1500)) as (rig, link, infer):
        answer = link.upload(infer, b"a" * 1000)
        link.piece(2, b"b" * 1000)
        link.piece(2, b"c" * 1000)
        kind, meta, _ = await answer

        assert (kind, unpack_failure(meta).code) == (Kind.ERROR, "overloaded")
        await has_held(rig, 1)


@pytest.mark.parametrize("retry_safe", [False, True])
async def test_calls_made_by_an_attempt_that_is_lost_are_told_to_stop(
    tmp_path: Path, retry_safe: bool
) -> None:
    async with gateway(tmp_path) as rig:
        one, two = [await rig.rank(name, "app/echo@1", silent) for name in ("r1", "r2")]
        leaf = await rig.rank("r3", "app/leaf@1", silent, permits=1)
        await rig.publish(
            endpoint("app/echo", version(replicas=(one.route, two.route), retry_safe=retry_safe)),
            endpoint("app/leaf", version(replicas=(leaf.route,), permits=1, max_replicas=1)),
        )
        client = await rig.connect()
        client.send(request("POST", "/app/echo", b"x", token=rig.token))
        await until(lambda: bool(one.calls or two.calls))
        first, other = (one, two) if one.calls else (two, one)
        asked = first.calls[0][1]
        for _ in range(2):  # of these one runs, and one waits
            first.links[0].call_on(
                Infer(
                    "/leaf",
                    endpoint="app/leaf",
                    parent=asked.request_id,
                    call_token=asked.call_token,
                ),
                b"deep",
            )
        await until(lambda: queued(rig, "app/leaf@1")[-1:] == [1])
        first.links[0].abort()
        await leaf.was_cancelled.wait()
        leaf.links[0].fail(leaf.calls[0][0], "cancelled", executed="yes")

        await until(lambda: queued(rig, "app/leaf@1")[-1:] == [0])
        await until(lambda: bool(other.calls) == retry_safe)
        assert len(leaf.calls) == len(leaf.cancelled) == 1


def queued(rig: Rig, key: str) -> list[int]:
    """Return how many calls of a version waited, as the controller was told."""
    demands = [one for report in rig.controller.reports for one in report.demands]
    return [one.queued for one in demands if one.key == key]


async def test_calls_may_be_eight_deep_and_no_deeper(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def recurse(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        asyncio.get_running_loop().create_task(deeper(link, rid, infer))

    async def deeper(link: RankLink, rid: int, infer: Infer) -> None:
        again = Infer(
            "/echo", endpoint="app/echo", parent=infer.request_id, call_token=infer.call_token
        )
        kind, meta, _ = await link.call_on(again, b"")
        if kind == Kind.ERROR:
            outcomes.append(unpack_failure(meta).code)
        link.answer(rid, b"done")

    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one(recurse, permits=20)
        reply = await rig.post()

        assert reply.status == 200
        assert (len(rank.calls), outcomes) == (8, ["too_deep"])


async def test_a_call_that_waits_for_its_own_permit_is_a_deadlock(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.rank("r1", "app/echo@1", silent, permits=1)
        await rig.publish(
            endpoint("app/echo", version(replicas=(rank.route,), permits=1, max_replicas=1))
        )
        client = await rig.connect()
        client.send(request("POST", "/app/echo", b"x", token=rig.token))
        with anyio.fail_after(3):
            await rank.arrived.wait()
            infer = rank.calls[0][1]
            again = Infer(
                "/echo", endpoint="app/echo", parent=infer.request_id, call_token=infer.call_token
            )
            kind, meta, _ = await rank.links[0].call_on(again, b"")

        assert (kind, unpack_failure(meta).code) == (Kind.ERROR, "deadlock")


async def test_batches_that_a_replica_tells_of_are_counted(tmp_path: Path) -> None:
    def batched(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        said = Response(200, (), "yes", (("run", 1),), batch=3, flush="full")
        link.send(Kind.RESPONSE, rid, pack(said), body, FLAG_END)

    async with gateway(tmp_path) as rig:
        await rig.serve_one(batched)
        assert (await rig.post()).status == 200
        text = (await rig.get("/metrics")).body.decode()

        assert 'glowplug_batches_total{app="app",endpoint="echo",reason="full"} 1.0' in text
        assert 'glowplug_batch_size_sum{app="app",endpoint="echo",version="1"} 3.0' in text
