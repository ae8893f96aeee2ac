"""Is a replica's answer to its first example understood?"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from control_records import spec
from glowplug.errors import CallError
from glowplug.spec import EndpointSpec, Schema
from glowplug.wire.channel import Channel, Exchange, Handler
from glowplug.wire.messages import Hello, Infer
from glowplug.wire.transport import listen
from glowplug_router.control.exercise import body_of, exercise

GREET = spec(examples=({"name": "Ada"}, {"name": "Bob"}))


@asynccontextmanager
async def rank(path: Path, handler: Handler) -> AsyncIterator[str]:
    async with anyio.create_task_group() as tasks:
        server = await listen(
            path, lambda: Channel(Hello("replica"), handler, tasks.start_soon, dialling=False)
        )
        yield f"unix:{path}"
        server.close()
        tasks.cancel_scope.cancel()


def nowhere(endpoint: str) -> str:
    return ""


async def test_the_first_example_is_sent_as_a_caller_would(tmp_path: Path) -> None:
    seen: list[tuple[Infer, bytes]] = []

    async def answer(exchange: Exchange) -> None:
        seen.append((exchange.infer, await exchange.body.read()))
        exchange.respond(b'"hi"')

    async with rank(tmp_path / "s", answer) as address:
        assert await exercise(GREET, "hello/greet@1", address, nowhere) == 200

    ((infer, body),) = seen
    assert body == b'{"name": "Ada"}'
    assert (infer.endpoint, infer.version) == ("hello/greet", "hello/greet@1")
    assert ("content-type", "application/json") in infer.headers


async def test_an_endpoint_that_raises_fails_with_its_own_words(tmp_path: Path) -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.fail("endpoint_error", "ValueError: nope", executed="yes")

    async with rank(tmp_path / "s", answer) as address:
        with pytest.raises(CallError, match="ValueError: nope") as failed:
            await exercise(GREET, "hello/greet@1", address, nowhere)
    assert failed.value.code == "endpoint_error"


@pytest.mark.parametrize("streamed", [b"event: output\ndata: 1\n\nevent: error\ndata: {}\n\n", b""])
async def test_a_stream_is_read_to_its_end_and_may_break_on_the_way(
    tmp_path: Path, streamed: bytes
) -> None:
    async def answer(exchange: Exchange) -> None:
        out = exchange.begin()
        await out.write(streamed or b"event: output\ndata: 1\n\nevent: done\ndata: {}\n\n")
        out.end()

    async with rank(tmp_path / "s", answer) as address:
        if not streamed:
            assert await exercise(GREET, "hello/greet@1", address, nowhere) == 200
            return
        with pytest.raises(CallError):
            await exercise(GREET, "hello/greet@1", address, nowhere)


async def test_an_answer_that_never_comes_ends_with_the_run_timeout(tmp_path: Path) -> None:
    async def answer(exchange: Exchange) -> None:
        await anyio.sleep_forever()

    hasty = replace(GREET, timeouts=replace(GREET.timeouts, run_ns=50_000_000))
    async with rank(tmp_path / "s", answer) as address:
        with pytest.raises(CallError) as failed:
            await exercise(hasty, "hello/greet@1", address, nowhere)
    assert failed.value.code == "run_timeout"


async def test_a_call_made_inside_is_carried_to_the_replica_that_would_take_it(
    tmp_path: Path,
) -> None:
    asked: list[str] = []

    async def inner(exchange: Exchange) -> None:
        exchange.respond(b"inner got " + await exchange.body.read())

    async def outer(exchange: Exchange) -> None:
        _, answer = await exchange._channel.request(
            "/other", b"x", infer=Infer("/other", endpoint="hello/other")
        )
        exchange.respond(answer)
        asked.append(answer.decode())

    async with rank(tmp_path / "inner", inner) as other, rank(tmp_path / "outer", outer) as address:
        await exercise(GREET, "hello/greet@1", address, {"hello/other": other}.__getitem__)

    assert asked == ["inner got x"]


async def test_a_replica_that_is_gone_is_an_error_and_no_hang(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="no replica answers"):
        await exercise(GREET, "hello/greet@1", f"unix:{tmp_path / 'nobody'}", nowhere)


def test_an_example_of_raw_bytes_is_sent_as_those_bytes() -> None:
    raw: EndpointSpec = replace(spec(examples=({"data": "AP_-"},)), schema=Schema(raw_body="data"))

    assert body_of(raw) == b"\x00\xff\xfe"
