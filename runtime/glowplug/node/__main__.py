"""How is an agent started by hand, or by a service of the operating system?"""

import argparse
import logging
import logging.handlers
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from socket import gethostname

import anyio
import msgspec

from glowplug import settings
from glowplug.clock import SystemClock
from glowplug.errors import GlowplugError
from glowplug.node.agent import run_agent
from glowplug.node.folders import LOG_MAX, Folders
from glowplug.node.site import Patience
from glowplug.node.stopping import until_told
from glowplug.settings import Home


class JsonLines(logging.Formatter):
    """Writes records as a router's processes do: `ts` (UTC, ISO 8601), `level`, `logger`, `event`, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
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
        anyio.run(until_told, run)
    except* GlowplugError as errors:
        failures += errors.exceptions
    for failure in failures:
        sys.stderr.write(f"{failure}\n")
    return 1 if failures else 0


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_MAX, backupCount=1)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
