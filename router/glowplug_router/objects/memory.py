"""What does an ObjectStore do, with nothing but a dictionary? For tests and the simulator."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Sequence

from glowplug.clock import Clock, SystemClock
from glowplug.errors import call_error
from glowplug_router.signatures import SCOPE, SignedObject, Signer


class MemoryObjects:
    """The ObjectStore port in this process's memory."""

    def __init__(
        self, clock: Clock | None = None, *, signer: Signer | None = None, scope: str = ""
    ) -> None:
        self._clock = clock or SystemClock()
        self._signer = signer or Signer(secrets.token_hex())
        self._scope = scope
        self._scopes: dict[str, MemoryObjects] = {}
        self._objects: dict[str, bytes] = {}
        self._asked_ns: dict[str, int] = {}

    async def missing(self, digests: Sequence[str]) -> tuple[str, ...]:
        found = [digest for digest in digests if _checked(digest) in self._objects]
        self._asked_ns.update(dict.fromkeys(found, self._clock.wall_ns()))
        return tuple(digest for digest in digests if digest not in self._objects)

    async def kept(self) -> dict[str, int]:
        return dict(self._asked_ns)

    async def sizes(self, digests: Sequence[str]) -> dict[str, int]:
        return {name: len(self._objects[name]) for name in digests if name in self._objects}

    async def put(self, digest: str, pieces: AsyncIterator[bytes], limit_bytes: int) -> int:
        _checked(digest)
        held = bytearray()
        async for piece in pieces:
            held += piece
            if len(held) > limit_bytes:
                raise call_error(
                    "too_large", f"{digest} is over {limit_bytes} bytes", executed="no"
                )
        actual = f"sha256:{hashlib.sha256(held).hexdigest()}"
        if actual != digest:
            message = f"the {len(held)} bytes sent as {digest} have the digest {actual}"
            raise call_error("digest_mismatch", message, executed="no")
        self._objects[digest] = bytes(held)
        self._asked_ns[digest] = self._clock.wall_ns()
        return len(held)

    async def get(self, digest: str) -> AsyncIterator[bytes]:
        if digest not in self._objects:
            raise call_error("not_found", f"there is no object {digest} here", executed="no")
        yield self._objects[digest]

    async def delete(self, digest: str) -> None:
        self._objects.pop(_checked(digest), None)
        self._asked_ns.pop(digest, None)

    def scope(self, name: str) -> "MemoryObjects":
        if not SCOPE.fullmatch(name):
            raise call_error("bad_request", f"{name[:80]!r} is no scope", executed="no")
        made = MemoryObjects(self._clock, signer=self._signer, scope=name)
        return self._scopes.setdefault(name, made)

    async def scopes(self) -> tuple[str, ...]:
        return tuple(sorted([name for name, one in self._scopes.items() if await one.kept()]))

    def signed_put(self, digest: str, size_bytes: int, expires_wall_ns: int) -> str:
        one = SignedObject(self._scope, _checked(digest), size_bytes)
        return self._signer.url("PUT", one, expires_wall_ns)

    def signed_get(self, digest: str, size_bytes: int, expires_wall_ns: int) -> str:
        one = SignedObject(self._scope, _checked(digest), size_bytes)
        return self._signer.url("GET", one, expires_wall_ns)


def _checked(digest: str) -> str:
    scheme, _, digits = digest.partition(":")
    if scheme != "sha256" or len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        message = f"{digest[:80]!r} is no digest: write sha256: and 64 hex digits"
        raise call_error("bad_request", message, executed="no")
    return digest
