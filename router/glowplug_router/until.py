"""How does a process that runs for ever end when it is told to?"""

import signal
from collections.abc import Coroutine

import anyio


async def until_signalled(work: Coroutine[object, object, None]) -> None:
    """Run until SIGTERM or SIGINT, then cancel and let it clean up."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_on_signal, tasks.cancel_scope)
        await work
        tasks.cancel_scope.cancel()


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return
