"""Which files does a replica run, and are they here?

Layers lie in `bundles/<hex of their digest>/`, unpacked once and shared by all that name them. What is there is
complete: a layer is checked against its digest while it arrives, unpacked beside, and renamed into place.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from glowplug.artifact import Layer
from glowplug.errors import NodeError
from glowplug.node.folders import hex_of
from glowplug.node.tars import unpack

LAYER_MAX = 2 << 30  # bytes of one layer as sent
LOCK_MAX = 4 << 20  # bytes of a lock's text
HELD_MAX = 4096  # digests in a report: 300 KB; `garbage` keeps 32 that nothing runs in

Fetch = Callable[[str], AsyncGenerator[bytes, None]]  # digest -> the bytes, from the controller


class Bundles:
    """The layers on this node's disk."""

    def __init__(self, folder: Path, fetch: Fetch) -> None:
        self._folder = folder
        self._fetch = fetch
        self._locks: dict[str, anyio.Lock] = {}

    async def folder(self, layer: Layer) -> Path:
        """Return the unpacked layer's folder, fetching it first if need be; many may ask at once.

        Raises:
            NodeError: It cannot be had, is not what its digest says, or holds what no layer may.
        """
        place = self._folder / hex_of(layer.digest)
        async with self._locks.setdefault(layer.digest, anyio.Lock()):
            if not place.is_dir():
                await self._bring(layer, place)
        os.utime(place)  # used now: see `garbage`
        return place

    def held(self) -> tuple[str, ...]:
        """Return the digests of the layers that are here; what is on its way in or out has another name."""
        names = sorted(one.name for one in self._folder.iterdir() if not one.name.startswith("."))
        return tuple(f"sha256:{name}" for name in names[:HELD_MAX])

    async def text(self, layer: Layer) -> str:
        """Return a lock's text; it is needed once, so it is not kept."""
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".lock-") as name:
            path = Path(name) / "lock"
            await self._download(layer, path, LOCK_MAX)
            try:
                return await run_sync(lambda: path.read_text(encoding="utf-8"))
            except UnicodeDecodeError as error:
                raise NodeError(
                    f"lock {layer.digest} is no UTF-8 text: {error}",
                    hint="deploy again with a current glowplug",
                ) from error

    async def _bring(self, layer: Layer, place: Path) -> None:
        work = Path(tempfile.mkdtemp(dir=self._folder, prefix=".new-"))
        try:
            await self._download(layer, work / "tar", LAYER_MAX)
            files = work / "files"
            files.mkdir()
            await self._unpack(layer, work / "tar", files)
            files.replace(place)
        except OSError as error:
            raise NodeError(
                f"layer {layer.digest} cannot be kept in {self._folder}: {error}",
                hint="free some space there, then deploy again",
            ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    async def _unpack(self, layer: Layer, tar: Path, files: Path) -> None:
        try:
            await run_sync(unpack, tar, files)
        except NodeError as error:
            message = f"{layer.kind} layer {layer.digest}: {error.message}"
            raise NodeError(message, hint=error.hint) from error

    async def _download(self, layer: Layer, path: Path, limit: int) -> None:
        digest = hashlib.sha256()
        size = 0
        limit = min(limit, layer.size_bytes or limit)
        async with (
            aclosing(self._fetch(layer.digest)) as pieces,
            await anyio.open_file(path, "wb") as file,
        ):
            async for piece in pieces:
                size += len(piece)
                if size > limit:
                    raise NodeError(
                        f"layer {layer.digest} is larger than the {limit} bytes it claims",
                        hint="deploy again",
                    )
                digest.update(piece)
                await file.write(piece)
        if digest.hexdigest() != hex_of(layer.digest):
            raise NodeError(
                f"the bytes of layer {layer.digest} do not have that digest",
                hint="deploy again: the layer is damaged",
            )
