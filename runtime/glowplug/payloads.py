"""What do both ends of a call agree on when a body is too large to go with it? Names, limits and forms.

A large body is announced (`POST /-/api/payloads`), sent to the signed URL that comes back, and named in the call by its
reference. A large answer comes as a small document that says from where to fetch it, to callers that accept that.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from glowplug.errors import CallError, Executed, call_error

OFFLOAD_MIN_BYTES = 8 * 1024 * 1024  # below this the detour costs more than it saves
HEADER = "glowplug-payload"
ANSWER_TYPE = "application/vnd.glowplug.payload+json"
LINK_PATH = (
    "/-/payload"  # of the stream by which a replica fetches a body, and sends an answer away
)
PIECE_BYTES = 256 * 1024  # in which both are cut
WINDOW_BYTES = 1024 * 1024  # on their way at most


class AwayAnswer(msgspec.Struct, frozen=True):
    """An answer that lies in the object store."""

    url: str  # a path is meant at the router's own address
    digest: str
    size_bytes: int
    content_type: str


_away = msgspec.json.Decoder(AwayAnswer).decode


def read_away(body: bytes) -> AwayAnswer:
    """Return where an answer lies; raise `bad_response` for what is no such document."""
    try:
        return _away(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CallError(
            f"the answer's place cannot be read: {error}", code="bad_response", executed="yes"
        ) from None


@dataclass(frozen=True, slots=True)
class Named:
    """A payload as the gateway names it to a replica: "sha256:<hex> <bytes>"."""

    digest: str
    size_bytes: int

    @staticmethod
    def read(text: str) -> "Named":
        """Return what a gateway's text names."""
        digest, _, size = text.partition(" ")
        return Named(digest, int(size) if size.isascii() and size.isdigit() else -1)


class Checked:
    """Counts and digests pieces as they come, and says at once when they are too many."""

    def __init__(self, digest: str, size_bytes: int, what: str, executed: Executed = "no") -> None:
        self._sha = hashlib.sha256()
        self._digest = digest
        self._size = size_bytes
        self._what = what
        self._executed: Executed = executed
        self.taken = 0

    def take(self, piece: Any) -> None:
        """Take a piece; raise `digest_mismatch` when there are more bytes than were announced."""
        self.taken += len(piece)
        if self.taken > self._size:
            raise self._wrong(f"more than the {self._size} bytes announced")
        self._sha.update(piece)

    def end(self) -> None:
        """Raise `digest_mismatch` unless these were the bytes that were meant."""
        if self.taken != self._size:
            raise self._wrong(f"{self.taken} bytes, and {self._size} were announced")
        if f"sha256:{self._sha.hexdigest()}" != self._digest:
            raise self._wrong("another digest than was announced")

    def _wrong(self, why: str) -> CallError:
        return call_error("digest_mismatch", f"{self._what} has {why}", executed=self._executed)


def digest_of(data: Any) -> str:
    """Return the name of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
