"""What does the head of a request say, and is it the last one again?"""

import re
from typing import TYPE_CHECKING, Any

from glowplug_router.gateway.doors import Door
from glowplug_router.gateway.problems import Trouble, bad_request
from glowplug_router.gateway.wishes import ENCODING, EXPECT, KNOWN, LENGTH, ONCE, REQUEST_ID

if TYPE_CHECKING:
    from glowplug_router.gateway.front import Front

Fields = list[tuple[bytes, bytes]]
# Requests that are alike differ in these two: they are kept apart. Spellings in use; others go the longer way.
LENGTHS = frozenset({b"Content-Length", b"content-length"})
REQUEST_IDS = frozenset({b"X-Request-Id", b"X-Request-ID", b"x-request-id"})
LENGTH_DIGITS = 19  # of a length that is looked at without the whole head
REQUEST_ID_MAX = 256
SEEN_MAX = 4 * 1024  # bytes of a head that is remembered, one for each connection
REPEAT_DIGITS = 5  # of the length of a body that comes in one read with its head
_LENGTH = re.compile(rb"\r\ncontent-length: *([1-9][0-9]{0,4})\r\n", re.IGNORECASE)


class Head:
    """All fields of a request, read."""

    __slots__ = ("fields", "flaw", "headers", "known", "length", "size", "url")

    def __init__(
        self, url: bytes, fields: Fields, length: bytes | None, request_id: bytes | None
    ) -> None:
        self.url = url
        self.fields = fields  # as they came, less those that were kept apart
        self.headers = [(name.lower(), value) for name, value in fields]
        if length is not None:
            self.headers.append((LENGTH, length))
        if request_id is not None:
            self.headers.append((REQUEST_ID, request_id))
        self.flaw: Trouble | None = None
        self.known: dict[bytes, bytes] = {}
        self.size = len(url)
        for name, value in self.headers:
            self.size += len(name) + len(value) + 4
            if name in KNOWN:
                self._note(name, value)
        known = self.known
        self.length = int(known[LENGTH]) if LENGTH in known else None if ENCODING in known else 0

    def _note(self, name: bytes, value: bytes) -> None:
        known = self.known
        if name not in known:
            known[name] = value
        elif name in ONCE:
            self.flaw = bad_request(f"there are two {name.decode()} headers")
        else:
            known[name] += b", " + value

    @property
    def expects_continue(self) -> bool:
        """Say whether the client waits for our word before it sends the body."""
        return self.known.get(EXPECT, b"").lower() == b"100-continue"


class Seen:
    """The last head of a connection that was let in. Clients say nearly the same each time: it is checked once.

    It holds for heads that differ in nothing but Content-Length and X-Request-Id, until the routes or the keys change
    or the key expires.
    """

    __slots__ = (
        "_after", "_before", "_expires_wall_ns", "_fields", "_names_connection", "_table", "_url", "door", "is_kept",
    )  # fmt: skip  # a line each would hide the class

    def __init__(self, front: "Front", head: Head, door: Door) -> None:
        self.door = door
        self.is_kept = False  # its bytes are known
        self._before = self._after = b""  # those around the digits of its Content-Length
        self._table = front.table  # a snapshot brings another one, and its keys with it
        self._url = head.url
        self._fields = head.fields
        self._expires_wall_ns = door.grant.expires_wall_ns
        self._names_connection = any(name == b"connection" for name, _ in head.headers)

    def fits(self, front: "Front", parser: Any, url: bytes, fields: Fields) -> bool:
        """Say whether what was found for that head holds for the one that `parser` has just read."""
        return (
            fields == self._fields
            and url == self._url
            and front.table is self._table
            and parser.get_method() == b"POST"
            and parser.should_keep_alive()
            # Of heads without a Connection field, those of HTTP/1.1 alone keep the connection.
            and not (self._names_connection and parser.get_http_version() != "1.1")
            and not (self._expires_wall_ns and front.clock.wall_ns() >= self._expires_wall_ns)
        )

    def keep(self, data: bytes) -> None:
        """Keep the bytes of this head, if `data` is nothing but the request that it belongs to."""
        if self.is_kept:
            return
        end = data.find(b"\r\n\r\n") + 4
        head = data[:end]
        found = _LENGTH.findall(head)
        if len(found) == 1 and len(data) == end + int(found[0]) and not _names_request(head):
            digits = _LENGTH.search(head)
            assert digits is not None, "just found"
            self._before, self._after = head[: digits.start(1)], head[digits.end(1) :]
            self.is_kept = True

    def repeated(self, front: "Front", data: bytes) -> bytes | None:
        """Return the body, if `data` is a whole request whose head has the same bytes, but for the length's digits.

        The parser read these very bytes before, on this connection: it would find the same.
        """
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        at = len(before)
        end = data.find(b"\r", at, at + REPEAT_DIGITS + 1)
        digits = data[at:end]
        if end < 0 or not digits.isdigit() or digits[0] == _ZERO or not data.startswith(after, end):
            return None
        body = data[end + len(after) :]
        if len(body) != int(digits) or front.table is not self._table:
            return None
        if self._expires_wall_ns and front.clock.wall_ns() >= self._expires_wall_ns:
            return None
        return body


_ZERO = ord("0")


def _names_request(head: bytes) -> bool:
    return b"x-request-id" in head.lower()


def is_worth_keeping(front: "Front", head: Head, *, lives_on: bool) -> bool:
    """Say whether the next head of the connection may be compared with this one; `lives_on` only as HTTP/1.1."""
    settings = front.settings
    return (
        lives_on
        and LENGTH in head.known
        and ENCODING not in head.known
        and EXPECT not in head.known
        # The limits hold for the next one too, whatever it says in the two fields that are kept apart.
        and head.size + REQUEST_ID_MAX < min(SEEN_MAX, settings.head_max_bytes)
        and len(head.headers) < settings.fields_max
    )
