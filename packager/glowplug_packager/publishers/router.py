"""How does a release reach a router? Through its control API: ask what is missing, send that, then deploy."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from glowplug.artifact import Release
from glowplug.control_client import Control
from glowplug.errors import BuildError
from glowplug_packager.ports import OnUpload, Step


@dataclass(frozen=True, slots=True)
class RouterPublisher:
    """Publishes over an open connection to a control API."""

    control: Control
    dev: bool = False  # let running replicas become the new version in place where they can

    def upload(self, layers: Mapping[str, Path], on_upload: OnUpload) -> tuple[str, ...]:
        """Send the layers that the router does not have."""
        missing = self._missing(sorted(layers))
        for digest in missing:
            self._send(digest, layers[digest], on_upload)
        return missing

    def deploy(self, release: Release) -> Iterator[Step]:
        """Yield the router's events until one says how it ended."""
        headers = {"content-type": "application/json", "accept": "application/x-ndjson"}
        params = {"dev": 1} if self.dev else {}
        yield from self.control.lines(
            "POST", "/deploy", content=msgspec.json.encode(release), headers=headers, params=params
        )

    def _missing(self, digests: Sequence[str]) -> tuple[str, ...]:
        answer = self.control.post("/blobs/missing", {"digests": list(digests)})
        asked = set(digests)
        return tuple(one for one in answer["missing"] if one in asked)

    def _send(self, digest: str, path: Path, on_upload: OnUpload) -> None:
        try:
            with path.open("rb") as file:
                self.control.put(
                    f"/blobs/{digest}", _Watched(file, path.stat().st_size, digest, on_upload)
                )
        except OSError as error:
            raise BuildError(
                f"the layer {digest} cannot be read: {error}",
                hint="run the deploy again: layers are made anew",
            ) from error


class _Watched:
    """A file that tells how far it has been read; with `tell` and `seek` the client finds its length."""

    def __init__(self, file: IO[bytes], size_bytes: int, digest: str, on_upload: OnUpload) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._sent_bytes = 0
        self._digest = digest
        self._on_upload = on_upload

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        if piece:
            self._sent_bytes += len(piece)
            self._on_upload(self._digest, self._sent_bytes, self._size_bytes)
        return piece

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(64 * 1024):
            yield piece
