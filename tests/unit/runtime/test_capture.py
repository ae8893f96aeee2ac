"""Does what user code prints end up in the log, and does a full disk cost nothing but lines?"""

import logging
from contextvars import Context, copy_context
from pathlib import Path
from typing import Any

import msgspec

from glowplug.clock import MILLISECOND, ManualClock
from glowplug.context import CallContext, current
from glowplug.node.folders import LOG_MAX
from glowplug.worker import capture as captures
from glowplug.worker.capture import TEXT_MAX, Captured, Handler, LogFile


def log_at(path: Path) -> LogFile:
    return LogFile(
        path,
        ManualClock(wall_ns=42),
        replica="rep",
        app="demo",
        endpoint="echo",
        version="demo/echo@1",
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def test_a_printed_line_carries_its_call_and_its_place(tmp_path: Path) -> None:
    log = log_at(tmp_path / "logs" / "l.jsonl")
    out = Captured(log).out
    token = current.set(
        CallContext(
            request_id="r1",
            app="demo",
            endpoint="echo",
            version="v",
            tenant="",
            klass="standard",
            deadline_ns=0,
        )
    )
    print("hel", end="", file=out)
    print("lo", 1, file=out)
    current.reset(token)
    print("outside", file=out)

    first, second = lines(log.path)
    assert first == {
        "ts": 42, "level": "info", "app": "demo", "endpoint": "echo", "version": "demo/echo@1", "replica": "rep",
        "request_id": "r1", "stream": "stdout", "text": "hello 1",
    }  # fmt: skip
    assert (second["request_id"], second["text"]) == ("", "outside")


def test_progress_bars_and_unfinished_lines_are_lines_too(tmp_path: Path) -> None:
    log = log_at(tmp_path / "l")
    captured = Captured(log)
    captured.err.write("10 %\r20 %\r\n\nrest")
    captured.flush_parts()
    captured.flush_parts()

    assert [(line["stream"], line["text"]) for line in lines(log.path)] == [
        ("stderr", "10 %"),
        ("stderr", "20 %"),
        ("stderr", "rest"),
    ]


def test_a_line_without_end_is_cut_into_pieces(tmp_path: Path) -> None:
    log = log_at(tmp_path / "l")
    Captured(log).out.write("x" * (TEXT_MAX + 1))

    (line,) = lines(log.path)
    assert line["text"] == f"{'x' * TEXT_MAX} … ({TEXT_MAX + 1} characters)"


def test_log_records_keep_their_level_and_their_traceback(tmp_path: Path) -> None:
    log = log_at(tmp_path / "l")
    logger = logging.Logger("users.own")
    logger.addHandler(Handler(log))
    logger.warning("%d left", 3)
    logger.info("%d", "not a number")
    try:
        raise ValueError("x")
    except ValueError:
        logger.exception("oh")

    first, second, third = lines(log.path)
    assert (first["level"], first["text"], first["stream"]) == (
        "warning",
        "users.own: 3 left",
        "log",
    )
    assert "TypeError" in second["text"]
    assert third["text"].endswith("ValueError: x")


def test_the_end_of_a_call_is_one_line_that_may_wait_for_the_next_flush(tmp_path: Path) -> None:
    log = log_at(tmp_path / "l")
    waiting: list[Any] = []
    log.later = waiting.append
    log.call("r1", "ok", 200, 3 * MILLISECOND)
    log.call("r2", "run_timeout", 504, 4 * MILLISECOND)
    assert lines(log.path) == []
    assert len(waiting) == 1
    waiting[0]()

    first, second = lines(log.path)
    assert (first["request_id"], first["code"], first["status"], first["ms"], first["level"]) == (
        "r1",
        "ok",
        200,
        3.0,
        "info",
    )
    assert (second["code"], second["level"]) == ("run_timeout", "error")


def test_the_end_of_a_call_is_json_whatever_its_names_hold(tmp_path: Path) -> None:
    log = log_at(tmp_path / "l")
    log.name('demo/100%"@2')
    log.call('r"%d\u00e9', "ok", 200, 1_234_567_890)
    log.name("demo/echo@3")
    log.call("r2", "ok", 200, 5_000)

    first, second = lines(log.path)
    assert (first["version"], first["request_id"], first["replica"]) == (
        'demo/100%"@2',
        'r"%d\u00e9',
        "rep",
    )
    assert (first["ms"], first["text"]) == (1234.567, "ok 200 in 1234.5 ms")
    assert (second["version"], second["ms"], second["text"]) == (
        "demo/echo@3",
        0.005,
        "ok 200 in 0.0 ms",
    )


def test_calls_that_take_turns_on_one_thread_keep_their_unfinished_lines_apart(
    tmp_path: Path,
) -> None:
    log = log_at(tmp_path / "l")
    captured = Captured(log)
    first, second = context_of("r1"), context_of("r2")
    for text in ("a ", "b "):
        for context in (first, second):
            context.run(captured.out.write, text)
    first.run(captured.flush_parts)
    first.run(captured.flush_parts)
    second.run(captured.out.write, "c\n")

    written = [(line["request_id"], line["text"]) for line in lines(log.path)]
    assert written == [("r1", "a b "), ("r2", "a b c")]


def context_of(request_id: str) -> Context:
    """Return the context of a call."""
    context = copy_context()
    context.run(
        current.set,
        CallContext(
            request_id=request_id,
            app="demo",
            endpoint="echo",
            version="v",
            tenant="",
            klass="standard",
            deadline_ns=0,
        ),
    )
    return context


def test_the_log_is_rotated_at_its_bound_and_keeps_one_old_file(tmp_path: Path) -> None:
    log = log_at(tmp_path / "l")
    text = "x" * (TEXT_MAX - 1000)
    for _ in range(2 * LOG_MAX // len(text) + 10):
        log.write("stdout", text)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["l", "l.1"]
    assert all(path.stat().st_size <= LOG_MAX for path in tmp_path.iterdir())


def test_a_full_disk_drops_lines_and_later_says_how_many(tmp_path: Path) -> None:
    full = log_at(Path("/dev/full"))
    full.write("stdout", "lost")
    full.write("stdout", "lost too")
    assert full.dropped == 2

    recovered = log_at(tmp_path / "l")
    recovered.dropped = full.dropped
    recovered.write("stdout", "back")
    assert [line["text"] for line in lines(recovered.path)] == [
        "back",
        "2 lines were dropped: the disk took none",
    ]


def test_a_folder_that_cannot_be_made_fails_no_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = log_at(tmp_path / "file" / "l")
    log.write("stdout", "nowhere")
    log.trim_raw()

    assert log.dropped == 1


def test_the_raw_file_starts_over_when_it_is_full(tmp_path: Path) -> None:
    log = log_at(tmp_path / "l")
    raw = captures.raw_path(log.path)
    with raw.open("wb") as file:
        file.truncate(LOG_MAX)
    log.trim_raw()
    assert raw.stat().st_size == LOG_MAX
    with raw.open("ab") as file:
        file.write(b"x")
    log.trim_raw()

    assert raw.stat().st_size == 0
