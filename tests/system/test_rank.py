"""Does a real rank process answer calls as its data socket promises?"""

import os
from pathlib import Path

import anyio
import msgspec

from glowplug.clock import MILLISECOND
from glowplug.node.messages import RankStats
from glowplug.wire.frames import BODY_MAX, FLAG_END, Kind
from glowplug.wire.messages import (
    Infer,
    unpack_response,
    unpack_trailer,
)
from glowplug.wire.transport import dial
from system.rank_process import Gateway, call, items, launch_of, logged, ready

ECHO = """
from glowplug import endpoint

@endpoint
def echo(text: str, times: int = 1) -> str:
    print("said", text)
    return text * times
"""
LARGE = """
from glowplug import endpoint

@endpoint
def echo(size: int) -> bytes:
    return bytes(size)  # pages of zeros that nobody reads cost nothing
"""
GATE = """
import threading
from pathlib import Path
from glowplug import endpoint

@endpoint
def echo(path: str) -> str:
    import os
    print("at the gate")
    os.open(path, os.O_RDONLY)  # a FIFO: returns when the test opens the other end
    return "open"
"""
ASYNC = """
import asyncio
from glowplug import endpoint, on

started = []

@endpoint
async def echo(seconds: float = 0.0, name: str = "") -> str:
    started.append(name)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        print("cancelled", name)
        raise
    return name
"""
STREAM = """
from collections.abc import Iterator
from glowplug import endpoint

@endpoint
def echo(count: int, size: int = 1, fail: bool = False) -> Iterator[str]:
    try:
        for number in range(count):
            yield str(number) * size
        if fail:
            raise ValueError("in the middle")
    finally:
        print("closed")
"""
ASTREAM = STREAM.replace("def echo", "async def echo").replace("Iterator", "AsyncIterator")
BROKEN = """
import sys
from glowplug import endpoint

class OddError(Exception):
    pass

@endpoint
def echo(how: str) -> int:
    match how:
        case "odd":
            raise OddError("seven", 7)
        case "exit":
            sys.exit(9)
        case "memory":
            raise MemoryError
        case "interrupt":
            raise KeyboardInterrupt
        case "result":
            return "no number"
    return 1
"""


async def test_a_call_is_answered_with_its_timings_and_logged_with_its_id(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, ECHO)) as rank:
        head, body = await rank.gateway.ask(b'{"text": "hi", "times": 2}', call("r7"))

        assert msgspec.json.decode(body) == "hihi"
        assert head.executed == "yes"
        assert dict(head.headers)["content-type"] == "application/json"
        assert [name for name, _ in head.timings] == ["decode", "run", "encode"]
        assert (await logged(rank, stream="stdout"))["request_id"] == "r7"
        assert (await logged(rank, stream="call", code="ok"))["request_id"] == "r7"


async def test_an_answer_over_the_bound_of_a_frame_fails_alone(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, LARGE, concurrency=2)) as rank:
        large = rank.gateway.open(msgspec.json.encode({"size": BODY_MAX + 1}))
        code, executed, problem = await rank.gateway.refused(large)

        assert (code, executed, problem["retryable"]) == ("bad_response", "yes", False)
        assert str(BODY_MAX + 1) in problem["detail"]
        assert str(BODY_MAX) in problem["detail"]
        assert (await rank.gateway.ask(b'{"size": 3}'))[1] == bytes(3)


async def test_the_greeting_says_who_answers_and_how_many_calls_it_takes(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, ECHO, concurrency=3)) as rank:
        hello = rank.gateway.hellos[-1]

        assert (hello.role, hello.name, hello.version) == ("replica", "rep-1", "demo/echo@1")
        assert (hello.permits, hello.state, hello.epoch) == (3, "ready", 1)


async def test_a_body_may_come_in_pieces(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, ECHO)) as rank:
        rid = rank.gateway.open(b'{"text"', flags=0)
        rank.gateway.send(Kind.CHUNK, rid, b"", b': "hi"')
        rank.gateway.send(Kind.CHUNK, rid, b"", b"}", FLAG_END)

        frames = await rank.gateway.ended(rid)
        assert frames[-1].body == b'"hi"'
        assert [one.kind for one in frames] == [Kind.CREDIT, Kind.CREDIT, Kind.RESPONSE]


async def test_a_call_beyond_the_permits_is_refused_unexecuted(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with ready(launch_of(tmp_path, GATE)) as rank:
        _fifo(gate)
        first = rank.gateway.open(_path(gate))
        second = rank.gateway.open(_path(gate), call("r2"))

        code, executed, problem = await rank.gateway.refused(second)
        assert (code, executed, problem["request_id"]) == ("busy", "no", "r2")
        await _open(gate)
        assert (await rank.gateway.ended(first))[0].body == b'"open"'
        assert (await rank.stats()).inflight == 0


async def test_bad_arguments_are_refused_unexecuted_with_the_fields(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, ECHO)) as rank:
        code, executed, problem = await rank.gateway.refused(rank.gateway.open(b'{"txt": 1}'))
        assert (code, executed) == ("invalid_request", "no")
        assert {tuple(one["loc"]) for one in problem["errors"]} == {("text",), ("txt",)}

        code, executed, _ = await rank.gateway.refused(rank.gateway.open(b"{"))
        assert (code, executed) == ("invalid_json", "no")


async def test_what_user_code_raises_reaches_the_caller_and_ends_nothing(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, BROKEN)) as rank:
        gateway = rank.gateway
        code, executed, problem = await gateway.refused(
            gateway.open(b'{"how": "odd"}', call(dev=True))
        )
        assert (code, executed) == ("endpoint_error", "yes")
        exception = problem["exception"]
        assert (exception["module"], exception["qualname"], exception["args"]) == (
            "app",
            "OddError",
            ["seven", 7],
        )
        assert 'raise OddError("seven", 7)' in exception["traceback"]
        assert "glowplug" not in exception["traceback"]

        _, _, problem = await gateway.refused(gateway.open(b'{"how": "odd"}'))
        assert "traceback" not in problem["exception"]
        for how, expected in (
            ("exit", "endpoint_error"),
            ("interrupt", "endpoint_error"),
            ("memory", "out_of_memory"),
            ("result", "bad_response"),
        ):
            code, executed, _ = await gateway.refused(
                gateway.open(msgspec.json.encode({"how": how}))
            )
            assert (code, executed) == (expected, "yes")
        assert (await rank.gateway.ask(b'{"how": ""}'))[1] == b"1"
        assert "OddError" in (await logged(rank, stream="stderr", level="error"))["text"]


async def test_async_calls_run_side_by_side_up_to_the_permits(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, ASYNC, is_async=True, concurrency=2)) as rank:
        slow = rank.gateway.open(b'{"seconds": 30, "name": "slow"}', call("slow"))
        assert (await rank.gateway.ask(b'{"name": "quick"}'))[1] == b'"quick"'

        rank.gateway.cancel(slow)
        code, executed, _ = await rank.gateway.refused(slow)
        assert (code, executed) == ("cancelled", "yes")
        assert (await logged(rank, stream="stdout", text="cancelled slow"))["request_id"] == "slow"
        assert (await rank.stats()).inflight == 0


async def test_a_cancelled_synchronous_call_keeps_its_permit_until_it_ends(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with ready(launch_of(tmp_path, GATE)) as rank:
        _fifo(gate)
        first = rank.gateway.open(_path(gate))
        await logged(rank, stream="stdout", text="at the gate")  # before it runs it ends at once
        rank.gateway.cancel(first)
        assert (await rank.gateway.refused(rank.gateway.open(_path(gate))))[0] == "busy"

        await _open(gate)
        assert (await rank.gateway.refused(first))[0] == "cancelled"
        assert (await rank.stats()).inflight == 0


async def test_a_lost_connection_cancels_its_calls(tmp_path: Path) -> None:
    launch = launch_of(tmp_path, ASYNC, is_async=True, concurrency=2)
    async with ready(launch) as rank:
        other = await dial(f"unix:{launch.data_socket}", Gateway)
        other.open(b'{"seconds": 30, "name": "lost"}')
        await _until_inflight(rank, 1)
        other.abort()

        await logged(rank, stream="stdout", text="cancelled lost")
        await _until_inflight(rank, 0)


async def test_a_coroutine_that_runs_too_long_is_cancelled_and_its_caller_told(
    tmp_path: Path,
) -> None:
    launch = launch_of(tmp_path, ASYNC, is_async=True, run_ns=100 * MILLISECOND)
    async with ready(launch) as rank:
        rid = rank.gateway.open(b'{"seconds": 30, "name": "long"}')

        code, executed, problem = await rank.gateway.refused(rid)
        assert (code, executed) == ("run_timeout", "yes")
        assert "0.1 s" in problem["detail"]
        await logged(rank, stream="stdout", text="cancelled long")
        assert (await rank.stats()).state == "ready"


async def test_a_handler_that_never_returns_fails_the_rank(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, GATE, run_ns=100 * MILLISECOND)) as rank:
        _fifo(tmp_path / "gate")
        rid = rank.gateway.open(_path(tmp_path / "gate"))

        assert (await rank.gateway.refused(rid))[:2] == ("run_timeout", "yes")
        assert rank.gateway.hellos[-1].permits == 0  # the thread still has it
        await rank.gateway.until(lambda: rank.gateway.hellos[-1].state == "draining")
        assert (await rank.gateway.refused(rank.gateway.open()))[:2] == ("draining", "no")
        stats = await rank.stats()
        assert (stats.state, stats.code) == ("failed", "run_timeout")
        assert await rank.exit_code() == 4


async def test_the_callers_own_deadline_does_not_fail_the_rank(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with ready(launch_of(tmp_path, GATE)) as rank:
        _fifo(gate)
        rid = rank.gateway.open(_path(gate), call(timeout_ns=50 * MILLISECOND))

        assert (await rank.gateway.refused(rid))[:2] == ("deadline", "yes")
        assert rank.gateway.hellos[-1].permits == 0
        await _open(gate)
        await _until_inflight(rank, 0)
        await rank.gateway.until(lambda: rank.gateway.hellos[-1].permits == 1)
        assert (await rank.stats()).state == "ready"


async def test_a_generator_streams_typed_events(tmp_path: Path) -> None:
    for code, is_async in ((STREAM, False), (ASTREAM, True)):
        async with ready(launch_of(tmp_path, code, is_async=is_async)) as rank:
            frames = await rank.gateway.ended(
                rank.gateway.open(b'{"count": 2}', _accepting("text/event-stream"))
            )

            # One head, then items in as many frames as they were ready at, then the end.
            kinds = [Kind(one.kind) for one in frames]
            assert (kinds[0], kinds[-1]) == (Kind.RESPONSE, Kind.END)
            assert set(kinds[1:-1]) == {Kind.CHUNK}
            assert (
                dict(unpack_response(frames[0].meta).headers)["content-type"] == "text/event-stream"
            )
            assert items(frames) == (
                b'event: output\ndata: "0"\n\nevent: output\ndata: "1"\n\nevent: done\ndata: {}\n\n'
            )
            assert unpack_trailer(frames[-1].meta).executed == "yes"
            frames = await rank.gateway.ended(
                rank.gateway.open(b'{"count": 1}', _accepting("application/x-ndjson"))
            )
            assert items(frames) == b'{"event":"output","data":"0"}\n{"event":"done","data":{}}\n'


async def test_a_stream_that_breaks_says_so_in_the_stream_and_in_its_end(tmp_path: Path) -> None:
    for code, is_async in ((STREAM, False), (ASTREAM, True)):
        async with ready(launch_of(tmp_path, code, is_async=is_async)) as rank:
            rid = rank.gateway.open(
                b'{"count": 1, "fail": true}', _accepting("application/x-ndjson")
            )
            frames = await rank.gateway.ended(rid)

            lines = [msgspec.json.decode(line) for line in items(frames).splitlines()]
            assert [line["event"] for line in lines] == ["output", "error"]
            assert lines[1]["data"]["exception"]["qualname"] == "ValueError"
            assert frames[-1].kind == Kind.ERROR
            assert (await rank.gateway.refused(rank.gateway.open(b'{"count": 0, "fail": true}')))[
                0
            ] == "endpoint_error"


async def test_a_reader_that_takes_nothing_stops_the_generator_at_the_window(
    tmp_path: Path,
) -> None:
    for code, is_async in ((STREAM, False), (ASTREAM, True)):
        async with ready(launch_of(tmp_path, code, is_async=is_async, concurrency=2)) as rank:
            gateway = rank.gateway
            rid = gateway.open(b'{"count": 100, "size": 40000}', _accepting("application/x-ndjson"))
            await _until_received(gateway, rid, 256 * 1024)
            await rank.stats()
            assert _received(gateway, rid) == 256 * 1024

            gateway.credit(rid, 100_000)
            await _until_received(gateway, rid, 256 * 1024 + 100_000)
            gateway.cancel(rid)
            assert (await gateway.refused(rid))[0] == "cancelled"
            await logged(rank, stream="stdout", text="closed")
            await _until_inflight(rank, 0)


def _accepting(media: str) -> Infer:
    return call(headers=(("accept", media),))


async def _until_received(gateway: Gateway, rid: int, size: int) -> None:
    await gateway.until(lambda: _received(gateway, rid) == size)


def _received(gateway: Gateway, rid: int) -> int:
    return sum(len(one.body) for one in gateway.frames.get(rid, ()) if one.kind == Kind.CHUNK)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _path(gate: Path) -> bytes:
    return msgspec.json.encode({"path": str(gate)})


async def _open(gate: Path) -> None:
    """Let the handler that waits at the gate go on."""
    os.close(await anyio.to_thread.run_sync(os.open, gate, os.O_WRONLY))


async def _until_inflight(rank: object, count: int) -> RankStats:
    with anyio.fail_after(10):
        while True:
            stats: RankStats = await rank.stats()  # type: ignore[attr-defined]  # a Rank
            if stats.inflight == count:
                return stats
            await anyio.sleep(0.01)
