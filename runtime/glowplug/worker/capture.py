"""Where does what user code prints and logs go, and for which call was it?

Into one file per replica: JSON lines {ts, level, app, endpoint, version, replica, request_id, stream, text} with `ts`
in nanoseconds since the epoch and `stream` one of stdout, stderr, log, call, lifecycle. Python's own streams are
replaced by line-buffering writers that know the call from its context variable. What C libraries write to descriptors
1 and 2 goes to `<path>.out` as it is. A disk that is full costs lines, which are counted, never a call.
"""

import io
import logging
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from glowplug.clock import Clock
from glowplug.context import current
from glowplug.node.folders import LOG_MAX
from glowplug.node.node_log import Line
from glowplug.worker.failures import sayable

TEXT_MAX = 64 * 1024  # of one line; the rest is cut, and said so
PARTS_MAX = 4096  # unfinished lines; what user code leaves behind in threads of its own ends here
ENDED_MAX = 256  # calls without a line: some 64 KiB of lines

Later = Callable[[Callable[[], None]], None]


class LogFile:
    """Appends lines, from any thread, and keeps the file within its bound."""

    def __init__(
        self, path: Path, clock: Clock, *, replica: str, app: str, endpoint: str, version: str
    ) -> None:
        self.path = path
        self.dropped = 0
        self.later: Later | None = (
            None  # how to flush soon; without it every line is written at once
        )
        self._clock = clock
        self._names = (app, endpoint)
        self._replica = replica
        self._lock = threading.Lock()
        self._pending: list[bytes] = []
        self._pending_lines = 0
        self._ended: deque[tuple[int, str, str, int, int]] = deque()  # calls without a line yet
        self._wall_ns = clock.wall_ns
        self._encode = msgspec.json.Encoder().encode
        self._fd = -1
        self._size = 0
        self.version = version
        self._endings: dict[str, bytes] = {}  # by code, as `_ending` makes them
        self._open()

    def name(self, version: str) -> None:
        """Say which version writes from now on."""
        self.flush()
        self.version = version
        self._endings = {}

    def write(self, stream: str, text: str, level: str = "info") -> None:
        """Write one line now: if the process dies next, it is there."""
        if len(text) > TEXT_MAX:
            text = f"{text[:TEXT_MAX]} … ({len(text)} characters)"
        text = sayable(text)
        call = current.get()
        request_id = "" if call is None else call.request_id
        lines = getattr(call, "lines", None)  # of a caller that reads them in its stream
        if lines is not None:
            lines.append((stream, level, text))
        line = Line(
            self._clock.wall_ns(),
            level,
            *self._names,
            self.version,
            self._replica,
            request_id,
            stream,
            text,
        )
        encoded = self._encode(line) + b"\n"
        with self._lock:
            self._drain()
            self._pending.append(encoded)
            self._pending_lines += 1
            self._flush()

    def call(self, request_id: str, code: str, status: int, duration_ns: int) -> None:
        """Note the end of a call; written within the flush interval, or with the next line."""
        ended = self._ended
        ended.append((self._wall_ns(), request_id, code, status, duration_ns))
        # Whoever writes next empties it, from any thread; it is asked to soon whenever something is in it again.
        size = len(ended)
        if self.later is None or size > ENDED_MAX:
            self.flush()
        elif size == 1:
            self.later(self.flush)

    def _drain(self) -> None:
        """Make lines of the ended calls: many at once, so that it is done with few steps for each."""
        ended, endings = self._ended, self._endings
        forms: list[bytes] = []
        values: list[Any] = []
        while ended:
            ts, request_id, code, status, duration_ns = ended.popleft()
            forms.append(endings.get(code) or self._ending(code, status))
            us = duration_ns // 1000
            ms = us // 1000
            rest = us - ms * 1000
            values += (ts, self._encode(request_id), ms, rest // 100, ms, rest)
        if forms:
            self._pending.append(b"".join(forms) % tuple(values))
            self._pending_lines += len(forms)

    def _ending(self, code: str, status: int) -> bytes:
        """Return how the line that ends a call reads, with places for its time, request id and duration.

        It is a `Line` with the fields code, status and ms. One is written for every call, so the rest is made once.
        """
        level = "info" if status < 500 else "error"
        names = ("app", "endpoint", "version", "replica")
        values = (*self._names, self.version, self._replica)
        named = self._encode(dict(zip(names, values, strict=True)))[1:-1].replace(b"%", b"%%")
        ending = b"".join(
            (
                b'{"ts":%%d,"level":"%b",%b,' % (level.encode(), named),
                b'"request_id":%%b,"stream":"call","text":"%b %d in %%d.%%d ms",'
                % (code.encode(), status),
                b'"code":"%b","status":%d,"ms":%%d.%%03d}\n' % (code.encode(), status),
            )
        )
        self._endings[code] = ending
        return ending

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._drain()
            self._flush()

    def trim_raw(self) -> None:
        """Start over what C libraries wrote when it is full.

        Called with each PING: until the next one it may be larger, by whatever is written in between.
        """
        path = raw_path(self.path)
        try:
            if path.stat().st_size > LOG_MAX:
                os.truncate(path, 0)  # the descriptors append, so they go on at the front
        except OSError:
            pass  # no disk, no file: nothing to keep within bounds

    def _flush(self) -> None:
        if not self._pending:
            return
        data, lines = b"".join(self._pending), self._pending_lines
        self._pending, self._pending_lines = [], 0
        if self._size + len(data) > LOG_MAX:
            self._rotate()
        try:
            written = os.write(self._fd, data)
        except OSError:  # the disk is full or gone; the calls are not
            self.dropped += lines
            return
        self._size += written
        if self.dropped and written == len(data):
            self._own_up()

    def _own_up(self) -> None:
        text, self.dropped = f"{self.dropped} lines were dropped: the disk took none", 0
        names = (*self._names, self.version, self._replica)
        self._pending_lines += 1
        self._pending.append(
            self._encode(Line(self._clock.wall_ns(), "warning", *names, "", "log", text)) + b"\n"
        )
        self._flush()

    def _rotate(self) -> None:
        try:
            self.path.replace(f"{self.path}.1")
        except OSError:
            return
        if self._fd >= 0:
            os.close(self._fd)
        self._open()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(
                self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            self._size = os.fstat(self._fd).st_size
        except OSError:
            self._fd = -1  # every write fails and is counted


class Writer(io.TextIOBase):
    """A text stream that turns lines into log lines. Each call builds its own line, so two never mix theirs."""

    def __init__(self, log: LogFile, stream: str, descriptor: int) -> None:
        super().__init__()
        self._log = log
        self._stream = stream
        self._descriptor = descriptor
        self.parts: dict[object, str] = {}  # unfinished lines, by call, or by thread outside of one

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the stub calls it an attribute
        """Return the encoding of log files."""
        return "utf-8"

    def writable(self) -> bool:
        """Say yes."""
        return True

    def fileno(self) -> int:
        """Return the descriptor that C code writes to: subprocesses inherit it."""
        return self._descriptor

    def write(self, text: str) -> int:
        """Take text; every finished line is logged, progress bars' carriage returns count as line ends."""
        part = self.parts.pop(_writer(), "") + text
        *lines, rest = part.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if rest:
            self.parts[_writer()] = rest
        for line in lines:
            if line:
                self._log.write(self._stream, line)
        if len(rest) > TEXT_MAX or len(self.parts) > PARTS_MAX:
            self.flush_part()
        return len(text)

    def flush(self) -> None:
        """Do nothing: `print(..., flush=True)` of half a line must not tear it."""

    def flush_part(self) -> None:
        """Log an unfinished line: the call that printed it is over."""
        if rest := self.parts.pop(_writer(), ""):
            self._log.write(self._stream, rest)


def _writer() -> object:
    """Return who is writing: the call that this code runs for, else the thread."""
    return current.get() or threading.get_ident()


class Handler(logging.Handler):
    """Sends records of `logging` to the log file."""

    def __init__(self, log: LogFile) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a broken format string is the caller's, and never fails it."""
        try:
            text = f"{record.name}: {record.getMessage()}"
        except Exception as error:  # user code's __str__ may raise anything
            text = f"{record.name}: {record.msg!r} ({error!r})"
        if record.exc_info:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        self._log.write("log", text, record.levelname.lower())


class Captured:
    """The replaced streams of this process."""

    def __init__(self, log: LogFile) -> None:
        self.out = Writer(log, "stdout", 1)
        self.err = Writer(log, "stderr", 2)
        self._unfinished = (self.out.parts, self.err.parts)

    def flush_parts(self) -> None:
        """Log the unfinished lines of the call that this code runs for."""
        if (
            self._unfinished[0] or self._unfinished[1]
        ):  # almost never: this is asked after every call
            self.out.flush_part()
            self.err.flush_part()


def capture(log: LogFile) -> Captured:
    """Send this process's output to the log, from now on and for good."""
    import faulthandler

    _redirect(raw_path(log.path))
    captured = Captured(log)
    sys.stdout, sys.stderr = captured.out, captured.err
    faulthandler.enable(2)  # a crash in C code leaves its stack in the raw file
    root = logging.getLogger()
    root.handlers[:] = [Handler(log)]
    root.setLevel(logging.INFO)
    sys.excepthook = lambda kind, error, trace: log.write(
        "stderr", _formatted(kind, error, trace), "error"
    )
    return captured


def raw_path(path: Path) -> Path:
    """Return where descriptors 1 and 2 go."""
    return Path(f"{path}.out")


def _formatted(kind: type[BaseException], error: BaseException, trace: Any) -> str:
    return "".join(traceback.format_exception(kind, error, trace)).rstrip()


def _redirect(path: Path) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        target = os.open(path, flags, 0o600)
    except OSError:
        target = os.open(os.devnull, os.O_WRONLY)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
