"""How does an answer look as bytes? Status lines and headers, built once and kept where they repeat."""

import re
from functools import lru_cache
from http import HTTPStatus

from glowplug.clock import MILLISECOND
from glowplug_router.gateway.problems import CONTENT_TYPE, Trouble, document

SPANS_US = 4096  # durations below are written from a table: most phases of a short call
HEADS_MAX = 1024  # remembered heads: status × headers × version × attempts
_STATUS = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_STATUS[499] = b"HTTP/1.1 499 Client Closed Request\r\n"
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
# Ours to say, and those that speak of the connection: a replica has no part in either.
_OURS = frozenset({
    "connection", "content-length", "date", "glowplug-attempts", "glowplug-executed", "glowplug-version", "keep-alive",
    "server-timing", "trailer", "transfer-encoding", "upgrade", "x-request-id",
})  # fmt: skip  # a line each would hide the code

CLOSE = b"connection: close\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
COLD = b"glowplug-cold: 1\r\n"
CHALLENGE = b'www-authenticate: Bearer realm="glowplug"\r\n'


class Heads:
    """Status line and the headers that are the same for many answers."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], bytes] = {}

    def of(
        self,
        status: int,
        headers: tuple[tuple[str, str], ...],
        executed: str,
        version: int,
        attempts: int,
    ) -> bytes:
        """Return the head up to, and without, what differs in every answer."""
        key = (status, headers, executed, version, attempts)
        head = self._known.get(key)
        if head is None:
            if len(self._known) >= HEADS_MAX:
                self._known.clear()
            head = self._known[key] = _head(status, headers, executed, version, attempts)
        return head


def _head(
    status: int, headers: tuple[tuple[str, str], ...], executed: str, version: int, attempts: int
) -> bytes:
    lines = [status_line(status)]
    for name, value in headers:
        # A replica runs user code: what it says must not be able to end a header line, or ours.
        if name not in _OURS and _NAME.fullmatch(name) and _VALUE.fullmatch(value):
            lines.append(f"{name}: {value}\r\n".encode("latin-1", "replace"))
    lines.append(
        f"glowplug-executed: {executed if executed in ('no', 'yes', 'maybe') else 'maybe'}\r\n".encode()
    )
    if version:
        lines.append(b"glowplug-version: v%d\r\n" % version)
    lines.append(b"glowplug-attempts: %d\r\n" % attempts)
    return b"".join(lines)


def status_line(status: int) -> bytes:
    """Return the first line of an answer."""
    line = _STATUS.get(status)
    return line if line is not None else f"HTTP/1.1 {status} \r\n".encode()


def server_timing(queue_ns: int, timings: tuple[tuple[str, int], ...]) -> bytes:
    """Return the Server-Timing line: time in the queue, then the replica's phases, in milliseconds."""
    us = queue_ns // 1000
    line = _QUEUE + (_SPANS[us] if 0 <= us < SPANS_US else _long(queue_ns))
    for name, ns in timings:
        us = ns // 1000
        phase = _phase(name)
        if phase:
            line += phase + (_SPANS[us] if 0 <= us < SPANS_US else _long(ns))
    return line + b"\r\n"


def _long(ns: int) -> bytes:
    return b"%.3f" % (ns / MILLISECOND)


_QUEUE = b"server-timing: queue;dur="
_SPANS = tuple(b"%d.%03d" % divmod(us, 1000) for us in range(SPANS_US))


@lru_cache(maxsize=64)
def _phase(name: str) -> bytes:
    """Return how a phase begins in the header, nothing for a name that may not stand there."""
    return b", %b;dur=" % name.encode() if _NAME.fullmatch(name) and name != "queue" else b""


def trouble_answer(
    trouble: Trouble,
    request_id: str,
    *,
    date: bytes,
    version: int = 0,
    attempts: int = 0,
    close: bool,
    timing: bytes = b"",
) -> bytes:
    """Return a whole problem answer."""
    body = document(trouble, request_id)
    lines = [
        status_line(trouble.status),
        f"content-type: {CONTENT_TYPE}\r\nx-request-id: {request_id}\r\n".encode(),
        f"glowplug-executed: {trouble.executed}\r\nglowplug-attempts: {attempts}\r\n".encode(),
        b"glowplug-version: v%d\r\n" % version if version else b"",
        b"retry-after: %d\r\n" % trouble.retry_after_s
        if trouble.retry_after_s is not None
        else b"",
        timing,
        trouble.headers,
        date,
        CLOSE if close else b"",
        b"content-length: %d\r\n\r\n" % len(body),
        body,
    ]
    return b"".join(lines)


def chunk(piece: bytes) -> bytes:
    """Return one piece in chunked coding."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)
