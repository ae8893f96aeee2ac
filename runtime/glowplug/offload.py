"""How does a client send a body that is too large for a call, and fetch an answer that is? By requests of their own.

What to ask, and what the answers mean, is here once; who sends it, blocking or not, is the transport's matter.
"""

import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from glowplug.errors import CallError
from glowplug.payloads import (
    ANSWER_TYPE,
    OFFLOAD_MIN_BYTES,
    PIECE_BYTES,
    AwayAnswer,
    digest_of,
)
from glowplug.remote_errors import error_from_answer

ANNOUNCE_PATH = "/-/api/payloads"
# A router that has no such call, or a caller that may not: the body then goes with the call, or is refused with it.
_CANNOT = frozenset({401, 403, 404, 405})

Progress = Callable[[str, int, int], None]  # digest, bytes sent, bytes in all


@dataclass(frozen=True, slots=True)
class Step:
    """One request to make."""

    method: str
    url: str
    headers: dict[str, str]
    size_bytes: int
    pieces: Callable[[], Iterator[bytes]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


Steps = Generator[Step, Reply, str]


def is_large(body: bytes) -> bool:
    """Say whether a body goes by way of the object store."""
    return len(body) > OFFLOAD_MIN_BYTES


def upload(url: str, key: str, body: bytes, progress: Progress | None) -> Steps:
    """Yield the requests that bring a body to the router; return its reference, "" where that cannot be done.

    Raises:
        CallError: The router refused it. Nothing was executed.
    """
    digest = digest_of(body)
    text = json.dumps({"digest": digest, "size_bytes": len(body)}).encode()
    headers = {"content-type": "application/json"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    said = yield Step("POST", url + ANNOUNCE_PATH, headers, len(text), lambda: iter((text,)))
    if said.status in _CANNOT:
        return ""
    found = _checked(said)
    if found.get("upload"):
        sent = yield Step(
            "PUT",
            absolute(url, str(found["upload"])),
            {"content-type": "application/octet-stream"},
            len(body),
            lambda: _pieces(body, digest, progress),
        )
        _checked(sent)
    return str(found["reference"])


def absolute(url: str, target: str) -> str:
    """Return where a signed URL leads: a path is at the router; elsewhere only HTTP is followed."""
    whole = url + target if target.startswith("/") else target
    if urlsplit(whole).scheme not in ("http", "https"):
        raise CallError(
            f"the router gave a URL that cannot be followed: {whole[:200]!r}",
            code="bad_response",
            executed="no",
        )
    return whole


def is_away(headers: dict[str, str]) -> bool:
    """Say whether an answer is only the place where the answer lies."""
    return headers.get("content-type", "").partition(";")[0].strip() == ANSWER_TYPE


def arrived(headers: dict[str, str], away: AwayAnswer) -> dict[str, str]:
    """Return the headers of the answer itself."""
    return headers | {"content-type": away.content_type, "content-length": str(away.size_bytes)}


def _pieces(body: bytes, digest: str, progress: Progress | None) -> Iterator[bytes]:
    for at in range(0, len(body), PIECE_BYTES):
        yield body[at : at + PIECE_BYTES]
        if progress is not None:
            progress(digest, min(at + PIECE_BYTES, len(body)), len(body))


def _checked(reply: Reply) -> dict[str, Any]:
    if reply.status >= 400:
        raise error_from_answer(reply.status, reply.headers, reply.body)
    try:
        found = json.loads(reply.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CallError("the router's answer is not JSON", code="bad_response", executed="no")
    return found
