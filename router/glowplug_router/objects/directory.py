"""How are objects kept in a folder so that a half-written one can never be read?

Bytes go to a temporary file in the folder they will live in, are hashed on the way, synced, and renamed to their digest
only when the digest is right. A reader therefore sees all of an object or nothing.
"""

import errno
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import anyio
from anyio import to_thread

from glowplug.errors import CallError, call_error
from glowplug_router.signatures import SCOPE, SignedObject, Signer

PIECE_BYTES = 1024 * 1024  # written and read at once: few hops to the thread, little memory
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_HEX = frozenset("0123456789abcdef")
_TEMPORARY = ".part-"
_SCOPED = f"scopes/*/sha256/*/{'[0-9a-f]' * 64}"

Opener = Callable[[Path], BinaryIO]


def create(path: Path) -> BinaryIO:
    """Open a new file for writing; the default opener."""
    return path.open("xb", buffering=0)


class DirectoryObjects:
    """The ObjectStore port on a folder: `sha256/ab/<hex>`, and the same again in `scopes/<name>`.

    Its signed URLs are the router's own: the control API serves them. Without a signer they are good for nothing.
    Removes what an interrupted upload left.
    """

    def __init__(
        self,
        root: Path,
        opener: Opener = create,
        *,
        signer: Signer | None = None,
        scope: str = "",
    ) -> None:
        self._root = root
        self._opener = opener
        self._signer = signer or Signer(secrets.token_hex())
        self._scope = scope
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if scope:  # made anew for each use, while uploads run
            return
        for folder in ("sha256/*", "scopes/*/sha256/*"):
            for left in root.glob(f"{folder}/{_TEMPORARY}*"):
                left.unlink(missing_ok=True)

    async def missing(self, digests: Sequence[str]) -> tuple[str, ...]:
        def look() -> tuple[str, ...]:
            return tuple(digest for digest in digests if not _touched(self._path(digest)))

        return await to_thread.run_sync(look)

    async def kept(self) -> dict[str, int]:
        def look() -> dict[str, int]:
            found = self._root.glob(f"sha256/*/{'[0-9a-f]' * 64}")
            return {f"sha256:{path.name}": path.stat().st_mtime_ns for path in found}

        return await to_thread.run_sync(look)

    async def sizes(self, digests: Sequence[str]) -> dict[str, int]:
        def look() -> dict[str, int]:
            found = {digest: _size_bytes(self._path(digest)) for digest in digests}
            return {digest: size for digest, size in found.items() if size is not None}

        return await to_thread.run_sync(look)

    async def put(self, digest: str, pieces: AsyncIterator[bytes], limit_bytes: int) -> int:
        path = self._path(digest)
        part = _part_of(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            size = await self._write(part, pieces, digest, limit_bytes)
            await to_thread.run_sync(_publish, part, path)
        except OSError as error:
            if error.errno in _NO_SPACE:
                message = f"no space left for {digest} in {self._root}"
                raise call_error("disk_full", message, executed="no") from error
            raise
        finally:
            part.unlink(missing_ok=True)
        return size

    async def get(self, digest: str) -> AsyncIterator[bytes]:
        try:
            file = await anyio.open_file(self._path(digest), "rb")
        except FileNotFoundError:
            raise _absent(digest) from None
        async with file:
            while piece := await file.read(PIECE_BYTES):
                yield piece

    async def delete(self, digest: str) -> None:
        path = self._path(digest)
        part = _part_of(path)
        try:
            path.replace(part)
        except FileNotFoundError:
            return
        await to_thread.run_sync(part.unlink)  # to free gigabytes takes the file system a while

    def scope(self, name: str) -> "DirectoryObjects":
        if not SCOPE.fullmatch(name):
            raise call_error("bad_request", f"{name[:80]!r} is no scope", executed="no")
        root = self._root / "scopes" / name
        return DirectoryObjects(root, self._opener, signer=self._signer, scope=name)

    async def scopes(self) -> tuple[str, ...]:
        def look() -> tuple[str, ...]:
            return tuple(sorted({path.parents[2].name for path in self._root.glob(_SCOPED)}))

        return await to_thread.run_sync(look)

    def signed_put(self, digest: str, size_bytes: int, expires_wall_ns: int) -> str:
        return self._signed("PUT", digest, size_bytes, expires_wall_ns)

    def signed_get(self, digest: str, size_bytes: int, expires_wall_ns: int) -> str:
        return self._signed("GET", digest, size_bytes, expires_wall_ns)

    def _signed(self, method: str, digest: str, size_bytes: int, expires_wall_ns: int) -> str:
        sha256_hex(digest)
        return self._signer.url(
            method, SignedObject(self._scope, digest, size_bytes), expires_wall_ns
        )

    async def _write(
        self, part: Path, pieces: AsyncIterator[bytes], digest: str, limit_bytes: int
    ) -> int:
        sha = hashlib.sha256()
        size = 0

        def write(data: bytearray) -> None:
            sha.update(data)
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]

        with self._opener(part) as file:
            async for data in _gathered(pieces):
                size += len(data)
                if size > limit_bytes:
                    raise call_error(
                        "too_large", f"{digest} is over {limit_bytes} bytes", executed="no"
                    )
                await to_thread.run_sync(write, data)
            if f"sha256:{sha.hexdigest()}" != digest:
                message = (
                    f"the {size} bytes sent as {digest} have the digest sha256:{sha.hexdigest()}"
                )
                raise call_error("digest_mismatch", message, executed="no")
            # Payloads live an hour and are digested again by whoever reads them: a power cut may cost one, no more.
            if not self._scope:
                await to_thread.run_sync(os.fsync, file.fileno())
        return size

    def _path(self, digest: str) -> Path:
        hex_digits = sha256_hex(digest)
        return self._root / "sha256" / hex_digits[:2] / hex_digits


def sha256_hex(digest: str) -> str:
    """Return the hex digits of "sha256:<hex>"; anything else could name a path outside the folder."""
    scheme, _, digits = digest.partition(":")
    if scheme != "sha256" or len(digits) != 64 or not _HEX.issuperset(digits):
        message = f"{digest[:80]!r} is no digest: write sha256: and 64 hex digits"
        raise call_error("bad_request", message, executed="no")
    return digits


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytearray]:
    """Join small pieces, so that each hop to the thread is worth its price."""
    held = bytearray()
    async for piece in pieces:
        held += piece
        if len(held) >= PIECE_BYTES:
            yield held
            held = bytearray()
    if held:
        yield held


def _part_of(path: Path) -> Path:
    """Return a name beside an object's, for what is not an object yet or any more."""
    return path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _touched(path: Path) -> bool:
    """Say whether it is here, and date it now."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _publish(part: Path, path: Path) -> None:
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name must survive a power cut as well as the bytes
    finally:
        os.close(folder)


def _absent(digest: str) -> CallError:
    return call_error("not_found", f"there is no object {digest} here", executed="no")
