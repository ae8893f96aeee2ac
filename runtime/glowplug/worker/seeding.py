"""What do batches cost before the first call has come? The examples say, run at 1, 2, 4 … calls, or the engine's sizes.

It also brings the code to speed at these sizes: what compiles for a shape does it here and not under a call.
"""

from collections.abc import Callable, Iterator

import msgspec

from glowplug.lists import columns, results_of
from glowplug.worker.offline import called_out
from glowplug.worker.program import OnThread, Program, Seed

SLOW_NS = (
    1_000_000_000  # a batch that takes longer ends the series: the start must not wait for the rest
)
AGAIN_NS = (
    100_000_000  # one that took less is run again: the first of a size may have compiled for it
)


async def seeds_of(
    program: Program, on_thread: OnThread, now_ns: Callable[[], int]
) -> tuple[Seed, ...]:
    """Run batches of the first example and return what they took; nothing for code that has none, or yields."""
    if not (program.spec.batch.max and program.spec.examples) or program.contract.schema.streams:
        return ()
    seeds: list[Seed] = []
    for size in _sizes(program):
        try:
            took_ns = await _took_ns(program, size, on_thread, now_ns)
            if took_ns < AGAIN_NS:
                took_ns = await _took_ns(program, size, on_thread, now_ns)
        except Exception as error:  # the user's own exception may wrap the refusal
            if not called_out(error):
                raise
            return ()
        seeds.append((size, _units(program, size), took_ns))
        if took_ns > SLOW_NS:
            break
    return tuple(seeds)


def _sizes(program: Program) -> Iterator[int]:
    batch = program.spec.batch
    if batch.buckets:
        yield from batch.buckets
        return
    size = 1
    while size < batch.max:
        yield size
        size *= 2
    yield batch.max


async def _took_ns(
    program: Program, size: int, on_thread: OnThread, now_ns: Callable[[], int]
) -> int:
    text = msgspec.json.encode(program.spec.examples[0])
    contract = program.contract
    lists = columns([contract.arguments_from_json(text) for _ in range(size)], list(contract.types))
    began_ns = now_ns()
    if program.spec.is_async:
        answer = await program.run(**lists)
    else:
        answer = await on_thread(lambda: program.run(**lists))
    took_ns = now_ns() - began_ns
    results_of(contract.label, answer, size)
    return took_ns


def _units(program: Program, size: int) -> int:
    batch = program.endpoint.batch
    if batch is None or batch.weight is None:
        return 0
    text = msgspec.json.encode(program.spec.examples[0])
    return size * max(1, round(batch.weight(*program.contract.arguments_from_json(text).values())))
