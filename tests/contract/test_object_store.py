"""Does every ObjectStore keep what the port promises?"""

import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, urlsplit

import anyio
import pytest

from glowplug.clock import MINUTE, SECOND, SystemClock
from glowplug.errors import CallError
from glowplug_router.objects.directory import DirectoryObjects
from glowplug_router.objects.memory import MemoryObjects
from glowplug_router.ports import ObjectStore
from glowplug_router.signatures import SignedObject, Signer

LIMIT = 10 * 1024 * 1024


@pytest.fixture(params=["memory", "directory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "memory":
        return MemoryObjects(signer=SIGNER)
    return DirectoryObjects(tmp_path / "objects", signer=SIGNER)


SIGNER = Signer("5e" * 32)
SCOPES = ("0" * 32, "a" * 32)


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


async def test_the_sizes_of_what_is_here_are_known(objects: ObjectStore) -> None:
    here, absent = digest(b"here"), digest(b"absent")
    await objects.put(here, pieces(b"here"), LIMIT)

    assert await objects.sizes([here, absent]) == {here: 4}


async def test_what_is_deleted_is_missing_before_the_delete_waits(objects: ObjectStore) -> None:
    name = digest(b"a")
    await objects.put(name, pieces(b"a"), LIMIT)
    seen: list[tuple[str, ...]] = []

    async def look() -> None:
        seen.append(await objects.missing([name]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        await objects.delete(name)

    assert seen == [(name,)]


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


async def test_what_lies_in_a_scope_is_nowhere_else(objects: ObjectStore) -> None:
    name = digest(b"mine")
    mine, yours = (objects.scope(scope) for scope in SCOPES)
    await mine.put(name, pieces(b"mine"), LIMIT)

    assert await read(objects.scope(SCOPES[0]), name) == b"mine"
    assert await mine.missing([name]) == ()
    assert await yours.missing([name]) == await objects.missing([name]) == (name,)
    assert await objects.kept() == await yours.kept() == {}
    assert list(await mine.kept()) == [name]
    with pytest.raises(CallError):
        await read(yours, name)


async def test_scopes_that_hold_something_are_named(objects: ObjectStore) -> None:
    name = digest(b"x")
    assert await objects.scopes() == ()
    for scope in SCOPES:
        await objects.scope(scope).put(name, pieces(b"x"), LIMIT)

    assert await objects.scopes() == SCOPES
    await objects.scope(SCOPES[0]).delete(name)
    assert await objects.scopes() == SCOPES[1:]


@pytest.mark.parametrize("bad", ["", "..", "../" * 10 + "ab", "A" * 32, "a" * 33])
async def test_what_is_no_scope_is_refused(objects: ObjectStore, bad: str) -> None:
    with pytest.raises(CallError) as refused:
        objects.scope(bad)

    assert refused.value.code == "bad_request"


async def test_signed_urls_are_for_one_object_one_method_and_a_while(objects: ObjectStore) -> None:
    name = digest(b"x")
    one = SignedObject(SCOPES[0], name, 1)
    put = objects.scope(SCOPES[0]).signed_put(name, 1, 10 * SECOND)
    get = objects.scope(SCOPES[0]).signed_get(name, 1, 10 * SECOND)

    assert opened("PUT", put, 9 * SECOND) == opened("GET", get, 9 * SECOND) == one
    for method, url, now_ns in (
        ("GET", put, 0),
        ("PUT", get, 0),
        ("PUT", put, 10 * SECOND),
        ("PUT", put.replace("size=1", "size=2"), 0),
    ):
        with pytest.raises(CallError):
            opened(method, url, now_ns)
    with pytest.raises(CallError):
        objects.scope(SCOPES[0]).signed_put("sha256:../x", 1, 0)


def opened(method: str, url: str, now_ns: int) -> SignedObject:
    parts = urlsplit(url)
    return SIGNER.opened(method, parts.path, dict(parse_qsl(parts.query)), now_ns)


async def test_an_upload_that_runs_is_not_swept_when_its_scope_is_asked_for(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path)

    async def slowly() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        objects.scope(SCOPES[0])
        yield b"x"

    data = b"x" * 2_000_001
    await objects.scope(SCOPES[0]).put(digest(data), slowly(), LIMIT)

    assert await objects.scope(SCOPES[0]).missing([digest(data)]) == ()


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path)

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await objects.put(digest(b"x"), broken(), LIMIT)

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_a_deleted_object_leaves_nothing_in_its_folder(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path)
    await objects.put(digest(b"a"), pieces(b"a"), LIMIT)
    await objects.delete(digest(b"a"))

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_what_a_killed_router_left_half_written_is_removed(tmp_path: Path) -> None:
    folders = [tmp_path / "sha256" / "ab", tmp_path / "scopes" / SCOPES[0] / "sha256" / "ab"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / ".part-1234").write_bytes(b"half")

    DirectoryObjects(tmp_path)

    assert not [path for folder in folders for path in folder.iterdir()]


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
