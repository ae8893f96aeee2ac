"""Which parts does a multipart/form-data body have? A strict, bounded reader and the matching writer (RFC 7578).

The body is in memory already, and its size was limited before it got here. Everything else has a bound of its own, and
what is unusual (a preamble, a nested multipart, a transfer encoding, a part without a name) is refused, not guessed at.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from glowplug.errors import InvalidRequestError

PARTS_MAX = 256
PART_HEADERS_MAX = 8 * 1024  # bytes; a long file name needs a few hundred
BOUNDARY_MAX = 70  # RFC 2046

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"\\]+)"|([^\s;"]+))', re.IGNORECASE)
_BOUNDARY_CHARACTERS = re.compile(r"[0-9A-Za-z'()+_,./:=? -]*[0-9A-Za-z'()+_,./:=?-]", re.ASCII)
_PARAMETER = re.compile(r';\s*([A-Za-z0-9*_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))\s*')
_PADDING = b" \t"


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; `filename` is None where it is not a file."""

    name: str
    data: bytes
    filename: str | None = None
    content_type: str = ""


def parse_multipart(content_type: str, body: bytes) -> tuple[Part, ...]:
    """Return the parts in order, or raise `bad_request`."""
    delimiter = b"--" + _boundary(content_type)
    if not body.startswith(delimiter):
        raise _bad("the body does not start with its boundary")
    parts: list[Part] = []
    at = len(delimiter)
    while True:
        at, is_last = _end_of_delimiter(body, at)
        if is_last:
            return tuple(parts)
        if len(parts) == PARTS_MAX:
            raise _bad(f"more than {PARTS_MAX} parts")
        headers, start = _headers(body, at)
        end = body.find(b"\r\n" + delimiter, start)
        if end < 0:
            raise _bad("the last boundary is missing")
        parts.append(_part(headers, body[start:end]))
        at = end + 2 + len(delimiter)


def encode_multipart(parts: Sequence[Part]) -> tuple[str, bytes]:
    """Return the content type and body of a form; the boundary is one that occurs in no part."""
    boundary = _unused_boundary(parts)
    chunks: list[bytes] = []
    for part in parts:
        disposition = f'form-data; name="{_escaped(part.name)}"'
        if part.filename is not None:
            disposition += f'; filename="{_escaped(part.filename)}"'
        chunks.append(f"--{boundary}\r\nContent-Disposition: {disposition}\r\n".encode())
        if part.content_type:
            chunks.append(f"Content-Type: {part.content_type}\r\n".encode("ascii"))
        chunks += [b"\r\n", part.data, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(chunks)


def _boundary(content_type: str) -> bytes:
    found = _BOUNDARY.search(content_type)
    text = (found[1] or found[2]) if found else ""
    if not text or len(text) > BOUNDARY_MAX or not _BOUNDARY_CHARACTERS.fullmatch(text):
        raise _bad("the content type has no usable boundary")
    return text.encode("ascii")


def _end_of_delimiter(body: bytes, at: int) -> tuple[int, bool]:
    """Return where the line of a delimiter ends, and whether it was the last one."""
    if body.startswith(b"--", at):
        if body[at + 2 :].strip(b" \t\r\n"):
            raise _bad("there is something after the last boundary")
        return len(body), True
    line_end = body.find(b"\r\n", at, at + BOUNDARY_MAX)
    if line_end < 0 or body[at:line_end].strip(_PADDING):
        raise _bad("a boundary is not alone on its line")
    return line_end + 2, False


def _headers(body: bytes, at: int) -> tuple[dict[str, str], int]:
    end = body.find(b"\r\n\r\n", at, at + PART_HEADERS_MAX)
    if end < 0:
        raise _bad(f"the headers of a part do not end within {PART_HEADERS_MAX} bytes")
    headers: dict[str, str] = {}
    for line in body[at:end].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        key = name.decode("latin-1").lower()
        if (
            not colon
            or not name
            or name != name.strip()
            or key in headers
            or b"\0" in line
            or b"\n" in line
            or b"\r" in line
        ):
            raise _bad("a part has a malformed header")
        try:
            headers[key] = value.strip(_PADDING).decode()
        except UnicodeDecodeError:
            raise _bad("a part's header is not UTF-8") from None
    return headers, end + 4


def _part(headers: dict[str, str], data: bytes) -> Part:
    kind, parameters = _disposition(headers.get("content-disposition", ""))
    if kind != "form-data" or "name" not in parameters:
        raise _bad("a part has no `Content-Disposition: form-data; name=…`")
    if headers.get("content-transfer-encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
        raise _bad("a part has a transfer encoding")
    content_type = headers.get("content-type", "")
    if content_type.lower().startswith("multipart/"):
        raise _bad("a part is a multipart itself")
    return Part(parameters["name"], data, parameters.get("filename"), content_type)


def _disposition(value: str) -> tuple[str, dict[str, str]]:
    kind, _, _ = value.partition(";")
    rest = value[len(kind) :]
    parameters: dict[str, str] = {}
    at = 0
    while at < len(rest):
        found = _PARAMETER.match(rest, at)
        if found is None:
            raise _bad("a part has a malformed Content-Disposition")
        name = found[1].lower()
        if name in parameters:
            raise _bad(f"a part has two {name!r}")
        parameters[name] = _unescaped(found[2]) if found[2] is not None else found[3]
        at = found.end()
    return kind.strip().lower(), parameters


def _escaped(text: str) -> str:
    """Write a name as browsers do (WHATWG): the three characters that would end it, percent-encoded."""
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22").replace("\0", "")


def _unescaped(text: str) -> str:
    r"""Read what browsers (%22) and curl (backslash) write; a backslash before anything else is itself (C:\file)."""
    plain = re.sub(r'\\(["\\])', r"\1", text)
    return plain.replace("%0D", "\r").replace("%0A", "\n").replace("%22", '"')


def _unused_boundary(parts: Sequence[Part]) -> str:
    # Counting up rather than chance: the same form is the same bytes, and a test can force the collision.
    number = 0
    while any(f"glowplug-{number}-boundary".encode() in part.data for part in parts):
        number += 1
    return f"glowplug-{number}-boundary"


def _bad(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"multipart: {reason}", code="bad_request", executed="no")
