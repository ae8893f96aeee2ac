"""Do the items of a generator leave as they come, and does what it prints keep its call?"""

import os
from pathlib import Path

import msgspec
import pytest

from glowplug.wire.frames import Frame, Kind
from system.rank_process import Gateway, begun, call, items, launch_of, logged, open_gate, ready

# Between the first item and the second it waits at a gate, in the way that holds up most: nobody is given a turn.
GATED = """
from collections.abc import Iterator
from pathlib import Path

from glowplug import endpoint


@endpoint
def echo(gate: str) -> Iterator[str]:
    yield "first"
    Path(gate).read_bytes()
    yield "second"
"""

# Quick enough that the loop looks every turn and is not woken any more; then it waits.
QUICK_THEN_GATED = """
from collections.abc import Iterator
from pathlib import Path

from glowplug import endpoint


@endpoint
def echo(gate: str) -> Iterator[int]:
    for number in range(1000):
        Path(gate).exists()  # gives the interpreter away: the loop looks between two items
        yield number
    Path(gate).read_bytes()
    yield 1000
"""

# Busy in Python itself, so that the loop gets the interpreter only when it is given away.
BUSY = """
from collections.abc import Iterator
from time import monotonic

from glowplug import endpoint


@endpoint
def echo(busy_s: float) -> Iterator[float]:
    yield 0.0
    begun = monotonic()
    while monotonic() - begun < busy_s:
        pass
    yield monotonic() - begun
"""

CHATTY = """
from collections.abc import Iterator

from glowplug import endpoint
import logging

@endpoint
def echo(name: str) -> Iterator[str]:
    for number in range(2):
        print(name, end=" ")
        yield name
        print(number)
        logging.getLogger("chat").warning("%s %d", name, number)
    print(f"{name} ends", end="")
"""

MANY = """
from collections.abc import Iterator

from glowplug import endpoint


@endpoint
def echo(count: int, size: int = 3) -> Iterator[str]:
    for number in range(count):
        yield str(number).zfill(size)
"""


def asynchronous(code: str) -> str:
    """Return the same endpoint as an asynchronous generator."""
    return (
        code.replace("    yield", "    await sleep(0)\n    yield")
        if False
        else (code.replace("def echo", "async def echo").replace("Iterator", "AsyncIterator"))
    )


BOTH = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@BOTH
async def test_the_first_item_leaves_before_the_second_is_made(
    tmp_path: Path, is_async: bool
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    code = asynchronous(GATED) if is_async else GATED
    async with ready(launch_of(tmp_path, code, is_async=is_async)) as rank:
        rid = rank.gateway.open(msgspec.json.encode({"gate": str(gate)}))
        await rank.gateway.until(lambda: b"first" in items(rank.gateway.frames.get(rid, [])))

        assert b"second" not in items(rank.gateway.frames[rid])
        await open_gate(gate)
        assert items(await rank.gateway.ended(rid)).count(b"event: output") == 2


async def test_the_last_of_many_quick_items_leaves_while_the_generator_pauses(
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with ready(launch_of(tmp_path, QUICK_THEN_GATED)) as rank:
        rid = rank.gateway.open(msgspec.json.encode({"gate": str(gate)}))
        await rank.gateway.until(
            lambda: items(rank.gateway.frames.get(rid, [])).endswith(b"data: 999\n\n")
        )

        await open_gate(gate)
        assert items(await rank.gateway.ended(rid)).count(b"event: output") == 1001


@BOTH
async def test_items_of_a_busy_generator_leave_while_it_is_busy(
    tmp_path: Path, is_async: bool
) -> None:
    code = asynchronous(BUSY) if is_async else BUSY
    async with ready(launch_of(tmp_path, code, is_async=is_async)) as rank:
        rid = rank.gateway.open(b'{"busy_s": 1.0}')
        await rank.gateway.until(lambda: items(rank.gateway.frames.get(rid, [])))
        first = items(rank.gateway.frames[rid])
        frames = await rank.gateway.ended(rid)

        assert first.count(b"event: output") == 1
        assert items(frames).count(b"event: output") == 2


@BOTH
async def test_items_that_are_ready_together_share_frames_and_all_arrive(
    tmp_path: Path, is_async: bool
) -> None:
    code = asynchronous(MANY) if is_async else MANY
    async with ready(launch_of(tmp_path, code, is_async=is_async)) as rank:
        for count, size in ((1000, 3), (20, 10_000)):
            rid = rank.gateway.open(msgspec.json.encode({"count": count, "size": size}))
            frames = await _read_all(rank.gateway, rid)
            body = items(frames)

            texts = [
                msgspec.json.decode(line[6:])
                for line in body.splitlines()
                if line.startswith(b'data: "')
            ]
            assert texts == [str(number).zfill(size) for number in range(count)]
            assert body.endswith(b"event: done\ndata: {}\n\n")
            if size == 3:
                assert len(frames) < count


@BOTH
async def test_what_streams_print_side_by_side_keeps_its_call(
    tmp_path: Path, is_async: bool
) -> None:
    code = asynchronous(CHATTY) if is_async else CHATTY
    async with ready(launch_of(tmp_path, code, is_async=is_async, concurrency=2)) as rank:
        opened = [
            rank.gateway.open(msgspec.json.encode({"name": name}), call(f"r-{name}"))
            for name in ("a", "b")
        ]
        for rid in opened:
            await rank.gateway.ended(rid)
        for name in ("a", "b"):
            for text in (f"{name} 0", f"{name} 1", f"{name} ends"):
                await logged(rank, stream="stdout", text=text, request_id=f"r-{name}")
            for number in range(2):
                text = f"chat: {name} {number}"
                await logged(rank, stream="log", text=text, request_id=f"r-{name}")


@BOTH
async def test_a_stream_that_nobody_wants_any_more_stops_at_its_next_item(
    tmp_path: Path, is_async: bool
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    forever = ("Path(gate).read_bytes()", "await anyio.sleep_forever()")
    code = asynchronous(GATED).replace(*forever) if is_async else GATED
    code = f"import anyio\n{code}    print('went on')\n"
    async with ready(launch_of(tmp_path, code, is_async=is_async)) as rank:
        rid = rank.gateway.open(msgspec.json.encode({"gate": str(gate)}))
        await rank.gateway.until(lambda: rid in rank.gateway.frames)
        if is_async:  # a coroutine is stopped where it waits
            rank.gateway.cancel(rid)
        else:  # a thread at its next item
            held = await begun(gate)
            rank.gateway.cancel(rid)
            assert (await rank.gateway.refused(rank.gateway.open()))[0] == "busy"  # it was heard
            os.close(held)

        assert (await rank.gateway.ended(rid))[-1].kind == Kind.ERROR
        assert (await rank.stats()).inflight == 0
        assert "went on" not in [line["text"] for line in rank.log()]


async def _read_all(gateway: Gateway, rid: int) -> list[Frame]:
    """Credit what arrives until the stream has ended."""
    credited = 0

    def is_over() -> bool:
        nonlocal credited
        frames = gateway.frames.get(rid, [])
        arrived = len(items(frames))
        if arrived > credited:
            gateway.credit(rid, arrived - credited)
            credited = arrived
        return bool(frames) and frames[-1].kind == Kind.END

    await gateway.until(is_over)
    return gateway.frames.pop(rid)
