"""How does a stream of typed events look on the wire, and how is it read back? SSE (WHATWG) and NDJSON."""

from collections.abc import Iterator
from dataclasses import dataclass

from glowplug.errors import CallError

EVENT_MAX = (
    64 * 1024 * 1024
)  # bytes of one event; a server that never ends one must not fill our memory


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
        self._rest = b""
        self._kind = ""
        self._data: list[bytes] = []
        self._size = 0
        self._is_start = True

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that `chunk` completes; take them all before the next call."""
        self._rest += chunk
        if self._is_start and len(self._rest) >= 3:
            self._rest = self._rest.removeprefix(b"\xef\xbb\xbf")
            self._is_start = False
        # A carriage return at the very end may be half of a CR LF: it waits for the next chunk.
        held = b"\r" if self._rest.endswith(b"\r") else b""
        text = (
            self._rest[: len(self._rest) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        )
        *lines, self._rest = text.split(b"\n")
        self._rest += held
        if len(self._rest) + self._size > EVENT_MAX:
            raise CallError(
                f"an event of the stream is longer than {EVENT_MAX} bytes", code="bad_response"
            )
        for line in lines:
            event = self._take(line)
            if event is not None:
                yield event

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
