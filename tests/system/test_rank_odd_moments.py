"""Does a real rank outlive callers who leave at an odd moment, and errors whose text no wire can carry?"""

import os
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from glowplug.errors import WireError
from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.transport import dial
from system.batches import answers, batched, body
from system.rank_process import Gateway, Rank, launch_of, logged, ready, running

# A batch that waits for `later`, and then holds the loop until `now`: what is sent meanwhile is read in the very turn
# in which the next batch has been made and has not taken its first step. Loops differ in which turn that is.
WAITS = """
import asyncio
from glowplug import END, endpoint

async def wait(text):
    _, later, now, turns = text.split()
    print("waits")
    await asyncio.to_thread(lambda: open(later).read())
    print("holds")
    open(now).read()
    for _ in range(int(turns)):
        await asyncio.sleep(0)
"""
ONCE = (
    WAITS
    + """
@endpoint(batch=8)
async def echo(texts: list[str]) -> list[str]:
    if texts[0].startswith("wait"):
        await wait(texts[0])
    return texts
"""
)
STEPS = (
    WAITS
    + """
from collections.abc import AsyncIterator

@endpoint(batch=8)
async def echo(texts: list[str]) -> AsyncIterator[list[str | None]]:
    if texts[0].startswith("wait"):
        await wait(texts[0])
    yield texts
    yield [END for _ in texts]
"""
)


async def leave_before_the_first_step(
    rank: Rank, tmp_path: Path, turns: int, leaves: str, *others: str
) -> tuple[int, ...]:
    """Have a batch of these calls made, of which the first leaves before its code begins; return their ids."""
    later, now = tmp_path / "later", tmp_path / "now"
    for pipe in (later, now):
        os.mkfifo(pipe)
    first = rank.gateway.open(body(f"wait {later} {now} {turns}"))
    await logged(rank, text="waits")
    rids = [rank.gateway.open(body(text)) for text in (leaves, *others)]
    while (await rank.stats()).inflight < 1 + len(rids):
        await anyio.lowlevel.checkpoint()
    await anyio.to_thread.run_sync(lambda: later.write_text(""))
    await logged(rank, text="holds")
    rank.gateway.cancel(rids[0])
    rank.gateway._flush()
    await anyio.to_thread.run_sync(lambda: now.write_text(""))
    await rank.gateway.ended(first)
    return tuple(rids)


@pytest.mark.parametrize("turns", [0, 1])
async def test_a_batch_whose_callers_have_all_left_before_it_began_frees_the_device(
    tmp_path: Path, turns: int
) -> None:
    async with ready(batched(tmp_path, ONCE)) as rank:
        (left,) = await leave_before_the_first_step(rank, tmp_path, turns, "a")

        code, executed, _ = await rank.gateway.refused(left)
        assert (code, executed) == ("cancelled", "no")
        assert await answers(rank, rank.gateway.open(body("b"))) == ["b"]
        assert (await rank.stats()).inflight == 0


@pytest.mark.parametrize("turns", [0, 1])
async def test_a_caller_who_leaves_a_batch_generator_before_its_first_step_gives_the_permit_back(
    tmp_path: Path, turns: int
) -> None:
    async with ready(batched(tmp_path, STEPS)) as rank:
        left, stayed = await leave_before_the_first_step(rank, tmp_path, turns, "a", "b")

        assert (await rank.gateway.refused(left))[0] == "cancelled"
        assert b'"b"' in b"".join(one.body for one in await rank.gateway.ended(stayed))
        assert (await rank.stats()).inflight == 0


RAISES = """
from glowplug import endpoint

@endpoint
def echo(text: str) -> str:
    if text == "name":
        raise FileNotFoundError("no file \\udcff")
    print("said \\udcff")
    return text
"""


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_error_whose_text_is_no_text_ends_its_own_call_alone(
    tmp_path: Path, is_async: bool
) -> None:
    code = RAISES.replace("def echo", "async def echo") if is_async else RAISES
    async with ready(launch_of(tmp_path, code, is_async=is_async)) as rank:
        _, executed, problem = await rank.gateway.refused(rank.gateway.open(b'{"text": "name"}'))
        _, answer = await rank.gateway.ask(b'{"text": "fine"}')

        assert (executed, answer) == ("yes", b'"fine"')
        assert problem["detail"] == "FileNotFoundError: no file \\udcff"
        assert (await logged(rank, stream="stdout"))["text"] == "said \\udcff"


async def test_a_start_that_fails_with_a_text_that_is_none_is_told_all_the_same(
    tmp_path: Path,
) -> None:
    async with running(launch_of(tmp_path, 'raise ValueError("no file \\udcff")')) as rank:
        await rank.gateway.until(
            lambda: any(one.state == "draining" for one in rank.gateway.hellos)
        )
        stats = await rank.stats()

        assert (stats.state, stats.code) == ("failed", "start_failed")
        assert "ValueError: no file \\udcff" in stats.detail
        assert await rank.exit_code() == 3


CALLS_ON = """
from glowplug import Endpoint, endpoint

@endpoint(batch=8)
def echo(texts: list[str]) -> list[str]:
    return [Endpoint.lookup("demo/inner").remote(text=text) if text == "on" else text for text in texts]
"""


async def test_nonsense_in_answer_to_a_call_from_a_batch_frees_the_device(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, CALLS_ON)) as rank:
        for _ in range(2):
            rank.gateway.open(body("on"))
        await rank.gateway.until(lambda: rank.gateway.asked)
        rank.gateway.send(Kind.ERROR, rank.gateway.asked[0].rid, b"\xc1", b"", FLAG_END)
        with pytest.raises(WireError, match="closed the connection"):
            await rank.gateway.until(lambda: False)

        other = await dial(f"unix:{rank.launch.data_socket}", Gateway)
        assert (await other.ask(body("b")))[1] == b'"b"'
        other.close()
