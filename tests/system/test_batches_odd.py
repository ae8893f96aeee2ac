"""Does a real rank outlive weights and keys that nobody can reckon with?"""

from pathlib import Path

from system.batches import Gate, answers, batched, body
from system.rank_process import ready

TRICKY = """
from glowplug import Batch, endpoint

class Odd(str):
    __hash__ = str.__hash__
    def __eq__(self, other):
        if other is not self:
            raise RuntimeError("odd")
        return True

def key(text):
    return Odd(text[5:]) if text.startswith("odd") else text[:4]

def weight(text):
    return {"huge": 10**400, "wide": 2**62, "inf": float("inf"), "nan": float("nan")}.get(text, len(text))

@endpoint(batch=Batch(max=8, key=key, weight=weight))
def echo(texts: list[str]) -> list[str]:
    if "wait" in texts[0]:
        print("batch", len(texts), *texts)
        open(texts[0].partition(" ")[2]).read()
    return [f"{text}/{len(texts)}" for text in texts]
"""


async def test_a_weight_that_cannot_be_fails_its_own_call_and_holds_up_no_other(
    tmp_path: Path,
) -> None:
    async with ready(batched(tmp_path, TRICKY, is_keyed=True, is_weighed=True)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        bad = [rank.gateway.open(body(text)) for text in ("huge", "wide", "inf", "nan")]
        good = [rank.gateway.open(body(text)) for text in ("text1", "text2")]
        details = [(await rank.gateway.refused(rid))[2]["detail"] for rid in bad]
        await gate.open()

        assert details == ["ValueError: `batch.weight` returned no number up to 1e+15"] * 4
        assert await answers(rank, *good) == ["text1/2", "text2/2"]


async def test_keys_that_cannot_be_compared_fail_their_calls_and_no_later_one(
    tmp_path: Path,
) -> None:
    async with ready(batched(tmp_path, TRICKY, is_keyed=True, is_weighed=True)) as rank:
        gate = await Gate(rank, tmp_path).closed()
        odd = [rank.gateway.open(body(text)) for text in ("odd 1", "odd 2")]
        await gate.open()
        details = [(await rank.gateway.refused(rid))[2]["detail"] for rid in odd]

        assert details == ["RuntimeError: odd"] * 2
        assert await answers(rank, rank.gateway.open(body("text"))) == ["text/1"]
