"""How does one call with lists become a call for each entry? Several at once, bounded, the answers in order."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import copy_context
from typing import Any

Row = Mapping[str, Any]

AT_ONCE = 64  # calls of one list under way: two batches of the usual size, one running while the next gathers


def each(call: Callable[[Row], Any], rows: Sequence[Row]) -> list[Any]:
    """Call for each row, on threads; raise the first error once all have ended."""
    if len(rows) <= 1:
        return [call(row) for row in rows]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(len(rows), AT_ONCE), "glowplug-call") as threads:
        # Each in a copy of this context: inside a replica it says which call these are made from.
        under_way = [threads.submit(copy_context().run, call, row) for row in rows]
    return [done.result() for done in under_way]


async def aeach(call: Callable[[Row], Awaitable[Any]], rows: Sequence[Row]) -> list[Any]:
    """Call for each row, as tasks; raise the first error once all have ended."""
    from anyio import CapacityLimiter, create_task_group

    results: dict[int, Any] = {}
    errors: dict[int, Exception] = {}
    limiter = CapacityLimiter(AT_ONCE)

    async def one(number: int, row: Row) -> None:
        async with limiter:
            try:
                results[number] = await call(row)
            except Exception as error:  # whatever it is, it is raised when the others have ended
                errors[number] = error

    async with create_task_group() as group:
        for number, row in enumerate(rows):
            group.start_soon(one, number, row)
    if errors:
        raise errors[min(errors)]
    return [results[number] for number in range(len(rows))]
