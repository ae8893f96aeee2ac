"""Does every publisher send what is missing, only that, and tell how it ended?"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from glowplug.artifact import Bundle, Layer, Release
from glowplug.control_client import Control
from glowplug.errors import CallError
from glowplug_packager.digest import bundle_digest, digest_bytes
from glowplug_packager.layers import LayerCache
from glowplug_packager.ports import Publisher
from glowplug_packager.publishers.directory import DirectoryPublisher
from glowplug_packager.publishers.router import RouterPublisher


class RouterHandler(BaseHTTPRequestHandler):
    """As much of the control API as a deploy uses, kept in a folder by the publisher that is one."""

    protocol_version = "HTTP/1.1"
    kept: DirectoryPublisher

    def do_POST(self) -> None:  # the name that http.server looks for
        body = self.body()
        if self.path == "/-/api/blobs/missing":
            asked = json.loads(body)["digests"]
            self.answer({"missing": [one for one in asked if not self.kept._blob(one).exists()]})
        else:
            steps = self.kept.deploy(msgspec.json.decode(body, type=Release))
            self.send(200, b"".join(json.dumps(step).encode() + b"\n" for step in steps))

    def do_PUT(self) -> None:  # the name that http.server looks for
        digest = self.path.removeprefix("/-/api/blobs/")
        body = self.body()
        if digest_bytes(body) != digest:
            self.send(
                400, json.dumps({"code": "digest_mismatch", "detail": "other bytes"}).encode()
            )
            return
        blob = self.kept._blob(digest)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(body)
        self.answer({"size": len(body)})

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"]))

    def answer(self, value: object) -> None:
        self.send(200, json.dumps(value).encode())

    def send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def router(folder: Path) -> Iterator[Publisher]:
    handler = type("Handler", (RouterHandler,), {"kept": DirectoryPublisher(folder)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        control = Control(f"http://127.0.0.1:{server.server_address[1]}", "key")
        try:
            yield RouterPublisher(control)
        finally:
            control.close()
            server.shutdown()
            thread.join()


@contextmanager
def directory(folder: Path) -> Iterator[Publisher]:
    yield DirectoryPublisher(folder)


@pytest.fixture(params=[directory, router], ids=["directory", "router"])
def publisher(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Publisher]:
    opened: Callable[[Path], contextmanager[Publisher]] = request.param  # type: ignore[valid-type]  # what @contextmanager makes
    with opened(tmp_path / "there") as one:  # type: ignore[attr-defined]  # as above
        yield one


@pytest.fixture
def cache(tmp_path: Path) -> LayerCache:
    return LayerCache(tmp_path / "layers")


def release_of(*layers: Layer) -> Release:
    bundle = Bundle(app="shop", layers=layers)
    return Release(app="shop", bundles=((bundle_digest(bundle), bundle),), endpoints=())


def nobody_looks(digest: str, sent: int, size: int) -> None:
    """Take note of nothing."""


def test_only_what_is_missing_is_sent(publisher: Publisher, cache: LayerCache) -> None:
    one, two = cache.add_bytes("lock", b"one"), cache.add_bytes("lock", b"two")
    path = {layer.digest: cache.path(layer.digest) for layer in (one, two)}

    assert publisher.upload({one.digest: path[one.digest]}, nobody_looks) == (one.digest,)
    assert publisher.upload(path, nobody_looks) == (two.digest,)
    assert publisher.upload(path, nobody_looks) == ()


def test_progress_reaches_the_size_of_each_layer(publisher: Publisher, cache: LayerCache) -> None:
    layer = cache.add_bytes("code", b"x" * 300_000)
    heard: list[tuple[str, int, int]] = []

    publisher.upload({layer.digest: cache.path(layer.digest)}, lambda *said: heard.append(said))

    assert heard[-1] == (layer.digest, 300_000, 300_000)
    assert [sent for _, sent, _ in heard] == sorted(sent for _, sent, _ in heard)


def test_bytes_that_are_not_what_they_claim_are_refused(
    publisher: Publisher, cache: LayerCache
) -> None:
    layer = cache.add_bytes("lock", b"one")
    cache.path(layer.digest).write_bytes(b"two")

    with pytest.raises(CallError) as caught:
        publisher.upload({layer.digest: cache.path(layer.digest)}, nobody_looks)

    assert caught.value.code == "digest_mismatch"


def test_a_deploy_ends_with_its_generation(publisher: Publisher, cache: LayerCache) -> None:
    layer = cache.add_bytes("lock", b"one")
    publisher.upload({layer.digest: cache.path(layer.digest)}, nobody_looks)

    first = list(publisher.deploy(release_of(layer)))
    second = list(publisher.deploy(release_of(layer)))

    assert (first[-1]["step"], first[-1]["generation"]) == ("done", 1)
    assert (second[-1]["step"], second[-1]["generation"]) == ("done", 2)


def test_a_release_without_its_layers_fails_and_counts_for_nothing(
    publisher: Publisher, cache: LayerCache
) -> None:
    layer = cache.add_bytes("lock", b"one")

    assert list(publisher.deploy(release_of(layer)))[-1]["step"] == "failed"

    publisher.upload({layer.digest: cache.path(layer.digest)}, nobody_looks)
    assert list(publisher.deploy(release_of(layer)))[-1]["generation"] == 1
