"""Are the lines of a query the right ones, in order, and are new ones followed?"""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import msgspec
import pytest

from glowplug.clock import ManualClock
from glowplug.errors import NodeError
from glowplug.node import logs
from glowplug.node.folders import Folders
from glowplug.node.messages import LogQuery
from glowplug.settings import Home


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(Home(tmp_path))


def write(folders: Folders, name: str, *lines: tuple[int, str, str]) -> None:
    """Append lines of (time, request id, text) to a file below the logs."""
    path = folders.logs / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        for ts, request_id, text in lines:
            file.write(
                msgspec.json.encode({"ts": ts, "request_id": request_id, "text": text}) + b"\n"
            )


async def texts(folders: Folders, query: LogQuery) -> list[str]:
    data = b"".join([piece async for piece in logs.read(folders, query, ManualClock())])
    return [msgspec.json.decode(line)["text"] for line in data.splitlines()]


async def test_lines_of_rank_and_agent_and_of_the_rotated_file_are_merged_by_time(
    folders: Folders,
) -> None:
    write(folders, "shop/hello/r1.jsonl.1", (1, "", "oldest"))
    write(folders, "shop/hello/r1.jsonl", (3, "", "third"), (4, "", "last"))
    write(folders, "shop/hello/r1.node.jsonl", (2, "", "second"))
    write(folders, "shop/other/r2.jsonl", (2, "", "another endpoint"))

    query = LogQuery(app="shop", endpoint="hello")

    assert await texts(folders, query) == ["oldest", "second", "third", "last"]


async def test_only_the_newest_lines_are_given(folders: Folders) -> None:
    write(folders, "shop/hello/r1.jsonl", *((n, "", str(n)) for n in range(50)))

    assert await texts(folders, LogQuery(app="shop", tail=3)) == ["47", "48", "49"]
    assert await texts(folders, LogQuery(app="shop", tail=0)) == []


async def test_a_request_is_found_wherever_it_ran(folders: Folders) -> None:
    write(folders, "shop/hello/r1.jsonl", (1, "req-1", "a"), (2, "req-12", "no"), (3, "", "req-1"))
    write(folders, "shop/other/r2.jsonl", (4, "req-1", "b"))

    assert await texts(folders, LogQuery(request_id="req-1")) == ["a", "b"]


async def test_the_first_eight_characters_of_a_request_id_find_it(folders: Folders) -> None:
    write(folders, "shop/hello/r1.jsonl", (1, "0123456789ab", "a"), (2, "0123456", "no"))

    assert await texts(folders, LogQuery(request_id="01234567")) == ["a"]
    assert await texts(folders, LogQuery(request_id="0123456")) == ["no"]


async def test_older_lines_than_asked_for_are_left_out(folders: Folders) -> None:
    write(folders, "shop/hello/r1.jsonl", (1, "", "a"), (2, "", "b"))

    assert await texts(folders, LogQuery(since_wall_ns=2)) == ["b"]


async def test_a_replica_is_named_whole(folders: Folders) -> None:
    write(folders, "shop/hello/r1.jsonl", (1, "", "a"))
    write(folders, "shop/hello/r1.node.jsonl", (2, "", "b"))
    write(folders, "shop/hello/r10.jsonl", (3, "", "c"))

    assert await texts(folders, LogQuery(replica="r1")) == ["a", "b"]


async def test_a_torn_line_is_passed_over(folders: Folders) -> None:
    write(folders, "shop/hello/r1.jsonl", (1, "", "a"))
    with (folders.logs / "shop/hello/r1.jsonl").open("ab") as file:
        file.write(b'{"ts": 2, "te\n')
    write(folders, "shop/hello/r1.jsonl", (3, "", "c"))

    assert await texts(folders, LogQuery()) == ["a", "c"]


@pytest.mark.parametrize(
    "query", [LogQuery(app=".."), LogQuery(endpoint="a/b"), LogQuery(replica="*")]
)
async def test_a_name_that_is_a_pattern_or_a_path_is_refused(
    folders: Folders, query: LogQuery
) -> None:
    with pytest.raises(NodeError):
        await texts(folders, query)


class Followed:
    """Reads a followed query beside the test."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self.pieces = pieces
        self.lines: list[str] = []

    async def read(self) -> None:
        async for piece in self.pieces:
            self.lines += [msgspec.json.decode(line)["text"] for line in piece.splitlines()]

    async def until(self, count: int, clock: ManualClock) -> list[str]:
        while len(self.lines) < count:
            clock.advance(100_000_000)
            await anyio.lowlevel.checkpoint()
        return self.lines


async def test_new_lines_new_files_and_rotation_are_followed(folders: Folders) -> None:
    clock = ManualClock()
    write(folders, "shop/hello/r1.jsonl", (1, "", "a"), (1, "", "b"))
    followed = Followed(logs.read(folders, LogQuery(app="shop", follow=True), clock))

    async with anyio.create_task_group() as group:
        group.start_soon(followed.read)
        assert await followed.until(2, clock) == ["a", "b"]

        write(folders, "shop/hello/r1.jsonl", (2, "", "c"))
        assert await followed.until(3, clock) == ["a", "b", "c"]

        write(folders, "shop/hello/r2.jsonl", (3, "", "d"))
        assert await followed.until(4, clock) == ["a", "b", "c", "d"]

        path = folders.logs / "shop/hello/r1.jsonl"
        write(folders, "shop/hello/r1.jsonl", (4, "", "e"))
        path.rename(f"{path}.1")
        write(folders, "shop/hello/r1.jsonl", (5, "", "f"))
        assert await followed.until(6, clock) == ["a", "b", "c", "d", "e", "f"]
        group.cancel_scope.cancel()
