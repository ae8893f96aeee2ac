"""Do the router's logs stay bounded, readable, and free of secrets?"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from glowplug_router.telemetry.logging import BoundedFile, configure, logger


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Path]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    handler = configure(tmp_path / "logs", "controller")
    yield tmp_path / "logs" / "controller.jsonl"
    handler.close()
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_both_kinds_of_loggers_write_the_same_lines(lines: Path) -> None:
    logger("glowplug.one").info("started", pid=5)
    logging.getLogger("glowplug.two").warning("%s is slow", "disk")

    first, second = map(json.loads, lines.read_text().splitlines())
    assert (first["event"], first["pid"], first["level"], first["logger"]) == (
        "started",
        5,
        "info",
        "glowplug.one",
    )
    assert (second["event"], second["level"], second["logger"]) == (
        "disk is slow",
        "warning",
        "glowplug.two",
    )
    assert list(first)[:4] == ["ts", "level", "logger", "event"]
    assert first["ts"].endswith("Z")
    assert first["ts"] <= second["ts"]


def test_an_exception_is_kept_with_its_traceback(lines: Path) -> None:
    try:
        raise ValueError("nope")
    except ValueError:
        logger("glowplug").exception("broke")

    assert "ValueError: nope" in json.loads(lines.read_text())["exception"]


def test_keys_and_secrets_are_covered(lines: Path) -> None:
    key = "gp_abcd2345_" + "S" * 49
    logger("glowplug").info(f"used {key}", authorization="Bearer x", note=f"<{key}>")

    text = lines.read_text()
    assert "S" * 20 not in text
    assert "Bearer" not in text
    assert "gp_abcd2345_" in text


def test_a_line_that_cannot_be_written_is_dropped_and_counted(tmp_path: Path) -> None:
    handler = BoundedFile(tmp_path / "absent" / "x.jsonl")

    handler.handle(logging.makeLogRecord({"msg": "lost"}))

    assert handler.dropped == 1
