"""Does a generator that answers several calls at once give each caller their own stream?"""

from pathlib import Path

import msgspec

from system.batches import Gate, batched, body
from system.rank_process import Rank, items, ready

STEPS = """
from collections.abc import Iterator
from glowplug import END, endpoint

@endpoint(batch=8)
def echo(texts: list[str]) -> Iterator[list[str | None]]:
    print("batch", len(texts), *texts)
    if "wait" in texts[0]:
        open(texts[0].partition(" ")[2]).read()
    if "bad" in texts:
        raise ValueError("bad")
    longest = max(map(len, texts))
    for at in range(longest):
        if "late" in texts and at == 2:
            raise ValueError("later")
        yield [
            KeyError("own") if text == "own" and at == 1
            else END if at == len(text)
            else (text[at] * (70_000 if text.startswith("L") else 1)) if at < len(text)
            else None
            for text in texts
        ]
"""
ASTEPS = (
    STEPS.replace("def echo", "async def echo")
    .replace("import Iterator", "import AsyncIterator")
    .replace("-> Iterator", "-> AsyncIterator")
    .replace(
        'open(texts[0].partition(" ")[2]).read()',
        "import anyio, pathlib; "
        'await anyio.to_thread.run_sync(pathlib.Path(texts[0].partition(" ")[2]).read_text)',
    )
)


async def streamed(rank: Rank, rid: int) -> list[str]:
    """Return the items of a stream, and `done` or the code of its error."""
    found = []
    for event in items(await rank.gateway.ended(rid)).decode().split("\n\n")[:-1]:
        kind, _, data = event.partition("\n")
        value = msgspec.json.decode(data.removeprefix("data: "))
        found.append(value if kind == "event: output" else kind.removeprefix("event: "))
    return found


async def test_a_batch_generator_answers_each_call_with_its_own_items(tmp_path: Path) -> None:
    for code in (STEPS, ASTEPS):
        async with ready(batched(tmp_path, code)) as rank:
            gate = Gate(rank, tmp_path)
            await gate.closed()
            rids = [rank.gateway.open(body(text)) for text in ("abc", "d", "efgh")]
            await gate.open()

            assert await streamed(rank, rids[0]) == ["a", "b", "c", "done"]
            assert await streamed(rank, rids[1]) == ["d", "done"]
            assert await streamed(rank, rids[2]) == ["e", "f", "g", "h", "done"]
        gate.path.unlink()


async def test_a_failure_of_a_batch_generator_reaches_those_who_still_read(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, STEPS)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in ("x", "own", "late")]
        await gate.open()

        assert await streamed(rank, rids[0]) == ["x", "done"]
        assert await streamed(rank, rids[1]) == ["o", "error"]
        assert await streamed(rank, rids[2]) == ["l", "a", "error"]


async def test_a_batch_generator_that_fails_before_its_first_item_is_run_in_halves(
    tmp_path: Path,
) -> None:
    async with ready(batched(tmp_path, STEPS)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in ("ab", "bad")]
        await gate.open()

        assert (await rank.gateway.refused(rids[1]))[2]["detail"] == "ValueError: bad"
        assert await streamed(rank, rids[0]) == ["a", "b", "done"]


async def test_a_reader_that_stalls_does_not_hold_up_the_others_of_its_batch(
    tmp_path: Path,
) -> None:
    async with ready(batched(tmp_path, STEPS)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        large = rank.gateway.open(
            body("L" * 8)
        )  # 560 kB: more than the window, and nobody takes it
        small = rank.gateway.open(body("12345678"))
        await gate.open()

        assert await streamed(rank, small) == [*"12345678", "done"]
        rank.gateway.credit(large, 200_000)
        rank.gateway.credit(large, 200_000)
        rank.gateway.credit(large, 200_000)
        assert len(await streamed(rank, large)) == 9


async def test_a_reader_that_leaves_a_batch_generator_is_skipped(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, STEPS)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        large = rank.gateway.open(body("L" * 8))
        small = rank.gateway.open(body("12345678"))
        await gate.open()
        await streamed(rank, small)
        rank.gateway.cancel(large)
        await rank.gateway.ended(large)

        assert await streamed(rank, rank.gateway.open(body("z"))) == ["z", "done"]


async def test_the_generator_waits_when_no_reader_can_take_more(tmp_path: Path) -> None:
    for code in (STEPS, ASTEPS):
        async with ready(batched(tmp_path, code)) as rank:
            alone = rank.gateway.open(body("L" * 40))  # 2.8 MB, of which nobody takes any
            await rank.gateway.until(lambda: len(rank.gateway.frames.get(alone, ())) > 3)  # noqa: B023  # at once
            rank.gateway.cancel(alone)
            await rank.gateway.ended(alone)

            # It went on without its reader, and the device is free.
            assert await streamed(rank, rank.gateway.open(body("z"))) == ["z", "done"]


async def test_a_reader_too_far_behind_is_dropped_with_an_error(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, STEPS)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        large = rank.gateway.open(body("L" * 140))  # 9.8 MB
        small = rank.gateway.open(body("1" * 140))
        await gate.open()

        assert (await streamed(rank, small))[-1] == "done"
        assert (await streamed(rank, large))[-1] == "error"


async def test_what_a_generator_yields_for_one_call_must_be_of_its_type(tmp_path: Path) -> None:
    code = STEPS.replace("else None\n", 'else None if text != "odd" else {1: object()}\n')
    async with ready(
        batched(tmp_path, code.replace("at < len(text)\n", 'at < len(text) and text != "odd"\n'))
    ) as rank:
        gate = await Gate(rank, tmp_path).closed()
        odd, fine = rank.gateway.open(body("odd")), rank.gateway.open(body("abc"))
        await gate.open()

        assert (await rank.gateway.refused(odd))[0] == "bad_response"
        assert await streamed(rank, fine) == ["a", "b", "c", "done"]


async def test_steps_of_another_length_fail_every_call(tmp_path: Path) -> None:
    code = STEPS.replace("yield [", 'yield [1] if "short" in texts else [')
    async with ready(batched(tmp_path, code)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in ("short", "other")]
        await gate.open()

        for rid in rids:
            code_, _, problem = await rank.gateway.refused(rid)
            assert code_ == "bad_response"
            assert "returned 1 results for a batch of 2 calls" in problem["detail"]
