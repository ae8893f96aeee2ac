"""What can a replica do that lies, or a caller that names somebody else's call? Nothing but end its own link."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from struct import Struct

import anyio
import msgspec
import pytest

from glowplug.clock import SECOND
from glowplug.wire.frames import FLAG_END, FLAG_RING, META_MAX, Kind, encode
from glowplug.wire.memfd import Offered, has_memfd
from glowplug.wire.messages import Hello, Infer, Response, Trailer, pack, unpack_failure
from system.gateway_fakes import U64, FakeRank, Handler, RankLink, echo
from system.gateway_rig import Rig, endpoint, gateway, request, until, version

PLACE = Struct("<QQQ")
HTML = (("content-type", "text/plain"),)


def silent(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
    """Never answer, whoever leaves."""


class Deaf(RankLink):
    """A rank whose function is synchronous: it runs on when its caller has left."""

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if kind == Kind.CANCEL:
            self.rank.cancelled.append(rid)
        else:
            super().frame(kind, flags, rid, meta, body)


# -- ids of others ---------------------------------------------------------------------------------------


async def test_an_id_stays_taken_while_its_call_runs_and_a_call_without_a_caller_calls_on_for_nobody(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one(silent, speaks=Deaf)
        first, second = await rig.connect(), await rig.connect()
        ask = request("POST", "/app/echo", b"x", token=rig.token, X_Request_Id="job-17")
        first.send(ask)
        await until(lambda: len(rank.calls) == 1)
        first.close()
        await until(lambda: len(rank.cancelled) == 1)
        second.send(ask)
        await until(lambda: len(rank.calls) == 2)
        (rid, one, _), (_, other, _) = rank.calls
        fields = {"path": "/echo", "endpoint": "app/echo", "call_token": one.call_token}
        nested = Infer(**fields, parent="job-17")  # type: ignore[arg-type]  # by name
        with anyio.fail_after(3):
            kind, meta, _ = await rank.links[0].call_on(nested, b"")

        assert (one.request_id, other.request_id != "job-17") == ("job-17", True)
        assert (kind, unpack_failure(meta).code) == (Kind.ERROR, "unauthorized")

        rank.links[0].fail(rid, "cancelled", executed="yes")  # now it has ended
        third = await rig.connect()
        await anyio.sleep(0.05)
        third.send(ask)
        await until(lambda: len(rank.calls) == 3)
        assert rank.calls[2][1].request_id == "job-17"


async def test_a_guessed_id_of_a_nested_call_is_passed_over(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one(silent)
        client, guess = await rig.connect(), await rig.connect()
        for one, id in ((client, "job"), (guess, "job.1")):
            one.send(request("POST", "/app/echo", b"x", token=rig.token, X_Request_Id=id))
        await until(lambda: len(rank.calls) == 2)
        token = rank.calls[0][1].call_token
        rank.links[0].call_on(
            Infer("/echo", endpoint="app/echo", parent="job", call_token=token), b""
        )
        await until(lambda: len(rank.calls) == 3)

        assert rank.calls[2][1].request_id == "job.2"


# -- what it says of itself ------------------------------------------------------------------------------


async def test_a_replica_cannot_take_the_calls_of_another_endpoint(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        liar, honest = await rig.rank("r1", "app/echo@1"), await rig.rank("r2", "app/leaf@1")
        await rig.publish(
            endpoint("app/echo", version(replicas=(liar.route,))),
            endpoint("app/leaf", version(replicas=(honest.route,))),
        )
        assert (await rig.post()).status == 200
        liar.version, liar.permits = "app/leaf@1", 1000
        liar.links[0].greet()
        with anyio.fail_after(3):
            await liar.was_left.wait()
        for _ in range(10):
            assert (await rig.post("/app/leaf")).status == 200

        assert (len(liar.calls), len(honest.calls)) == (1, 10)


async def test_a_replica_may_become_another_version_of_its_endpoint_before_the_snapshot_says_so(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.rank("r1", "app/echo@1")
        await rig.publish(endpoint("app/echo", version(1, replicas=(rank.route,))))
        assert (await rig.post()).status == 200
        rank.version = "app/echo@2"
        rank.links[0].greet()
        await rig.publish(endpoint("app/echo", version(2, replicas=(rank.route,))))

        assert (await rig.post()).headers["glowplug-version"] == "v2"
        assert len(rank.links) == 1


async def test_a_replica_gets_no_more_at_once_than_it_is_listed_with(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.rank("r1", "app/echo@1", silent, permits=1 << 40)
        route = replace(rank.route, permits=2)
        await rig.publish(endpoint("app/echo", version(replicas=(route,))))
        clients = [await rig.connect() for _ in range(4)]
        for client in clients:
            client.send(request("POST", "/app/echo", b"x", token=rig.token))
        await until(lambda: len(rank.calls) == 2)
        await anyio.sleep(0.1)
        assert len(rank.calls) == 2

        more = replace(rank.route, permits=3)  # it said long ago that it takes them
        await rig.publish(endpoint("app/echo", version(replicas=(more,))))
        await until(lambda: len(rank.calls) == 3)


# -- the order of frames ---------------------------------------------------------------------------------


def head(link: RankLink, rid: int, status: int = 200, flags: int = 0) -> None:
    link.send(Kind.RESPONSE, rid, pack(Response(status, HTML)), b"piece", flags)


def raw(link: RankLink, rid: int) -> None:
    link.send(Kind.CHUNK, rid, b"", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL")


def chunk_and_end(link: RankLink, rid: int) -> None:
    link.send(Kind.CHUNK, rid, b"", b"", FLAG_END)


def end(link: RankLink, rid: int) -> None:
    link.send(Kind.END, rid, pack(Trailer()), b"", FLAG_END)


@pytest.mark.parametrize("lie", [raw, chunk_and_end, end])
async def test_an_answer_that_does_not_begin_is_the_end_of_the_link(
    tmp_path: Path, lie: Callable[[RankLink, int], None]
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one(lambda link, rid, *_: lie(link, rid))
        reply = await rig.post()

        assert (reply.status, reply.code) == (502, "replica_lost")
        assert rank.was_left.is_set()


@pytest.mark.parametrize(
    ("status", "flags"),
    [*((status, FLAG_END) for status in (-1, 0, 100, 101, 199, 600, 10**14)), (100, 0), (204, 0)],
)
async def test_a_status_that_is_none_is_the_end_of_the_link(
    tmp_path: Path, status: int, flags: int
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one(lambda link, rid, *_: head(link, rid, status, flags))
        reply = await rig.post()

        assert (reply.status, reply.code) == (502, "replica_lost")
        assert rank.was_left.is_set()


@pytest.mark.parametrize("flags", [0, FLAG_END])
async def test_a_second_head_is_the_end_of_the_link(tmp_path: Path, flags: int) -> None:
    def twice(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        head(link, rid)
        head(link, rid, flags=flags)

    async with gateway(tmp_path) as rig:
        await rig.serve_one(twice)
        reply = await rig.post()

        assert (reply.body, reply.is_whole) == (b"piece", False)


@pytest.mark.parametrize("status", [204, 304])
async def test_a_body_that_cannot_be_is_not_written(tmp_path: Path, status: int) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one(lambda link, rid, *_: head(link, rid, status, FLAG_END))
        client = await rig.connect()
        for _ in range(2):
            client.send(request("POST", "/app/echo", b"x", token=rig.token))
            said, headers = await client.head()
            assert (said, "content-length" in headers) == (status, False)
        assert not client.has_answer


# -- at the cost of another --------------------------------------------------------------------------------


async def two(rig: Rig, leaf: Handler) -> tuple[FakeRank, FakeRank, Infer]:
    """Have a replica that runs a call, and one that it may call on; return how it would."""
    caller = await rig.rank("r1", "app/echo@1", silent)
    called = await rig.rank("r2", "app/leaf@1", leaf)
    await rig.publish(
        endpoint("app/echo", version(replicas=(caller.route,))),
        endpoint("app/leaf", version(replicas=(called.route,))),
    )
    client = await rig.connect()
    client.send(request("POST", "/app/echo", b"x", token=rig.token))
    with anyio.fail_after(5):
        await caller.arrived.wait()
    infer = caller.calls[0][1]
    fields = {"endpoint": "app/leaf", "parent": infer.request_id, "call_token": infer.call_token}
    return caller, called, Infer("/leaf", **fields)  # type: ignore[arg-type]  # by name


async def test_a_replica_that_was_not_credited_for_bytes_credits_nobody_for_them(
    tmp_path: Path,
) -> None:
    def begins(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        link.begin(rid)
        link.piece(rid, b"ten bytes.")

    async with gateway(tmp_path) as rig:
        caller, called, nested = await two(rig, begins)
        answer = caller.links[0].call_on(nested, b"")
        with anyio.fail_after(5):
            await answer
        for _ in range(2):
            caller.links[0].send(Kind.CREDIT, 2, U64.pack(1 << 62))
        await until(lambda: called.links[0].credits > 0)
        await anyio.sleep(0.05)

        assert called.links[0].credits == 10


async def test_a_call_that_says_more_of_itself_than_fits_never_reaches_another_replica(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        caller, called, nested = await two(rig, echo)
        large = msgspec.structs.replace(nested, query="x" * (META_MAX - 400))
        with anyio.fail_after(5):
            kind, meta, _ = await caller.links[0].call_on(large, b"")
            assert (kind, unpack_failure(meta).code) == (Kind.ERROR, "headers_too_large")
            kind, _, body = await caller.links[0].call_on(nested, b"small")

        assert (kind, body) == (Kind.RESPONSE, b"small")
        assert len(called.links) == len(caller.links) == 1


async def test_an_answer_whose_head_leaves_no_room_for_ours_ends_the_link_of_who_gave_it(
    tmp_path: Path,
) -> None:
    def heady(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        link.answer(rid, body, (("x-a", "a" * (META_MAX - 100)),))

    async with gateway(tmp_path) as rig:
        caller, called, nested = await two(rig, heady)
        with anyio.fail_after(5):
            kind, meta, _ = await caller.links[0].call_on(nested, b"")

        assert (kind, unpack_failure(meta).code) == (Kind.ERROR, "replica_lost")
        assert called.was_left.is_set()
        assert not caller.was_left.is_set()


@pytest.mark.parametrize(
    ("kind", "rid", "meta"),
    [
        (Kind.CREDIT, 2, b"\x01"),
        (Kind.RESPONSE, 1, b"\x92\xcc\xc8\x91\x92\xa1\xff\xa1a"),  # a header's name is no UTF-8
    ],
    ids=["a short number", "a name of no text"],
)
async def test_what_cannot_be_read_is_told_and_the_end_of_the_link(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: Kind, rid: int, meta: bytes
) -> None:
    async with gateway(tmp_path) as rig:
        caller, _, nested = await two(rig, silent)
        caller.links[0].call_on(nested, b"")
        await until(lambda: len(rig.ranks["r2"].calls) == 1)
        caller.links[0].send(kind, rid, meta, b"", FLAG_END)
        with anyio.fail_after(5):
            await caller.was_left.wait()

        assert "cut off replica r1" in caplog.text


@pytest.mark.parametrize(("said_ns", "counted_ns"), [(1 << 62, 300 * SECOND), (-(1 << 62), 0)])
async def test_a_call_counts_for_no_longer_than_calls_may_run(
    tmp_path: Path, said_ns: int, counted_ns: int
) -> None:
    def lies(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        link.answer(rid, body, run_ns=said_ns)

    async with gateway(tmp_path) as rig:
        await rig.serve_one(lies)
        assert (await rig.post()).status == 200
        await until(lambda: any(d.completed for r in rig.controller.reports for d in r.demands))

        assert rig.controller.reports[-1].demands[0].service_ns == counted_ns


# -- too much --------------------------------------------------------------------------------------------


async def test_a_stream_that_goes_on_without_credit_is_cut_off(tmp_path: Path) -> None:
    def flood(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        head(link, rid)
        for _ in range(64):
            link.piece(rid, bytes(1 << 20))

    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one(flood)
        client = await rig.connect()
        client.reader_pauses()
        client.send(request("POST", "/app/echo", b"x", token=rig.token))
        with anyio.fail_after(5):
            await rank.was_left.wait()


async def again_and_again(rig: Rig, size: int) -> FakeRank:
    rank = await rig.serve_one(silent)
    memory = Offered(size)
    link = rank.links[0]
    link.send(Kind.HELLO, 0, pack(Hello("replica", "r1", permits=8, ring=memory.text)))
    places = [PLACE.pack(0, size, number) for number in range(1, 101)]
    assert link.transport is not None
    await anyio.sleep(0.05)  # it opens the memory
    link.transport.write(
        b"".join(encode(Kind.CHUNK, 999, b"", place, FLAG_RING) for place in places)
    )
    with anyio.fail_after(5):
        await rank.was_left.wait()
    memory.close()
    return rank


@pytest.mark.skipif(not has_memfd(), reason="this machine has no memfd, or is to do without")
async def test_shared_memory_is_not_copied_out_over_and_over(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await again_and_again(rig, 64 << 20)
        await until(lambda: len(rank.links) == 2)
