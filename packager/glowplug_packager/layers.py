"""How do files become one blob whose digest is the same on every machine? A tar without anything that varies."""

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from glowplug.artifact import Layer, LayerKind
from glowplug.errors import BuildError
from glowplug_packager.digest import digest_hex
from glowplug_packager.sources import SourceFile

KEEP_MAX = 64  # layers kept for the next deploy; a code layer is made for every edit


@dataclass(frozen=True, slots=True)
class LayerCache:
    """A folder of layers by digest; anything in it can be made again."""

    folder: Path

    def path(self, digest: str) -> Path:
        """Return where the layer of that digest is, or would be."""
        return self.folder / digest_hex(digest)

    def add_tar(self, kind: LayerKind, files: Iterable[SourceFile]) -> Layer:
        """Pack files, keep the tar, return its layer."""
        return self._made(kind, lambda sink: write_tar(sink, files))

    def add_bytes(self, kind: LayerKind, data: bytes) -> Layer:
        """Keep bytes as they are, return their layer."""
        return self._made(kind, lambda sink: sink.write(data))

    def prune(self, keep: Iterable[str]) -> None:
        """Drop the oldest layers beyond KEEP_MAX, never those in `keep`."""
        wanted = {digest_hex(one) for one in keep}
        old = sorted(
            (one for one in self.folder.iterdir() if one.is_file() and one.name not in wanted),
            key=_touched_ns,
            reverse=True,
        )
        for path in old[KEEP_MAX:]:
            path.unlink(missing_ok=True)

    def _made(self, kind: LayerKind, write: Callable[["HashingFile"], object]) -> Layer:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # A folder of its own goes away with whatever was written, unless that was moved out.
            with (
                TemporaryDirectory(dir=self.folder, prefix="new-") as draft,
                (Path(draft) / "layer").open("xb") as file,
            ):
                sink = HashingFile(file)
                write(sink)
                file.flush()
                Path(file.name).replace(
                    self.path(sink.digest)
                )  # atomic: a layer is there whole or not at all
        except OSError as error:
            raise BuildError(
                f"a layer cannot be made: {error}",
                hint=f"look for room in {self.folder}, then try again",
            ) from error
        return Layer(kind=kind, digest=sink.digest, size_bytes=sink.size_bytes)


class HashingFile:
    """A file that learns its digest while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        """Write on."""
        self._hash.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)

    @property
    def digest(self) -> str:
        """Return the digest of everything written so far."""
        return f"sha256:{self._hash.hexdigest()}"


def write_tar(sink: IO[bytes] | HashingFile, files: Iterable[SourceFile]) -> None:
    """Write a tar that depends on names, bytes and the executable bit alone.

    No folders (whoever unpacks makes them), no owner, no times; modes are 0644 or 0755. The format is PAX, which for
    short ASCII names is byte for byte plain USTAR.
    """
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]  # typeshed wants a full IO, tarfile only writes
        for one in sorted(files):
            entry = tarfile.TarInfo(one.path)
            entry.mode = 0o755 if one.executable else 0o644
            with one.location.open("rb") as file:
                entry.size = os.fstat(file.fileno()).st_size
                tar.addfile(entry, file)


def package_files(package: Path, suffixes: tuple[str, ...] = (".py",)) -> tuple[SourceFile, ...]:
    """Return the files of an installed package, below its own name."""
    found = (path for path in package.rglob("*") if path.suffix in suffixes and path.is_file())
    return tuple(
        SourceFile(
            path=f"{package.name}/{path.relative_to(package).as_posix()}",
            location=path,
            size_bytes=path.stat().st_size,
            executable=False,
        )
        for path in sorted(found)
    )


def _touched_ns(path: Path) -> int:
    return path.stat().st_mtime_ns
