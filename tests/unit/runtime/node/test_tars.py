"""Can a layer write anywhere but in its folder?"""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.errors import NodeError
from glowplug.node.tars import HEADER_MAX, unpack


def tar_of(path: Path, *entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for entry in entries:
            info, data = entry if isinstance(entry, tuple) else (entry, b"")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def named(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def unpacked(tmp_path: Path, *entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> Path:
    folder = tmp_path / "inside" / "files"
    folder.mkdir(parents=True)
    unpack(tar_of(tmp_path / "layer.tar", *entries), folder)
    return folder


def test_files_folders_and_links_inside_are_laid_out(tmp_path: Path) -> None:
    script = named("bin/run")
    script.mode = 0o755

    folder = unpacked(
        tmp_path,
        (named("app.py"), b"x = 1\n"),
        named("data", tarfile.DIRTYPE),
        (script, b"#!"),
        named("data/link", tarfile.SYMTYPE, "../app.py"),
    )

    assert (folder / "app.py").read_text() == "x = 1\n"
    assert (folder / "data/link").read_text() == "x = 1\n"
    assert (folder / "bin/run").stat().st_mode & 0o777 == 0o755
    assert (folder / "app.py").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "entries",
    [
        [named("/etc/evil")],
        [named("../evil")],
        [named("a/../../evil")],
        [named("a\\..\\evil")],
        [named("link", tarfile.SYMTYPE, "/etc")],
        [named("link", tarfile.SYMTYPE, "../outside")],
        [named("a/link", tarfile.SYMTYPE, "../../outside")],
        [named("hard", tarfile.LNKTYPE, "app.py")],
        [named("pipe", tarfile.FIFOTYPE)],
        [named("device", tarfile.CHRTYPE)],
        [named("twice"), named("twice")],
        [named("link", tarfile.SYMTYPE, "target"), named("link/file")],
        [named("app.py"), named("app.py/child")],
        # Each of these two stays inside by its name; followed one after the other they leave.
        [
            named("d", tarfile.DIRTYPE),
            named("d/up", tarfile.SYMTYPE, ".."),
            named("out", tarfile.SYMTYPE, "d/up/../.."),
        ],
    ],
    ids=lambda entries: " ".join(f"{one.name}→{one.linkname}" for one in entries),
)
def test_evil_tars_are_refused_and_nothing_appears_outside(
    tmp_path: Path, entries: list[tarfile.TarInfo]
) -> None:
    with pytest.raises(NodeError, match="nothing of it was kept"):
        unpacked(tmp_path, *entries)

    assert sorted(one.name for one in tmp_path.iterdir()) == ["inside", "layer.tar"]
    assert [one.name for one in (tmp_path / "inside").iterdir()] == ["files"]


def test_bytes_that_are_no_tar_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tar").write_bytes(b"\0nonsense" * 100)

    with pytest.raises(NodeError, match="no readable tar"):
        unpack(tmp_path / "tar", tmp_path)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def garbled(data: bytes) -> bytes:
    return data[:40] + b"garbled" * 9


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, bytes], ids=["gz", "bz2", "xz", "plain"]
)
@pytest.mark.parametrize("damage", [cut, garbled])
def test_a_damaged_layer_is_said_to_be_one(
    tmp_path: Path, pack: Callable[[bytes], bytes], damage: Callable[[bytes], bytes]
) -> None:
    noise = bytes((n * n * 7 + n // 3) % 251 for n in range(50_000))
    whole = tar_of(tmp_path / "whole.tar", (named("app.py"), noise)).read_bytes()
    (tmp_path / "layer").write_bytes(damage(pack(whole)))
    (tmp_path / "files").mkdir()

    with pytest.raises(NodeError, match="layer"):
        unpack(tmp_path / "layer", tmp_path / "files")


def test_a_header_that_asks_for_memory_is_refused(tmp_path: Path) -> None:
    entry = named("app.py")
    entry.pax_headers = {"comment": "x" * HEADER_MAX}

    with pytest.raises(NodeError, match="a header of"):
        unpacked(tmp_path, (entry, b"x = 1"))
