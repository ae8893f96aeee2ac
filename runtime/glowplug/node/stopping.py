"""When is a process that runs for ever to stop? When a signal says so, or when whoever started it is gone.

The *leash* is the reading end of a pipe whose other end only the starter has: it closes however that one ends.
"""

import os
import signal
from collections.abc import Awaitable, Callable, Sequence

import anyio

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_READ_BYTES = 4096  # what is written to a leash means nothing


async def told_to_stop(
    leash_fd: int | None = None, numbers: Sequence[signal.Signals] = STOP_SIGNALS
) -> signal.Signals | None:
    """Wait for one of the signals, or for the end of the leash; return the signal, None for the leash.

    From then on these signals are ignored: systemd sends SIGTERM to the supervisor and to its children, which then hear
    it twice, and the second must not cut short what the first began. Whoever loses patience kills.
    """
    told: signal.Signals | None = None
    async with anyio.create_task_group() as tasks:
        if leash_fd is not None:
            tasks.start_soon(_until_let_go, leash_fd, tasks.cancel_scope)
        with anyio.open_signal_receiver(*numbers) as received:
            told = await anext(aiter(received))
        tasks.cancel_scope.cancel()
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    return told


async def until_told(work: Callable[[], Awaitable[None]]) -> None:
    """Run until SIGTERM or SIGINT, then cancel and let it clean up."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_when_told, tasks.cancel_scope)
        await work()
        tasks.cancel_scope.cancel()


async def let_go(leash_fd: int) -> None:
    """Wait until the other end of the leash is closed."""
    while True:
        await anyio.wait_readable(leash_fd)
        if not os.read(leash_fd, _READ_BYTES):
            return


async def _until_let_go(leash_fd: int, scope: anyio.CancelScope) -> None:
    await let_go(leash_fd)
    scope.cancel()


async def _cancel_when_told(scope: anyio.CancelScope) -> None:
    await told_to_stop()
    scope.cancel()
