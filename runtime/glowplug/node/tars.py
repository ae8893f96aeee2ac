"""How is a layer's tar laid out as files without letting it write anywhere else?

Refused: absolute names, names with "..", names through a link, hard links, devices, links that point out, and more
entries or bytes than a source tree has.
"""

import os
import posixpath
import shutil
import tarfile
import zlib
from gzip import BadGzipFile
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from glowplug.errors import NodeError

ENTRIES_MAX = 100_000
HEADER_MAX = 64 * 1024  # bytes of a long name or of further attributes, which tarfile reads whole
UNPACKED_MAX = 4 << 30  # bytes; weights are no part of a layer
_EXECUTABLE = 0o100
_LONG_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# What the standard library raises about bytes that are cut off, garbled, or were never a tar. BadGzipFile and bz2's
# errors are OSErrors, which else mean the disk.
_DAMAGES = (
    tarfile.TarError,
    EOFError,
    zlib.error,
    LZMAError,
    ValueError,
    OverflowError,
    BadGzipFile,
)
_HINT = "deploy again from a clean source tree; if it happens again, please report it"


class _Entry(tarfile.TarInfo):
    """An entry whose header cannot ask for more memory than a name needs."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG_HEADERS:
            _check_header(self)
        read: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]  # tarfile's own way to be extended
        return read


def _check_header(entry: tarfile.TarInfo) -> None:
    if entry.size > HEADER_MAX:
        # Not a HeaderError: tarfile takes those for the end of the archive.
        raise tarfile.ReadError(f"a header of {entry.size} bytes, and {HEADER_MAX} is the most")


def unpack(tar_path: Path, folder: Path) -> None:
    """Lay the tar out in a folder that exists and is empty.

    Raises:
        NodeError: Something in it is not allowed; what was written stays and must be removed.
    """
    try:
        with tarfile.open(tar_path, mode="r:*", tarinfo=_Entry) as tar:
            _unpack(tar, folder)
    except _DAMAGES as error:
        said = str(error) or type(error).__name__
        raise NodeError(f"a layer is no readable tar: {said}", hint=_HINT) from error


def _unpack(tar: tarfile.TarFile, folder: Path) -> None:
    size_bytes = 0
    links: list[tuple[str, str]] = []
    for count, entry in enumerate(tar, start=1):
        name = _inside(entry.name, entry.name)
        size_bytes += max(0, entry.size)
        if count > ENTRIES_MAX or size_bytes > UNPACKED_MAX:
            raise _refused(
                entry.name, f"is over the bounds ({ENTRIES_MAX} files, {UNPACKED_MAX >> 30} GiB)"
            )
        if entry.isdir():
            (folder / name).mkdir(parents=True, exist_ok=True)
        elif entry.isreg():
            _write(tar, entry, folder / name)
        elif entry.issym():
            _inside(posixpath.join(posixpath.dirname(name), entry.linkname), entry.name)
            links.append((name, entry.linkname))
        else:
            raise _refused(entry.name, "is neither a file, a folder nor a symbolic link")
    # Last, so that no file is ever written through a link.
    for name, target in links:
        _link(folder, name, target)
    for name, _ in links:
        _check_end(folder, name)


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(entry)
    assert source is not None, entry.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with source, path.open("xb") as file:
            shutil.copyfileobj(source, file)
    except (FileExistsError, NotADirectoryError) as error:
        raise _refused(entry.name, "is there twice") from error
    path.chmod(0o755 if entry.mode & _EXECUTABLE else 0o644)


def _link(folder: Path, name: str, target: str) -> None:
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    except (FileExistsError, NotADirectoryError) as error:
        raise _refused(name, "is there twice") from error


def _check_end(folder: Path, name: str) -> None:
    """Follow a chain of links to its end: each alone may look harmless."""
    root = os.path.realpath(folder)
    end = os.path.realpath(folder / name)
    if end != root and not end.startswith(root + os.sep):
        raise _refused(name, "points out of its layer")


def _inside(name: str, shown: str) -> str:
    """Return the name in normal form, if it stays below the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or "\\" in name or "\0" in name:
        raise _refused(shown, "is not relative")
    normal = posixpath.normpath(name)
    if normal == ".." or normal.startswith("../"):
        raise _refused(shown, "points out of its layer")
    return normal


def _refused(name: str, why: str) -> NodeError:
    return NodeError(f"a layer holds {name!r}, which {why}; nothing of it was kept", hint=_HINT)
