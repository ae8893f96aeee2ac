"""Where do the router's own processes write their logs? JSON lines, one file a process and the one before it.

A line has `ts` (UTC, ISO 8601), `level`, `logger`, `event`, then what else is known, and `exception`.

A log must not stop what it reports on: a full disk drops lines and counts them.
"""

import logging
import logging.handlers
import re
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

from glowplug.node.folders import LOG_MAX

FILES_KEPT = 1  # besides the one that is written
_HEAD = ("ts", "level", "logger", "event")
_KEY = re.compile(r"(gp_[a-z0-9]{8}_)[A-Za-z0-9]{20,}")
_HIDDEN = frozenset({"key", "token", "secret", "authorization", "pepper", "value"})

Logger = structlog.stdlib.BoundLogger
Event = MutableMapping[str, Any]


def logger(name: str) -> Logger:
    """Return a logger; until `configure` has run, its lines go where the standard library's do."""
    return structlog.stdlib.get_logger(name)


class BoundedFile(logging.handlers.RotatingFileHandler):
    """A rotating file that drops lines it cannot write, and counts them."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, maxBytes=LOG_MAX, backupCount=FILES_KEPT, encoding="utf-8", delay=True
        )
        self.dropped = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the standard library's name
        """Count a line that could not be written."""
        self.dropped += 1


def configure(folder: Path, process: str, level: int = logging.INFO) -> BoundedFile:
    """Send everything this process logs, through structlog or the standard library, to `folder/process.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = BoundedFile(folder / f"{process}.jsonl")
    before: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        redacted,
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *before],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _ordered,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    sys.excepthook = _record_crash
    return handler


def _ordered(_logger: object, _method: str, event: Event) -> Event:
    """Put first what every line has; leave out what uvicorn says a second time, in colour."""
    event.pop("color_message", None)
    return {**{name: event.get(name, "") for name in _HEAD}, **event}


def redacted(_logger: object, _method: str, event: Event) -> Event:
    """Cover what looks like an API key, and every field whose name says that it is a secret."""
    for name, value in event.items():
        if name in _HIDDEN:
            event[name] = "…"
        elif isinstance(value, str) and "gp_" in value:
            event[name] = _KEY.sub(r"\1…", value)
    return event


def _record_crash(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    logging.getLogger("glowplug").critical("the process ends", exc_info=(kind, error, trace))
    sys.__excepthook__(kind, error, trace)
