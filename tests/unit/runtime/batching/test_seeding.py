"""What is learned from the examples before the first call?"""

from collections.abc import Iterator
from typing import Any

import pytest

from glowplug import Batch, endpoint
from glowplug.clock import MILLISECOND, SECOND, ManualClock
from glowplug.endpoints import DeclaredEndpoint
from glowplug.errors import CallError
from glowplug.worker.offline import offline
from glowplug.worker.program import Program, prepare, warm
from glowplug.worker.seeding import seeds_of

clock = ManualClock()
ran: list[int] = []
EXAMPLES = [{"x": 3}]


def costs(x: list[int], ms: int) -> list[int]:
    ran.append(len(x))
    clock.advance((5 + len(x)) * ms * MILLISECOND // 5)
    return x


@endpoint(batch=6, examples=EXAMPLES)
def quick(x: list[int]) -> list[int]:
    return costs(x, 5)


@endpoint(batch=Batch(max=8, weight=lambda x: 10 * x, buckets=[2, 8]), examples=EXAMPLES)
async def weighed(x: list[int]) -> list[int]:
    return costs(x, 5)


@endpoint(batch=64, examples=EXAMPLES)
def slow(x: list[int]) -> list[int]:
    return costs(x, 500)


@endpoint(batch=4)
def silent(x: list[int]) -> list[int]:
    return costs(x, 5)


@endpoint(batch=4, examples=EXAMPLES)
def steps(x: list[int]) -> Iterator[list[int]]:
    yield costs(x, 5)


@endpoint(examples=EXAMPLES)
def single(x: int) -> int:
    return x


@endpoint(batch=4, examples=EXAMPLES)
def asks(x: list[int]) -> list[int]:
    return single.remote(x[0])  # type: ignore[return-value]  # it is never reached


@endpoint(batch=4, examples=EXAMPLES)
def broken(x: list[int]) -> list[int]:
    return x[1:]


async def on_thread(work: Any) -> Any:
    return work()


def program_of(one: DeclaredEndpoint[..., Any]) -> Program:
    ran.clear()
    return prepare(one.spec, one)


async def test_sizes_double_up_to_the_largest_and_each_is_run_twice() -> None:
    seeds = await seeds_of(program_of(quick), on_thread, clock.now_ns)

    assert seeds == tuple((size, 0, (5 + size) * MILLISECOND) for size in (1, 2, 4, 6))
    assert ran == [1, 1, 2, 2, 4, 4, 6, 6]


async def test_an_engines_own_sizes_are_run_and_weighed() -> None:
    seeds = await seeds_of(program_of(weighed), on_thread, clock.now_ns)

    assert seeds == ((2, 60, 7 * MILLISECOND), (8, 240, 13 * MILLISECOND))


async def test_a_start_does_not_wait_for_what_takes_seconds() -> None:
    seeds = await seeds_of(program_of(slow), on_thread, clock.now_ns)

    assert [(size, took_ns > SECOND) for size, _, took_ns in seeds] == [
        (1, False),
        (2, False),
        (4, False),
        (8, True),
    ]
    assert ran == [1, 2, 4, 8]


@pytest.mark.parametrize("one", [silent, steps, single])
async def test_what_has_no_example_or_yields_or_runs_alone_has_no_seeds(
    one: DeclaredEndpoint[..., Any],
) -> None:
    assert await seeds_of(program_of(one), on_thread, clock.now_ns) == ()
    assert ran == []


async def test_code_that_asks_other_endpoints_has_no_seeds() -> None:
    with offline(asks.spec, "v"):
        assert await seeds_of(program_of(asks), on_thread, clock.now_ns) == ()


async def test_a_batch_of_the_wrong_length_fails_the_start() -> None:
    with pytest.raises(CallError, match="returned 0 results for a batch of 1"):
        await seeds_of(program_of(broken), on_thread, clock.now_ns)


async def test_the_warm_up_runs_each_example_as_a_call_of_its_own() -> None:
    assert await warm(program_of(weighed), on_thread) == 0
    assert await warm(program_of(steps), on_thread) == 0
    assert ran == [1]
