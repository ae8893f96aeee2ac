"""How is an agent started by hand, or by a service of the operating system?"""

import argparse
import logging
import logging.handlers
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from socket import gethostname

import anyio
import msgspec

from glowplug import settings
from glowplug.clock import SystemClock
from glowplug.errors import GlowplugError
from glowplug.node.agent import run_agent
from glowplug.node.folders import Folders
from glowplug.node.site import Patience
from glowplug.settings import Home

LOG_MAX = 8 << 20  # bytes of the agent's log; one older file is kept


class JsonLines(logging.Formatter):
    """Writes records as the other logs are: one JSON object a line, `ts` in nanoseconds."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        line = {
            "ts": int(record.created * 1e9),
            "level": record.levelname.lower(),
            "name": record.name,
            "text": text,
        }
        return msgspec.json.encode(line).decode()


def main(arguments: list[str] | None = None) -> int:
    """Run an agent until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m glowplug.node", description=__doc__)
    parser.add_argument("--home", type=Path, help="the installation's folder (GLOWPLUG_HOME)")
    parser.add_argument("--controller", required=True, help="unix:/path or tcp:host:port")
    parser.add_argument("--name", default=gethostname(), help="this node's name")
    parser.add_argument("--leash-fd", type=int, help="end when this pipe does")
    parser.add_argument(
        "--lease", type=float, default=30.0, help="seconds that ranks live without an agent"
    )
    given = parser.parse_args(arguments)
    home = Home(given.home.absolute()) if given.home else settings.home()
    _log_to(Folders(home).system_logs / "agent.jsonl")
    lease_ns = int(given.lease * 1e9)
    patience = Patience(
        lease_ns=lease_ns, ping_every_ns=min(Patience().ping_every_ns, lease_ns // 6)
    )
    run = partial(
        run_agent,
        home,
        given.controller,
        given.name,
        SystemClock(),
        leash_fd=given.leash_fd,
        patience=patience,
    )
    failures: list[BaseException] = []
    try:
        anyio.run(_until_signalled, run)
    except* GlowplugError as errors:
        failures += errors.exceptions
    for failure in failures:
        sys.stderr.write(f"{failure}\n")
    return 1 if failures else 0


async def _until_signalled(run: Callable[[], Awaitable[None]]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_on_signal, group.cancel_scope)
        await run()
        group.cancel_scope.cancel()


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_MAX, backupCount=1)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
