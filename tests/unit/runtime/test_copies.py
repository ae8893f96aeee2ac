"""Is a large body copied no more often than it must be, on its way into a call and out of it?"""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from glowplug import endpoint
from glowplug.calls import TypedFormat
from glowplug.context import Answer
from glowplug.forms import decoded, encoded, form_of
from glowplug.multipart import Part, encode_multipart
from glowplug.payloads import PIECE_BYTES, Checked, digest_of
from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.messages import Infer
from glowplug.worker.payloads import Transfer

SIZE = 32 << 20
RAW = "application/octet-stream"
SAFETENSORS = "application/safetensors"


@endpoint
def echo(data: bytes) -> bytes:
    return data


@endpoint
def label(image: bytes, name: str = "") -> bytes:
    return image


@endpoint
def scale(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x


DATA = bytes(SIZE)
ARRAY = np.zeros(SIZE // 4, np.float32)


def copies(work: Callable[[], Any]) -> float:
    """Return how many times the size of the body is held beyond what there was before."""
    work()  # what is compiled on first use is no copy
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return (tracemalloc.get_traced_memory()[1] - before) / SIZE
    finally:
        tracemalloc.stop()


def test_the_count_notices_a_copy() -> None:
    assert copies(lambda: bytearray(DATA)) >= 1


def test_raw_bytes_go_in_and_out_without_a_copy() -> None:
    form = form_of((("content-type", RAW),))

    assert copies(lambda: decoded(echo.contract, form, DATA)) < 0.01
    assert copies(lambda: encoded(echo.contract, form, DATA)) < 0.01


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_buffers_are_answers_without_a_copy(kind: Any) -> None:
    answer = kind(DATA)

    assert copies(lambda: encoded(echo.contract, form_of(()), answer)) < 0.01


def test_a_file_of_tensors_is_read_without_a_copy_and_written_with_one() -> None:
    form = form_of((("content-type", SAFETENSORS), ("accept", SAFETENSORS)))
    _, body = TypedFormat(scale.contract).request((ARRAY,), {})

    assert copies(lambda: decoded(scale.contract, form, body)) < 0.01
    assert copies(lambda: encoded(scale.contract, form, ARRAY)) < 1.01
    assert copies(lambda: TypedFormat(scale.contract).request((ARRAY,), {})) < 1.01


def test_an_answer_of_tensors_is_read_without_a_copy() -> None:
    form = form_of((("accept", SAFETENSORS),))
    headers, body = encoded(scale.contract, form, ARRAY)
    answer = Answer(status=200, headers=dict(headers), body=bytes(body))

    assert copies(lambda: TypedFormat(scale.contract).value(answer)) < 0.01


def test_a_form_is_written_and_read_with_one_copy() -> None:
    kind, body = encode_multipart([Part("image", DATA, filename="image")])
    form = form_of((("content-type", kind),))

    assert copies(lambda: encode_multipart([Part("image", DATA, filename="image")])) < 1.01
    assert copies(lambda: decoded(label.contract, form, body)) < 1.01


def test_a_lone_file_is_the_body_itself() -> None:
    form = form_of((("content-type", "image/png"),))

    assert copies(lambda: decoded(label.contract, form, DATA, "name=x")) < 0.01


class Link:
    """The far end of a body that is fetched; it hears the credits."""

    closed = False

    def __init__(self) -> None:
        self.asks: dict[int, Any] = {}

    def next_rid(self) -> int:
        return 2

    def send(self, *_: object) -> None:
        pass


async def test_a_body_that_is_fetched_is_copied_into_its_place_once() -> None:
    digest, pieces = digest_of(DATA), [bytes(PIECE_BYTES) for _ in range(SIZE // PIECE_BYTES)]
    transfer = Transfer(Link())  # type: ignore[arg-type]  # as much of one as is asked
    transfer.open(Infer("/"), 0)
    tracemalloc.start()
    try:
        for piece in pieces:
            transfer.frame(Kind.CHUNK, 0, b"", piece)
        transfer.frame(Kind.CHUNK, FLAG_END, b"", b"")
        body = await transfer.read(Checked(digest, SIZE, "it"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert body == DATA
    assert peak < 1.2 * SIZE  # room to grow is taken an eighth ahead


def test_what_a_client_sends_raw_is_what_it_was_given() -> None:
    _, body = TypedFormat(echo.contract).request((DATA,), {})

    assert body is DATA
