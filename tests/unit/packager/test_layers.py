"""Does the same tree make the same blob everywhere?"""

import io
import os
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import BuildError
from glowplug.node.tars import unpack
from glowplug_packager.digest import digest_bytes
from glowplug_packager.layers import KEEP_MAX, LayerCache, package_files, write_tar
from glowplug_packager.sources import SourceFile, collect

TREE = {
    "app.py": b"x = 1\n",
    "run.sh": b"#!/bin/sh\n",
    "data/words.txt": "wörter\n".encode(),
    "data/größe.txt": b"",
}


def lay_out(
    root: Path, tree: dict[str, bytes], umask: int = 0o022, mtime_s: int = 1_700_000_000
) -> None:
    before = os.umask(umask)
    for path, data in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
        os.utime(root / path, (mtime_s, mtime_s))
    if "run.sh" in tree:
        (root / "run.sh").chmod(0o777 & ~umask)
    os.umask(before)


def names(cache: LayerCache) -> set[str]:
    return {path.name for path in cache.folder.iterdir()}


def digest(root: Path, cache: LayerCache) -> str:
    return cache.add_tar("code", collect(root).files).digest


def test_times_owners_umask_and_order_make_no_difference(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path / "layers")
    lay_out(tmp_path / "a", TREE)
    lay_out(tmp_path / "b", dict(reversed(TREE.items())), umask=0o077, mtime_s=1)

    assert digest(tmp_path / "a", cache) == digest(tmp_path / "b", cache)


def test_the_digest_of_a_tree_is_known_in_advance(tmp_path: Path) -> None:
    lay_out(tmp_path / "a", TREE)

    # Whoever changes this makes every deployed version a new one.
    assert digest(tmp_path / "a", LayerCache(tmp_path / "layers")) == GOLDEN


GOLDEN = "sha256:626a24deef590c23d02223aa8a0e555d29b6e19ee036d76c746b0373f743469d"


@pytest.mark.parametrize(
    "change",
    [{"app.py": b"x = 2\n"}, {"new.py": b""}, {"data/words.txt": b"w"}],
)
def test_any_change_of_a_file_changes_the_digest(tmp_path: Path, change: dict[str, bytes]) -> None:
    cache = LayerCache(tmp_path / "layers")
    lay_out(tmp_path / "a", TREE)
    lay_out(tmp_path / "b", TREE | change)

    assert digest(tmp_path / "a", cache) != digest(tmp_path / "b", cache)


def test_a_file_made_executable_changes_the_digest(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path / "layers")
    lay_out(tmp_path, {"project/app.py": b""})
    before = digest(tmp_path / "project", cache)
    (tmp_path / "project/app.py").chmod(0o755)

    assert digest(tmp_path / "project", cache) != before


def test_a_layer_is_kept_under_the_digest_of_its_bytes(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path / "layers")
    lay_out(tmp_path / "a", TREE)

    layer = cache.add_tar("code", collect(tmp_path / "a").files)

    data = cache.path(layer.digest).read_bytes()
    assert digest_bytes(data) == layer.digest
    assert len(data) == layer.size_bytes
    assert names(cache) == {cache.path(layer.digest).name}


def test_a_node_lays_out_what_was_packed(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path / "layers")
    lay_out(tmp_path / "a", TREE)
    layer = cache.add_tar("code", collect(tmp_path / "a").files)
    out = tmp_path / "out"
    out.mkdir()

    unpack(cache.path(layer.digest), out)

    assert {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    } == TREE
    assert os.access(out / "run.sh", os.X_OK)
    assert (out / "app.py").stat().st_mode & 0o111 == 0


@given(
    st.dictionaries(
        st.from_regex(r"[a-zé]{1,200}(/[a-z]{1,60}){0,2}", fullmatch=True),
        st.binary(max_size=2000),
        max_size=5,
    )
)
def test_no_tar_says_when_where_or_by_whom_it_was_made(tree: dict[str, bytes]) -> None:
    entries = packed(tree)

    assert all(
        (one.uid, one.gid, one.mtime, one.uname, one.gname) == (0, 0, 0, "", "") for one in entries
    )
    assert [one.name for one in entries] == sorted(one.name for one in entries)
    assert all(set(one.pax_headers) <= {"path"} for one in entries)


def packed(tree: dict[str, bytes]) -> list[tarfile.TarInfo]:
    with TemporaryDirectory() as name:
        files = []
        for number, (path, data) in enumerate(tree.items()):
            location = Path(name) / str(number)
            location.write_bytes(data)
            files.append(
                SourceFile(path=path, location=location, size_bytes=len(data), executable=False)
            )
        sink = io.BytesIO()
        write_tar(sink, files)
    sink.seek(0)
    return tarfile.open(fileobj=sink).getmembers()


def test_the_runtime_layer_holds_a_packages_sources_and_nothing_else(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            "glow/__init__.py": b"",
            "glow/sub/a.py": b"",
            "glow/py.typed": b"",
            "glow/__pycache__/a.pyc": b"",
        },
    )

    assert [one.path for one in package_files(tmp_path / "glow")] == [
        "glow/__init__.py",
        "glow/sub/a.py",
    ]


def test_a_file_that_vanishes_while_it_is_packed_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path / "layers")
    gone = SourceFile(path="gone.py", location=tmp_path / "gone.py", size_bytes=1, executable=False)

    with pytest.raises(BuildError, match=r"gone\.py"):
        cache.add_tar("code", [gone])

    assert names(cache) == set()


def test_old_layers_go_but_never_those_in_use(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path / "layers")
    layers = [cache.add_bytes("lock", str(number).encode()) for number in range(KEEP_MAX + 3)]
    for age, layer in enumerate(layers):
        os.utime(cache.path(layer.digest), ns=(age, age))  # the first is the oldest

    cache.prune([layers[0].digest])

    left = names(cache)
    assert len(left) == KEEP_MAX + 1
    assert cache.path(layers[0].digest).name in left
    assert cache.path(layers[1].digest).name not in left
