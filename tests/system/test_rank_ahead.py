"""Does a rank whose calls are short take some beyond its permits, in order, and give them back when one is long?"""

import os
from pathlib import Path

import anyio
import msgspec
import pytest

from glowplug.clock import MILLISECOND
from glowplug.wire.frames import Kind
from system.rank_process import (
    PATIENCE_S,
    Rank,
    begun,
    call,
    edited,
    launch_of,
    logged,
    open_gate,
    ready,
)

# Writes down who ran, and would say so if two ever ran at once. With a gate it waits until that FIFO is opened.
CODE = """
from pathlib import Path

from glowplug import endpoint

order = []
inside = 0


@endpoint
def echo(name: str = "", gate: str = "") -> list[str]:
    global inside
    inside += 1
    assert inside == 1
    order.append(name)
    if gate:
        Path(gate).read_bytes()
    inside -= 1
    seen = order[:]
    if name == "tell":
        order.clear()
    return seen
"""

STREAM = """
from collections.abc import Iterator

from glowplug import endpoint


@endpoint
def echo(name: str = "") -> Iterator[str]:
    yield name
"""


async def test_calls_taken_ahead_run_in_order_one_at_a_time(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, CODE)) as rank:
        level = await _until_ahead(rank)
        opened = [rank.gateway.open(_body(str(number))) for number in range(1 + level)]
        answers = [await rank.gateway.ended(rid) for rid in opened]

        assert {one.kind for (one,) in answers} == {Kind.RESPONSE}
        ran = msgspec.json.decode(answers[-1][0].body)
        assert ran[-len(opened) :] == [str(number) for number in range(1 + level)]
        assert (await rank.stats()).permits == 1


async def test_a_call_beyond_permits_and_ahead_is_refused_and_so_is_one_with_a_parent(
    tmp_path: Path,
) -> None:
    gate = _fifo(tmp_path)
    async with ready(launch_of(tmp_path, CODE)) as rank:
        level = await _until_ahead(rank)
        first = rank.gateway.open(_body("a", gate))
        nested = rank.gateway.open(infer=call("r2", parent="r1", chain=("demo/other",)))
        ahead = [rank.gateway.open(_body(str(number))) for number in range(level)]
        beyond = rank.gateway.open()

        for rid in (nested, beyond):
            code, executed, _ = await rank.gateway.refused(rid)
            assert (code in ("busy", "handed_back"), executed) == (True, "no")
        for rid in ahead:
            assert (await rank.gateway.refused(rid))[:2] == ("handed_back", "no")
        await open_gate(gate)
        assert (await rank.gateway.ended(first))[0].kind == Kind.RESPONSE


async def test_when_a_call_takes_long_those_behind_it_go_back_unexecuted(tmp_path: Path) -> None:
    gate = _fifo(tmp_path)
    async with ready(launch_of(tmp_path, CODE)) as rank:
        await _until_ahead(rank)
        first = rank.gateway.open(_body("long", gate))
        behind = [rank.gateway.open(_body(name)) for name in ("b", "c")]

        for rid in behind:
            assert (await rank.gateway.refused(rid))[:2] == ("handed_back", "no")
        assert rank.gateway.hellos[-1].ahead == 0
        assert rank.gateway.hellos[-1].permits == 1
        await open_gate(gate)
        await rank.gateway.ended(first)
        _, seen = await rank.gateway.ask(_body("tell"))
        assert msgspec.json.decode(seen)[-2:] == ["long", "tell"]
        assert await _until_ahead(rank) > 0  # short calls again


async def test_a_call_that_waits_ahead_is_cancelled_at_once_and_never_runs(tmp_path: Path) -> None:
    gate = _fifo(tmp_path)
    async with ready(launch_of(tmp_path, CODE)) as rank:
        await _until_ahead(rank)
        first = rank.gateway.open(_body("first", gate))
        waiting = rank.gateway.open(_body("never"))
        rank.gateway.cancel(waiting)

        assert (await rank.gateway.refused(waiting))[:2] == ("cancelled", "no")
        assert first not in rank.gateway.frames  # it still runs
        await open_gate(gate)
        await rank.gateway.ended(first)
        _, seen = await rank.gateway.ask(_body("tell"))
        assert "never" not in msgspec.json.decode(seen)


async def test_a_deadline_that_passes_while_a_call_waits_ahead_ends_it_unexecuted(
    tmp_path: Path,
) -> None:
    gate = _fifo(tmp_path)
    async with ready(launch_of(tmp_path, CODE)) as rank:
        await _until_ahead(rank)
        first = rank.gateway.open(_body("first", gate))
        waiting = rank.gateway.open(_body("late"), call("r2", timeout_ns=MILLISECOND))

        assert (await rank.gateway.refused(waiting))[:2] == ("deadline", "no")
        assert rank.gateway.hellos[-1].permits == 1  # it held none
        await open_gate(gate)
        await rank.gateway.ended(first)


async def test_a_drain_lets_calls_that_wait_ahead_run(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, CODE)) as rank:
        level = await _until_ahead(rank)
        opened = [rank.gateway.open(_body(str(number))) for number in range(1 + level)]
        await rank.gateway.until(lambda: opened[0] in rank.gateway.frames)
        await rank.command(Kind.DRAIN, deadline_ns=10_000 * MILLISECOND)

        kinds = {(await rank.gateway.ended(rid))[0].kind for rid in opened}
        assert kinds == {Kind.RESPONSE}
        assert await rank.exit_code() == 0


async def test_a_lost_connection_leaves_nothing_ahead(tmp_path: Path) -> None:
    gate = _fifo(tmp_path)
    async with ready(launch_of(tmp_path, CODE)) as rank:
        await _until_ahead(rank)
        rank.gateway.open(_body("first", gate))
        for number in range(3):
            rank.gateway.open(_body(str(number)))
        held = await begun(gate)
        rank.gateway.abort()
        await _until_inflight(rank, 1)  # the one on the thread
        os.close(held)
        await _until_inflight(rank, 0)


@pytest.mark.parametrize(
    ("code", "is_async"),
    [
        (STREAM, False),
        (CODE.replace("def echo", "async def echo"), True),
    ],
    ids=["stream", "async"],
)
async def test_streams_and_coroutines_take_nothing_ahead(
    tmp_path: Path, code: str, is_async: bool
) -> None:
    async with ready(launch_of(tmp_path, code, is_async=is_async)) as rank:
        for number in range(100):
            await rank.gateway.ended(rank.gateway.open(_body(str(number))))

        assert {one.ahead for one in rank.gateway.hellos} == {0}


async def test_new_code_is_learned_anew(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, CODE)) as rank:
        await _until_ahead(rank)
        new = edited(rank.launch, tmp_path / "new", CODE)
        await rank.command(Kind.LOAD, body=msgspec.json.encode(new))

        assert rank.gateway.hellos[-1].version == "demo/echo@2"
        assert rank.gateway.hellos[-1].ahead == 0


async def test_a_failed_call_ahead_fails_alone(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, CODE)) as rank:
        await _until_ahead(rank)
        opened = [rank.gateway.open(body) for body in (_body("a"), b'{"name": 1}', _body("c"))]

        kinds = [(await rank.gateway.ended(rid))[0].kind for rid in opened]
        assert kinds == [Kind.RESPONSE, Kind.ERROR, Kind.RESPONSE]
        assert (await logged(rank, stream="call", status=422))["code"] == "invalid_request"


async def _until_ahead(rank: Rank) -> int:
    """Call until the rank has found out that its calls are short; return how many it takes ahead."""
    with anyio.fail_after(PATIENCE_S):
        while not rank.gateway.hellos[-1].ahead:
            await rank.gateway.ask(_body("warm"))
    return rank.gateway.hellos[-1].ahead


async def _until_inflight(rank: Rank, count: int) -> None:
    with anyio.fail_after(PATIENCE_S):
        while True:
            if (await rank.stats()).inflight == count:
                return
            await anyio.sleep(0.005)


def _body(name: str, gate: Path | None = None) -> bytes:
    return msgspec.json.encode({"name": name, "gate": str(gate or "")})


def _fifo(folder: Path) -> Path:
    path = folder / "gate"
    os.mkfifo(path)
    return path
