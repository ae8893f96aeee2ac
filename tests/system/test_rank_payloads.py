"""Does a rank fetch an uploaded body whole before its code runs, and send a large answer away, whatever goes wrong?"""

import hashlib
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from glowplug.payloads import ANSWER_TYPE, LINK_PATH, OFFLOAD_MIN_BYTES, WINDOW_BYTES
from glowplug.wire.frames import FLAG_END, Frame, Kind
from glowplug.wire.messages import Failure, Infer, Response, pack, unpack_infer, unpack_response
from glowplug.wire.transport import dial
from system.rank_process import U64, Gateway, Rank, call, launch_of, logged, ready

COUNT = """
from glowplug import endpoint

@endpoint
def echo(data: bytes) -> int:
    print("ran")
    return len(data)
"""
ACOUNT = COUNT.replace("def echo", "async def echo")
MAKE = """
from glowplug import endpoint

@endpoint
def echo(size: int) -> bytes:
    return bytes(size)
"""
DATA = b"payload " * 50_000


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def named(data: bytes = DATA, size: int | None = None) -> Infer:
    text = f"{digest(data)} {len(data) if size is None else size}"
    return call(payload=text, call_token="token")


async def asked(rank: Rank) -> tuple[int, Infer]:
    """Wait for the rank to ask for the body, and return the stream and the question."""
    await rank.gateway.until(lambda: rank.gateway.asked)
    frame = rank.gateway.asked.pop()
    return frame.rid, unpack_infer(frame.meta)


def send(gateway: Gateway, rid: int, *pieces: bytes, end: bool = True) -> None:
    gateway.send(Kind.RESPONSE, rid, pack(Response()))
    for piece in pieces:
        gateway.send(Kind.CHUNK, rid, b"", piece)
    if end:
        gateway.send(Kind.CHUNK, rid, b"", b"", FLAG_END)


def ran(rank: Rank) -> bool:
    return any(line["text"] == "ran" for line in rank.log() if "text" in line)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_body_that_lies_elsewhere_is_fetched_before_the_code_runs(
    tmp_path: Path, is_async: bool
) -> None:
    source = ACOUNT if is_async else COUNT
    async with ready(launch_of(tmp_path, source, is_async=is_async)) as rank:
        rid = rank.gateway.open(b"", named())
        stream, question = await asked(rank)
        send(rank.gateway, stream, DATA[:1000], DATA[1000:])
        (answer,) = await rank.gateway.ended(rid)

        assert (question.path, question.method) == (LINK_PATH, "GET")
        assert (question.parent, question.call_token) == ("r1", "token")
        assert msgspec.json.decode(answer.body) == len(DATA)
        credited = sum(
            U64.unpack(one.meta)[0]
            for one in rank.gateway.frames[stream]
            if one.kind == Kind.CREDIT
        )
        assert credited == len(DATA)


@pytest.mark.parametrize(
    ("pieces", "size"),
    [
        ((DATA[:-1], b"X"), None),
        ((DATA[:-1],), None),
        ((DATA, b"X"), None),
        ((DATA,), len(DATA) + 1),
        ((), None),
    ],
    ids=["another digest", "too short", "too long", "another size", "nothing"],
)
async def test_a_body_that_is_not_the_one_named_is_refused_unexecuted(
    tmp_path: Path, pieces: tuple[bytes, ...], size: int | None
) -> None:
    async with ready(launch_of(tmp_path, COUNT)) as rank:
        rid = rank.gateway.open(b"", named(size=size))
        stream, _ = await asked(rank)
        send(rank.gateway, stream, *pieces)

        code, executed, _ = await rank.gateway.refused(rid)

        assert (code, executed) == ("digest_mismatch", "no")
        assert not ran(rank)
        assert (await rank.stats()).inflight == 0


async def test_more_than_was_announced_is_refused_while_it_comes(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, COUNT)) as rank:
        rid = rank.gateway.open(b"", named(b"small"))
        stream, _ = await asked(rank)
        send(rank.gateway, stream, b"x" * 1000, end=False)

        assert (await rank.gateway.refused(rid))[:2] == ("digest_mismatch", "no")
        await rank.gateway.until(lambda: kinds(rank.gateway.frames[stream])[-1:] == [Kind.CANCEL])


def kinds(frames: list[Frame]) -> list[int]:
    return [one.kind for one in frames]


async def test_a_body_that_is_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, COUNT)) as rank:
        rid = rank.gateway.open(b"", named())
        stream, _ = await asked(rank)
        gone = pack(Failure("payload_gone", "no", True, "swept away"))
        rank.gateway.send(Kind.ERROR, stream, gone, b"", FLAG_END)

        assert (await rank.gateway.refused(rid))[:2] == ("payload_gone", "no")


async def test_a_link_lost_while_a_body_is_fetched_gives_the_permit_back(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, COUNT)) as rank:
        rank.gateway.open(b"", named())
        stream, _ = await asked(rank)
        send(rank.gateway, stream, DATA[:1000], end=False)
        rank.gateway.abort()
        other = await dial(f"unix:{rank.launch.data_socket}", Gateway)
        with anyio.fail_after(10):
            while (await rank.stats()).inflight:  # noqa: ASYNC110  # the rank tells nobody
                await anyio.sleep(0.01)
        _, body = await other.ask(DATA, call(headers=(("content-type", "x/y"),)))

        assert msgspec.json.decode(body) == len(DATA)
        assert (await logged(rank, text="ran"))["request_id"] == "r1"
        other.close()


async def test_a_call_cancelled_while_its_body_is_fetched_never_runs(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, COUNT)) as rank:
        rid = rank.gateway.open(b"", named())
        stream, _ = await asked(rank)
        rank.gateway.cancel(rid)

        assert (await rank.gateway.refused(rid))[:2] == ("cancelled", "no")
        await rank.gateway.until(lambda: Kind.CANCEL in kinds(rank.gateway.frames.get(stream, [])))
        assert not ran(rank)


async def test_a_deadline_ends_a_call_whose_body_does_not_come(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, COUNT)) as rank:
        rid = rank.gateway.open(b"", msgspec.structs.replace(named(), timeout_ns=100_000_000))
        await asked(rank)

        assert (await rank.gateway.refused(rid))[:2] == ("deadline", "no")


# -- large answers -----------------------------------------------------------------------------------------


async def taken(rank: Rank, stream: int) -> bytes:
    """Take what the rank sends away, crediting it as it comes."""
    whole, seen = bytearray(), 0
    while True:
        await rank.gateway.until(lambda: len(rank.gateway.frames.get(stream, ())) > seen)  # noqa: B023  # called at once
        for frame in rank.gateway.frames[stream][seen:]:
            seen += 1
            whole += frame.body
            rank.gateway.credit(stream, len(frame.body))
            if frame.flags & FLAG_END:
                return bytes(whole)


def make(size: int, **fields: Any) -> tuple[bytes, Infer]:
    return msgspec.json.encode({"size": size}), call(**fields)


async def test_a_large_answer_goes_away_and_its_place_is_the_answer(tmp_path: Path) -> None:
    size = OFFLOAD_MIN_BYTES + 1
    async with ready(launch_of(tmp_path, MAKE)) as rank:
        rid = rank.gateway.open(*make(size, offload=True))
        stream, question = await asked(rank)
        data = await taken(rank, stream)
        place = msgspec.json.encode({"url": "/-/payloads/x"})
        rank.gateway.send(Kind.RESPONSE, stream, pack(Response()), place, FLAG_END)
        (answer,) = await rank.gateway.ended(rid)

        assert (question.method, question.query) == ("PUT", f"{digest(bytes(size))} {size}")
        assert data == bytes(size)
        headers = dict(unpack_response(answer.meta).headers)
        assert headers["content-type"] == ANSWER_TYPE
        assert msgspec.json.decode(answer.body) == {
            "url": "/-/payloads/x",
            "digest": digest(bytes(size)),
            "size_bytes": size,
            "content_type": "application/octet-stream",
        }


async def test_no_more_than_a_window_of_an_answer_is_on_its_way(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, MAKE)) as rank:
        rid = rank.gateway.open(*make(OFFLOAD_MIN_BYTES + 1, offload=True))
        stream, _ = await asked(rank)

        def sent() -> int:
            return sum(len(one.body) for one in rank.gateway.frames.get(stream, ()))

        await rank.gateway.until(lambda: sent() >= WINDOW_BYTES)
        await rank.stats()  # answered by the same loop: what it would send more is sent by now
        assert sent() == WINDOW_BYTES
        rank.gateway.cancel(rid)
        assert (await rank.gateway.refused(rid))[:2] == ("cancelled", "yes")


@pytest.mark.parametrize(
    ("size", "offload"), [(OFFLOAD_MIN_BYTES, True), (OFFLOAD_MIN_BYTES + 1, False)]
)
async def test_other_answers_are_answers(tmp_path: Path, size: int, offload: bool) -> None:
    async with ready(launch_of(tmp_path, MAKE)) as rank:
        _, body = await rank.gateway.ask(*make(size, offload=offload))

        assert body == bytes(size)
        assert not rank.gateway.asked


async def test_a_store_that_is_full_is_the_answer(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, MAKE)) as rank:
        rid = rank.gateway.open(*make(OFFLOAD_MIN_BYTES + 1, offload=True))
        stream, _ = await asked(rank)
        full = pack(Failure("disk_full", "no", True, "no space left"))
        rank.gateway.send(Kind.ERROR, stream, full, b"", FLAG_END)

        assert (await rank.gateway.refused(rid))[:2] == ("disk_full", "yes")


@pytest.mark.parametrize("nonsense", [b"{}", b"\xff", b""])
async def test_a_gateway_that_does_not_say_where_an_answer_lies_is_asked_once(
    tmp_path: Path, nonsense: bytes
) -> None:
    async with ready(launch_of(tmp_path, MAKE)) as rank:
        rid = rank.gateway.open(*make(OFFLOAD_MIN_BYTES + 1, offload=True))
        stream, _ = await asked(rank)
        rank.gateway.send(Kind.RESPONSE, stream, pack(Response()), nonsense, FLAG_END)

        assert (await rank.gateway.refused(rid))[:2] == ("internal", "yes")
        assert (await rank.stats()).inflight == 0
        assert not rank.gateway.asked
