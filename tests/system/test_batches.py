"""Does a real rank run calls together, and does each caller get what is theirs?"""

from collections import Counter, deque
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import anyio
import msgspec
import pytest

from glowplug.clock import MILLISECOND, SECOND
from glowplug.wire.frames import Kind
from glowplug.wire.messages import to_json, unpack_response
from system.batches import Gate, answers, batched, body
from system.rank_process import call, edited, logged, ready

SIZES = """
import threading
from pathlib import Path
from glowplug import Batch, endpoint

@endpoint(batch=Batch(max=8, on_item_error="{on_item_error}"))
def echo(texts: list[str]) -> list[str]:
    print("batch", len(texts), *texts)
    if "wait" in texts[0]:
        open(texts[0].partition(" ")[2]).read()
    if "bad" in texts:
        raise ValueError("bad is in " + " ".join(texts))
    if "short" in texts:
        return texts[1:]
    return [KeyError(text) if text == "own" else f"{{text}}/{{len(texts)}}" for text in texts]
""".format(on_item_error="isolate")
ASYNC = SIZES.replace("def echo", "async def echo").replace(
    'open(texts[0].partition(" ")[2]).read()',
    'import anyio; await anyio.to_thread.run_sync(Path(texts[0].partition(" ")[2]).read_text)',
)


async def test_calls_that_arrive_while_a_batch_runs_are_the_next_batch(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, SIZES)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in "abc"]
        await gate.open()

        assert await answers(rank, *rids) == ["a/3", "b/3", "c/3"]


async def test_asynchronous_code_gets_batches_too(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, ASYNC)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in "abc"]
        await gate.open()

        assert await answers(rank, *rids) == ["a/3", "b/3", "c/3"]


async def test_one_call_of_a_batch_tells_its_size_and_why_it_was_cut(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, SIZES)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in "abcdefghij"]
        await gate.open()
        heads = [unpack_response((await rank.gateway.ended(rid))[-1].meta) for rid in rids]

        told = [(head.batch, head.flush) for head in heads if head.batch]
        assert told == [(8, "full"), (2, "idle")]
        assert all(dict(head.timings)["batch"] > 0 for head in heads)


async def test_a_bad_request_gets_its_own_refusal_and_is_in_no_batch(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, SIZES)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        good, bad, other = (
            rank.gateway.open(one) for one in (body("a"), b'{"texts": 1}', body("b"))
        )
        code, executed, _ = await rank.gateway.refused(bad)
        await gate.open()

        assert (code, executed) == ("invalid_request", "no")
        assert await answers(rank, good, other) == ["a/2", "b/2"]


async def test_an_item_that_fails_alone_leaves_the_others_alone(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, SIZES)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in ("a", "b", "bad", "c", "d")]
        await gate.open()
        code, executed, problem = await rank.gateway.refused(rids.pop(2))

        assert (code, executed) == ("endpoint_error", "yes")
        assert problem["detail"] == "ValueError: bad is in bad"
        # Halves: a b | bad c d, then bad | c d.
        assert await answers(rank, *rids) == ["a/2", "b/2", "c/2", "d/2"]


async def test_an_item_that_failed_a_batch_runs_alone_when_it_comes_again(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, SIZES)) as rank:
        got: list[Any] = []
        for round_ in range(2):
            (tmp_path / str(round_)).mkdir()
            gate = await Gate(rank, tmp_path / str(round_)).closed()
            rids = [rank.gateway.open(body(text)) for text in ("a", "bad", "b")]
            await gate.open()
            await rank.gateway.refused(rids.pop(1))
            got = await answers(rank, *rids)

        assert got == ["a/2", "b/2"]
        printed = [line["text"] for line in rank.log() if line["text"].startswith("batch")]
        assert printed[-3:] == ["batch 2 a b", "batch 1 bad"] or sorted(printed[-2:]) == [
            "batch 1 bad",
            "batch 2 a b",
        ]


async def test_without_isolation_all_calls_of_a_batch_fail_with_it(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, SIZES, isolate=False)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in ("a", "bad")]
        await gate.open()

        assert {(await rank.gateway.refused(rid))[0] for rid in rids} == {"endpoint_error"}


async def test_an_exception_in_the_place_of_a_result_is_that_items_error(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, SIZES)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in ("a", "own", "b")]
        await gate.open()
        _, _, problem = await rank.gateway.refused(rids.pop(1))

        assert problem["detail"] == "KeyError: 'own'"
        assert await answers(rank, *rids) == ["a/3", "b/3"]


async def test_a_list_of_another_length_fails_every_call_and_names_both(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, SIZES)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in ("a", "short", "b")]
        await gate.open()

        for rid in rids:
            code, executed, problem = await rank.gateway.refused(rid)
            assert (code, executed) == ("bad_response", "yes")
            assert problem["detail"] == "`echo` returned 2 results for a batch of 3 calls"


async def test_a_call_that_leaves_before_the_cut_costs_nothing_and_frees_its_permit(
    tmp_path: Path,
) -> None:
    async with ready(batched(tmp_path, SIZES)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        gone, kept = rank.gateway.open(body("gone")), rank.gateway.open(body("kept"))
        rank.gateway.cancel(gone)
        code, executed, _ = await rank.gateway.refused(gone)
        await gate.open()

        assert (code, executed) == ("cancelled", "no")
        assert await answers(rank, kept) == ["kept/1"]


async def test_a_call_whose_deadline_passes_in_the_queue_was_not_executed(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, SIZES)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        late = rank.gateway.open(body("late"), call(timeout_ns=30 * MILLISECOND))
        code, executed, _ = await rank.gateway.refused(late)
        await gate.open()

        assert (code, executed) == ("deadline", "no")


async def test_a_call_that_leaves_a_running_batch_is_told_when_it_ends(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, ASYNC)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rank.gateway.cancel(gate.rid)  # its only call: the task is cancelled

        assert (await rank.gateway.refused(gate.rid))[:2] == ("cancelled", "yes")
        assert await answers(rank, rank.gateway.open(body("next"))) == ["next/1"]
        await anyio.to_thread.run_sync(lambda: gate.path.write_text(""))


async def test_what_a_batch_prints_carries_the_first_call_and_how_many_were_with_it(
    tmp_path: Path,
) -> None:
    async with ready(batched(tmp_path, SIZES)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text), call(f"id-{text}")) for text in "abc"]
        await gate.open()
        await answers(rank, *rids)

        assert (await logged(rank, text="batch 3 a b c"))["request_id"] == "id-a+2"


async def test_a_batch_is_filled_up_to_the_next_size_of_the_engine(tmp_path: Path) -> None:
    code = SIZES.replace("max=8", "max=8, buckets=[1, 4, 8]")
    async with ready(batched(tmp_path, code, buckets=(1, 4, 8))) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in "abc"]
        await gate.open()

        assert await answers(rank, *rids) == ["a/4", "b/4", "c/4"]
        await logged(rank, text="batch 4 a b c c")


KEYED = SIZES.replace("max=8", "max=8, key=lambda text: text[0], weight=lambda text: len(text)")


async def test_only_calls_of_one_key_share_a_batch(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, KEYED, is_keyed=True, is_weighed=True)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in ("a1", "b1", "a2", "b2")]
        await gate.open()

        assert await answers(rank, *rids) == ["a1/2", "b1/2", "a2/2", "b2/2"]
        await logged(rank, text="batch 2 a1 a2")


async def test_a_key_that_raises_fails_its_own_call_alone(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, KEYED, is_keyed=True, is_weighed=True)) as rank:
        _, _, problem = await rank.gateway.refused(rank.gateway.open(body("")))

        assert problem["detail"].startswith("IndexError")


async def test_batches_are_bounded_anew_with_a_ping_and_nothing_restarts(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, SIZES)) as rank:
        tunings = ((b'{"max": 2}', 2), (b"?", 2), (b"{}", 4), (b'{"max": 99}', 4))
        for number, (tuning, size) in enumerate(tunings):
            await rank.command(Kind.PING, lease_ns=60 * SECOND, body=tuning)
            (tmp_path / str(number)).mkdir()
            gate = await Gate(rank, tmp_path / str(number)).closed()
            rids = [rank.gateway.open(body(text)) for text in "abcd"]
            await gate.open()

            assert await answers(rank, rids[0], rids[3]) == [f"a/{size}", f"d/{size}"]


async def test_large_requests_are_decoded_beside_the_loop_and_large_answers_too(
    tmp_path: Path,
) -> None:
    async with ready(batched(tmp_path, SIZES)) as rank:
        for _ in range(3):  # the first large answers tell the rank that encoding is work
            rids = [rank.gateway.open(body(letter * 3_000_000)) for letter in "ab"]
            got = sorted(await answers(rank, *rids))
            assert [len(one) for one in got] == [3_000_002] * 2
            assert [one[0] for one in got] == ["a", "b"]
        code, _, _ = await rank.gateway.refused(rank.gateway.open(b'{"texts": [' + b"1," * 50_000))
        assert code == "invalid_json"


async def test_asynchronous_code_that_fails_is_run_in_halves_too(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, ASYNC)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        rids = [rank.gateway.open(body(text)) for text in ("a", "bad", "b")]
        await gate.open()

        assert (await rank.gateway.refused(rids.pop(1)))[2]["detail"] == "ValueError: bad is in bad"
        assert await answers(rank, *rids) == ["a/1", "b/1"]


SLOW = """
import time
from glowplug import endpoint

@endpoint(batch=8, examples=[{"texts": "a"}])
def echo(texts: list[str]) -> list[int]:
    if texts[0] == "leave":
        raise SystemExit(3)
    time.sleep(0.2)
    return [len(texts)] * len(texts)
"""


async def test_a_call_that_could_not_end_in_time_is_refused_before_it_runs(tmp_path: Path) -> None:
    launch = batched(tmp_path, SLOW)
    spec = replace(launch.spec, examples=({"texts": "a"},))
    async with ready(
        replace(launch, spec=spec)
    ) as rank:  # the examples have said what a batch costs
        late = rank.gateway.open(body("late"), call(timeout_ns=100 * MILLISECOND))
        fine = rank.gateway.open(body("fine"), call(timeout_ns=10 * SECOND))
        code, executed, problem = await rank.gateway.refused(late)

        assert (code, executed) == ("deadline", "no")
        assert problem["detail"] == "echo would have answered after the caller's deadline"
        assert await answers(rank, fine) == [1]


async def test_code_that_wants_to_leave_fails_its_batch_and_the_rank_stays(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, SLOW)) as rank:
        assert (await rank.gateway.refused(rank.gateway.open(body("leave"))))[0] == "endpoint_error"
        assert await answers(rank, rank.gateway.open(body("stay"))) == [1]


async def test_a_batch_is_held_for_the_time_that_the_code_asks(tmp_path: Path) -> None:
    async with ready(batched(tmp_path, SIZES, wait_ns=300 * MILLISECOND)) as rank:
        first = rank.gateway.open(body("a"))
        await rank.stats()  # the rank has had it
        second = rank.gateway.open(body("b"))

        assert await answers(rank, first, second) == ["a/2", "b/2"]


RUSH = """
import time
from glowplug import Batch, endpoint

@endpoint(batch=Batch(max=8, weight=lambda text: len(text), key=lambda text: text[0] == "k"))
def echo(texts: list[str]) -> list[str]:
    time.sleep(0.002)
    if any("bad" in text for text in texts):
        raise ValueError("bad")
    return [ValueError(text) if "own" in text else text for text in texts]
"""
ARUSH = RUSH.replace("def echo", "async def echo").replace(
    "time.sleep(0.002)", "import asyncio; await asyncio.sleep(0.002)"
)


@pytest.mark.parametrize("code", [RUSH, ARUSH], ids=["sync", "async"])
async def test_every_call_ends_once_and_with_its_own_answer_whatever_happens(
    tmp_path: Path, code: str
) -> None:
    random = Random(5)
    async with ready(batched(tmp_path, code, is_weighed=True, is_keyed=True)) as rank:
        gateway, open_ = rank.gateway, deque[tuple[int, str]]()
        codes = Counter[str]()

        async def end_one() -> None:
            rid, text = open_.popleft()
            (last,) = await gateway.ended(rid)
            said = msgspec.json.decode(last.body)
            assert last.kind == Kind.ERROR or said == text
            codes["ok" if last.kind == Kind.RESPONSE else said["code"]] += 1

        for number in range(600):
            kind = random.choice(["", "", "", "k", "own", "bad", "long" * 50])
            late = call(timeout_ns=random.randint(1, 9) * MILLISECOND if number % 7 == 0 else 0)
            text = f"{kind}-{number}"
            open_.append((gateway.open(body(text), late), text))
            if random.random() < 0.1:
                gateway.cancel(open_[-1][0])
            if len(open_) == 16:
                await end_one()
        while open_:
            await end_one()

        # Whoever hears of a deadline while its batch runs has a permit until that ends: the next may be one too many.
        assert set(codes) <= {"ok", "endpoint_error", "cancelled", "deadline", "busy"}, codes
        assert codes["ok"] > 0
        assert codes["endpoint_error"] > 0
        assert not gateway.frames  # and no second one
        assert (await rank.stats()).inflight == 0
        rids = [gateway.open(body(str(number))) for number in range(16)]  # all permits are back
        assert await answers(rank, *rids) == [str(number) for number in range(16)]


async def test_code_swapped_in_place_takes_the_next_batches(tmp_path: Path) -> None:
    launch = batched(tmp_path, SIZES)
    async with ready(launch) as rank:
        assert await answers(rank, rank.gateway.open(body("a"))) == ["a/1"]

        newer = edited(launch, tmp_path / "newer", SIZES.replace("/{len", "!{len"))
        await rank.command(Kind.LOAD, body=to_json(newer))

        assert await answers(rank, rank.gateway.open(body("a"))) == ["a!1"]
