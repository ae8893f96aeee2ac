"""Does every ObjectStore keep what the port promises?"""

import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import anyio
import pytest

from glowplug.clock import MINUTE, SystemClock
from glowplug.errors import CallError
from glowplug_router.objects.directory import DirectoryObjects
from glowplug_router.objects.memory import MemoryObjects
from glowplug_router.ports import ObjectStore

LIMIT = 10 * 1024 * 1024


@pytest.fixture(params=["memory", "directory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return MemoryObjects() if request.param == "memory" else DirectoryObjects(tmp_path / "objects")


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def read(objects: ObjectStore, name: str) -> bytes:
    return b"".join([piece async for piece in objects.get(name)])


@pytest.mark.parametrize("data", [b"", b"x", b"a" * 3_000_001])
async def test_bytes_come_back_as_they_were(objects: ObjectStore, data: bytes) -> None:
    size = await objects.put(digest(data), pieces(data[:100], data[100:]), LIMIT)

    assert size == len(data)
    assert await read(objects, digest(data)) == data
    assert await objects.put(digest(data), pieces(data), LIMIT) == len(data)


async def test_what_is_missing_is_named(objects: ObjectStore) -> None:
    here, absent = digest(b"here"), digest(b"absent")
    await objects.put(here, pieces(b"here"), LIMIT)

    assert await objects.missing([here, absent]) == (absent,)
    with pytest.raises(CallError) as refused:
        await read(objects, absent)
    assert refused.value.code == "not_found"


async def test_what_is_kept_is_dated_by_when_it_was_last_wanted(objects: ObjectStore) -> None:
    here = digest(b"here")
    await objects.put(here, pieces(b"here"), LIMIT)
    first = await objects.kept()
    await anyio.sleep(0.02)  # file systems may count in ticks of 4 ms
    await objects.missing([here])
    second = await objects.kept()
    await objects.delete(here)

    assert list(first) == list(second) == [here]
    assert abs(SystemClock().wall_ns() - first[here]) < MINUTE
    assert second[here] > first[here]
    assert await objects.kept() == {}


async def test_bytes_with_another_digest_are_refused_and_not_kept(objects: ObjectStore) -> None:
    with pytest.raises(CallError) as refused:
        await objects.put(digest(b"right"), pieces(b"wrong"), LIMIT)

    assert refused.value.code == "digest_mismatch"
    assert await objects.missing([digest(b"right")]) == (digest(b"right"),)


async def test_more_bytes_than_the_limit_are_refused_before_they_are_all_read(
    objects: ObjectStore,
) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 600_000

    with pytest.raises(CallError) as refused:
        await objects.put(digest(b"x"), endless(), 1_000_000)

    assert refused.value.code == "too_large"
    assert taken <= 4


@pytest.mark.parametrize(
    "bad", ["", "sha256:", "md5:00", "sha256:../../etc/passwd", "sha256:" + "A" * 64]
)
async def test_what_is_no_digest_is_refused(objects: ObjectStore, bad: str) -> None:
    with pytest.raises(CallError) as refused:
        await objects.put(bad, pieces(b""), LIMIT)

    assert refused.value.code == "bad_request"


async def test_a_deleted_object_is_missing_and_deleting_again_is_no_error(
    objects: ObjectStore,
) -> None:
    await objects.put(digest(b"a"), pieces(b"a"), LIMIT)

    await objects.delete(digest(b"a"))
    await objects.delete(digest(b"a"))

    assert await objects.missing([digest(b"a")]) == (digest(b"a"),)


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path)

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await objects.put(digest(b"x"), broken(), LIMIT)

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_what_a_killed_router_left_half_written_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "sha256" / "ab"
    folder.mkdir(parents=True)
    (folder / ".part-1234").write_bytes(b"half")

    DirectoryObjects(tmp_path)

    assert not list(folder.iterdir())


async def test_a_full_disk_is_said_to_be_full_and_nothing_is_kept(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path, opener=full_after(1_500_000))
    data = b"y" * 3_000_000

    with pytest.raises(CallError) as refused:
        await objects.put(digest(data), pieces(data), LIMIT)

    assert refused.value.code == "disk_full"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert await objects.missing([digest(data)]) == (digest(data),)


def full_after(room: int) -> Any:
    class FullDisk:
        """A file on a disk with so much room."""

        def __init__(self, path: Path) -> None:
            self.file = path.open("xb", buffering=0)
            self.room = room

        def __enter__(self) -> "FullDisk":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: memoryview) -> int:
            if self.room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            size = min(self.room, len(data))
            self.room -= size
            return self.file.write(data[:size])

        def fileno(self) -> int:
            return self.file.fileno()

    return lambda path: cast(BinaryIO, FullDisk(path))
