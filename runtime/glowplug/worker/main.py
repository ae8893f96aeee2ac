"""How does a process become a rank? `python -m glowplug.worker --fd N`, or `run(launch)` after a fork.

The launch record comes through a descriptor, never through arguments or the disk: it holds secrets. Both sockets stand
before the first line of user code is imported, so that the agent can ask how far it is.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec

from glowplug.clock import Clock, SystemClock
from glowplug.errors import GlowplugError
from glowplug.node.messages import RankLaunch, RemoteSocket
from glowplug.wire.tls import serving
from glowplug.wire.transport import listen
from glowplug.worker.capture import Captured, LogFile, capture
from glowplug.worker.compute import Compute, Outbox, threads_of
from glowplug.worker.control import Control
from glowplug.worker.events import Began, Broke, Terminated
from glowplug.worker.link import Link
from glowplug.worker.process import become
from glowplug.worker.rank import Rank
from glowplug.worker.server import Server

EXIT_BAD_LAUNCH = 2
FLUSH_S = 0.25  # at the end: for the last frames to leave
LOG_FLUSH_S = 0.1  # lines about ended calls wait at most this long


def main(arguments: list[str]) -> int:
    """Read the launch record from the descriptor and be that rank."""
    if len(arguments) != 2 or arguments[0] != "--fd" or not arguments[1].isdigit():
        sys.stderr.write("usage: python -m glowplug.worker --fd N\n")
        return EXIT_BAD_LAUNCH
    with os.fdopen(int(arguments[1]), "rb") as file:
        data = file.read()
    if not data:
        return 0  # the agent died before it had said what to run
    try:
        launch = msgspec.json.decode(data, type=RankLaunch)
    except msgspec.MsgspecError as error:
        sys.stderr.write(
            f"the launch record cannot be read: {error}; are agent and environment of one release?\n"
        )
        return EXIT_BAD_LAUNCH
    return run(launch)


def run(launch: RankLaunch) -> int:
    """Be the rank until it ends, and return the exit code. For a fresh process: an exec'd one or a forked child."""
    become(launch)
    clock = SystemClock()
    spec = launch.spec
    log = LogFile(
        Path(launch.log_path),
        clock,
        replica=launch.replica,
        app=spec.app,
        endpoint=spec.name,
        version=launch.version,
    )
    captured = capture(log)
    return anyio.run(_live, launch, clock, log, captured, backend_options=_backend())


async def _live(launch: RankLaunch, clock: Clock, log: LogFile, captured: Captured) -> int:
    loop = _running_loop()
    outbox = Outbox(loop)
    compute = Compute(outbox, threads_of(launch.spec))
    log.later = lambda flush: loop.call_later(LOG_FLUSH_S, flush)
    async with anyio.create_task_group() as group:
        server = Server(launch.replica, clock, outbox, compute, log, captured)
        rank = Rank(launch, server, compute, clock, group.start_soon)
        control = Control(rank, group.start_soon)
        listeners = [
            await listen(Path(launch.data_socket), lambda: Link(server)),
            await listen(Path(launch.control_socket), control.accept),
        ]
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: rank.happen(Terminated(rank.is_busy)))
        rank.happen(Began())
        try:
            listeners += await _listen_far(launch.remote_socket, server)
        except (GlowplugError, OSError) as error:
            rank.happen(Broke(str(error)))
        await rank.ended.wait()
        await server.linger()
        for listener in listeners:
            listener.close()
        with anyio.move_on_after(FLUSH_S):
            await server.close()
            await control.close()
        _forget(launch)
        log.flush()
        if not compute.idle or server.calls:
            os._exit(rank.exit_code)  # code that cannot be stopped would hold the process for ever
        compute.stop()
        group.cancel_scope.cancel()
    return rank.exit_code


async def _listen_far(far: RemoteSocket | None, server: Server) -> tuple[Any, ...]:
    """Serve gateways of other hosts, where the launch record says so."""
    if far is None:
        return ()
    tls = serving(Path(far.certificate), Path(far.key)) if far.address.startswith("tls:") else None
    return (await listen(far.address, lambda: Link(server), token=far.token, tls=tls),)


def _forget(launch: RankLaunch) -> None:
    """Take the sockets away: nobody must dial a rank that has ended. The record is the agent's to remove."""
    for path in (launch.data_socket, launch.control_socket):
        Path(path).unlink(missing_ok=True)


def _running_loop() -> Any:
    import asyncio

    return asyncio.get_running_loop()


def _backend() -> dict[str, Any]:
    factory = _uvloop()
    return {} if factory is None else {"loop_factory": factory}


def _uvloop() -> Callable[[], Any] | None:
    """Return uvloop's loop where it is installed: it halves the cost of a small frame."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
