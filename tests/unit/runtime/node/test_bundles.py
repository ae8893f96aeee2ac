"""Are layers what their digest says, and fetched once?"""

import hashlib
import io
import tarfile
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from glowplug.artifact import Layer
from glowplug.errors import NodeError
from glowplug.node.bundles import HELD_MAX, Bundles


def code_layer(text: bytes = b"x = 1\n") -> tuple[Layer, bytes]:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        info = tarfile.TarInfo("app.py")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return layer_of(sink.getvalue()), sink.getvalue()


def layer_of(data: bytes) -> Layer:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Layer(kind="code", digest=digest, size_bytes=len(data))


class Source:
    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.asked = 0

    async def fetch(self, digest: str) -> AsyncGenerator[bytes, None]:
        self.asked += 1
        for piece in self.pieces:
            await anyio.lowlevel.checkpoint()
            yield piece


async def test_a_layer_is_fetched_once_however_many_ask(tmp_path: Path) -> None:
    layer, data = code_layer()
    source = Source(data[:100], data[100:])
    bundles = Bundles(tmp_path, source.fetch)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(bundles.folder, layer)

    assert source.asked == 1
    assert (await bundles.folder(layer) / "app.py").read_bytes() == b"x = 1\n"
    assert [one.name for one in tmp_path.iterdir()] == [layer.digest.removeprefix("sha256:")]


async def test_layers_that_are_here_are_told_and_those_on_their_way_are_not(tmp_path: Path) -> None:
    layer, data = code_layer()
    bundles = Bundles(tmp_path, Source(data).fetch)
    (tmp_path / ".new-one").mkdir()

    assert bundles.held() == ()
    await bundles.folder(layer)
    assert bundles.held() == (layer.digest,)


async def test_no_more_layers_are_told_than_a_report_holds(tmp_path: Path) -> None:
    for number in range(HELD_MAX + 1):
        (tmp_path / f"{number:064x}").mkdir()

    assert len(Bundles(tmp_path, Source().fetch).held()) == HELD_MAX


async def test_bytes_of_another_digest_are_not_kept(tmp_path: Path) -> None:
    layer, data = code_layer()
    _, other = code_layer(b"y = 2\n")
    assert len(other) == len(data)

    with pytest.raises(NodeError, match="do not have that digest"):
        await Bundles(tmp_path, Source(other).fetch).folder(layer)

    assert list(tmp_path.iterdir()) == []


async def test_more_bytes_than_claimed_are_cut_off(tmp_path: Path) -> None:
    layer, data = code_layer()

    with pytest.raises(NodeError, match="larger than"):
        await Bundles(tmp_path, Source(data, b"x").fetch).folder(layer)

    assert list(tmp_path.iterdir()) == []


async def test_a_lock_is_read_and_not_kept(tmp_path: Path) -> None:
    text = b"six==1.17.0\n"

    assert await Bundles(tmp_path, Source(text).fetch).text(layer_of(text)) == "six==1.17.0\n"
    assert list(tmp_path.iterdir()) == []


async def test_a_digest_that_is_a_path_is_refused(tmp_path: Path) -> None:
    evil = Layer(kind="code", digest="sha256:../../etc", size_bytes=1)

    with pytest.raises(NodeError, match="no sha256 digest"):
        await Bundles(tmp_path, Source().fetch).folder(evil)


async def test_a_lock_that_is_no_text_is_said_to_be_none(tmp_path: Path) -> None:
    layer = layer_of(b"\xff\xfe")

    with pytest.raises(NodeError, match=r"lock sha256:.* is no UTF-8 text"):
        await Bundles(tmp_path, Source(b"\xff\xfe").fetch).text(layer)


async def test_a_damaged_layer_is_named(tmp_path: Path) -> None:
    layer = layer_of(b"no tar at all")

    with pytest.raises(NodeError, match=f"code layer {layer.digest}: a layer is no readable tar"):
        await Bundles(tmp_path, Source(b"no tar at all").fetch).folder(layer)
