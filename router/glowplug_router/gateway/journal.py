"""Where does the gateway write what happened? JSON lines in a file that is bounded by rotation."""

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

import structlog

FILE_MAX_BYTES = 8 * 1024 * 1024
FILES_KEPT = 2
LOGGERS = ("glowplug", "uvicorn.error")


def open_journal(path: Path) -> logging.Handler:
    """Send our log records, and uvicorn's, to `path`. The caller closes the handler."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(
        path, maxBytes=FILE_MAX_BYTES, backupCount=FILES_KEPT, encoding="utf-8", delay=True
    )
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _created,
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    final: list[structlog.types.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final)
    )
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    return handler


def close_journal(handler: logging.Handler) -> None:
    """Undo `open_journal`."""
    for name in LOGGERS:
        logging.getLogger(name).removeHandler(handler)
    handler.close()


def _created(
    _: structlog.types.WrappedLogger, __: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Add the time that the logging module has already taken."""
    record: logging.LogRecord = event["_record"]
    event["time"] = record.created
    return event
