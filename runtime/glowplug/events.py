"""How does a stream of typed events look on the wire, and how is it read back? SSE (WHATWG) and NDJSON."""

from collections.abc import Iterator
from dataclasses import dataclass

from glowplug.errors import CallError

# Bytes of one event: a whole answer after a cold start may be one, in base64. A server that never ends one must not
# fill our memory.
EVENT_MAX = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream."""

    kind: str
    data: bytes


def sse_event(kind: str, data: bytes) -> bytes:
    """Return one event; `data` may have several lines."""
    if b"\n" not in data and b"\r" not in data:  # JSON as we write it
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return (
        b"event: "
        + kind.encode()
        + b"\n"
        + b"".join(b"data: " + line + b"\n" for line in lines)
        + b"\n"
    )


def ndjson_event(kind: str, data: bytes) -> bytes:
    """Return one line: {"event": kind, "data": …}; `data` is JSON text, which has no raw line breaks as we write it."""
    return b'{"event":"' + kind.encode() + b'","data":' + data + b"}\n"


class SseReader:
    """Turns chunks of bytes, cut anywhere, into events."""

    def __init__(self) -> None:
        self._head = b""  # the first bytes, until a byte order mark is told from none
        self._is_start = True
        self._held = b""  # a carriage return at the very end may be half of a CR LF: it waits for the next chunk
        self._line: list[
            bytes
        ] = []  # pieces of the line that has not ended: joined once, when it has
        self._line_size = 0
        self._kind = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that `chunk` completes; take them all before the next call."""
        text = self._held + self._without_mark(chunk)
        self._held = b"\r" if text.endswith(b"\r") else b""
        text = text[: len(text) - len(self._held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *others = text.split(b"\n")
        self._line.append(first)
        self._line_size += len(first)
        if self._line_size + self._size > EVENT_MAX:
            raise CallError(
                f"an event of the stream is longer than {EVENT_MAX} bytes", code="bad_response"
            )
        if others:
            lines = [b"".join(self._line), *others[:-1]]
            self._line, self._line_size = [others[-1]], len(others[-1])
            for line in lines:
                event = self._take(line)
                if event is not None:
                    yield event

    def _without_mark(self, chunk: bytes) -> bytes:
        if not self._is_start:
            return chunk
        self._head += chunk
        if len(self._head) < 3:
            return b""
        self._is_start = False
        return self._head.removeprefix(b"\xef\xbb\xbf")

    def _take(self, line: bytes) -> Event | None:
        if not line:
            event = Event(self._kind or "message", b"\n".join(self._data)) if self._data else None
            self._kind, self._data, self._size = "", [], 0
            return event
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._kind = value.decode("utf-8", "replace")
        elif name == b"data":
            self._data.append(value)
            self._size += len(value)
        return None
