"""Can code inside a call reach other endpoints over the connection its own call came in on?"""

from pathlib import Path

import msgspec
import pytest

from glowplug.codec import frame_done, frame_item, problem
from glowplug.wire.frames import FLAG_END, Frame, Kind
from glowplug.wire.messages import Failure, Response, Trailer, pack, unpack_infer
from system.rank_process import Gateway, call, launch_of, ready

SYNC = """
from glowplug import Endpoint, endpoint
from glowplug.errors import CallError

inner = Endpoint.lookup("demo/inner")

@endpoint
def echo(text: str, how: str = "call") -> list[str]:
    match how:
        case "call":
            return [inner.remote(text=text)]
        case "stream":
            return list(inner.stream(text=text))
        case _:
            try:
                return [inner.remote(text=text)]
            except CallError as error:
                return [type(error).__name__, error.code, error.message]
"""
ASYNC = (
    SYNC.replace("def echo", "async def echo")
    .replace("inner.remote", "await inner.aremote")
    .replace("list(inner.stream(text=text))", "[one async for one in inner.astream(text=text)]")
)
JSON = pack(Response(200, (("content-type", "application/json"),)))
EVENTS = pack(Response(200, (("content-type", "text/event-stream"),)))


@pytest.mark.parametrize("code", [SYNC, ASYNC])
async def test_a_call_inherits_all_it_must_from_the_one_above(tmp_path: Path, code: str) -> None:
    async with ready(launch_of(tmp_path, code, is_async=code is ASYNC)) as rank:
        gateway = rank.gateway
        infer = call(
            "r9",
            call_token="token",
            trace="00-ab-cd-01",
            chain=("demo/top",),
            klass="batch",
            timeout_ns=10**10,
        )
        rid = gateway.open(b'{"text": "hi"}', infer)
        asked = await _asked(gateway)
        inner = unpack_infer(asked.meta)
        assert asked.rid % 2 == 0
        assert (inner.endpoint, inner.parent, inner.call_token) == ("demo/inner", "r9", "token")
        assert (inner.chain, inner.klass, inner.trace) == (
            ("demo/top", "demo/echo"),
            "batch",
            "00-ab-cd-01",
        )
        assert 0 < inner.timeout_ns < 10**10
        assert msgspec.json.decode(asked.body) == {"text": "hi"}

        gateway.send(Kind.RESPONSE, asked.rid, JSON, b'"in')
        gateway.send(Kind.CHUNK, asked.rid, b"", b'ner"', FLAG_END)
        assert (await gateway.ended(rid))[0].body == b'["inner"]'
        assert [one.kind for one in gateway.frames[asked.rid]] == [Kind.CREDIT]


@pytest.mark.parametrize("code", [SYNC, ASYNC])
async def test_a_stream_is_read_item_by_item_wherever_it_was_cut(tmp_path: Path, code: str) -> None:
    async with ready(launch_of(tmp_path, code, is_async=code is ASYNC)) as rank:
        gateway = rank.gateway
        rid = gateway.open(b'{"text": "hi", "how": "stream"}')
        asked = await _asked(gateway)
        assert dict(unpack_infer(asked.meta).headers)["accept"].startswith("text/event-stream")
        gateway.send(Kind.RESPONSE, asked.rid, EVENTS)
        stream = frame_item("sse", b'"a"') + frame_item("sse", b'"b"') + frame_done("sse")
        for at in range(0, len(stream), 9):
            gateway.send(Kind.CHUNK, asked.rid, b"", stream[at : at + 9])
        gateway.send(Kind.END, asked.rid, pack(Trailer()), b"", FLAG_END)

        assert (await gateway.ended(rid))[0].body == b'["a","b"]'
        # The last credit may come after the answer above: what counts is that none is missing for what was taken.
        assert all(one.kind == Kind.CREDIT for one in gateway.frames[asked.rid])


@pytest.mark.parametrize("code", [SYNC, ASYNC])
async def test_a_refusal_is_raised_inside_as_the_error_it_is(tmp_path: Path, code: str) -> None:
    async with ready(launch_of(tmp_path, code, is_async=code is ASYNC)) as rank:
        gateway = rank.gateway
        rid = gateway.open(b'{"text": "hi", "how": "catch"}')
        asked = await _asked(gateway)
        document = problem("deadlock", "it waits for itself", executed="no")
        gateway.send(Kind.ERROR, asked.rid, pack(Failure("deadlock", "no")), document, FLAG_END)

        answer = msgspec.json.decode((await gateway.ended(rid))[0].body)
        assert answer == ["DeadlockError", "deadlock", "it waits for itself"]


@pytest.mark.parametrize("code", [SYNC, ASYNC])
async def test_a_cancelled_call_cancels_those_it_made(tmp_path: Path, code: str) -> None:
    async with ready(launch_of(tmp_path, code, is_async=code is ASYNC)) as rank:
        gateway = rank.gateway
        rid = gateway.open(b'{"text": "hi"}')
        asked = await _asked(gateway)
        gateway.cancel(rid)

        assert (await gateway.refused(rid))[0] == "cancelled"
        await gateway.until(
            lambda: [one.kind for one in gateway.frames.get(asked.rid, ())] == [Kind.CANCEL]
        )


async def test_a_blocking_call_from_async_code_is_refused_with_the_fix(tmp_path: Path) -> None:
    code = SYNC.replace("def echo", "async def echo")
    async with ready(launch_of(tmp_path, code, is_async=True)) as rank:
        _, _, refusal = await rank.gateway.refused(rank.gateway.open(b'{"text": "hi"}'))

        assert "aremote" in refusal["hint"]


async def _asked(gateway: Gateway) -> Frame:
    await gateway.until(lambda: bool(gateway.asked))
    return gateway.asked.pop()
