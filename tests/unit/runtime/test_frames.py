"""Do bytes and frames turn into each other, whatever arrives and however it is cut?"""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import WireError
from glowplug.wire.frames import (
    BODY_MAX,
    FLAG_END,
    HEADER_BYTES,
    META_MAX,
    Decoder,
    Frame,
    Kind,
    encode,
    head,
)

# These bytes are for ever: other releases, and other languages, speak them.
GOLDEN = (
    (Frame(Kind.HELLO, 0, 0, b"", b""), "6701010000000000000000000000000000000000 00000000"),
    (
        Frame(Kind.INFER, FLAG_END, 1, b"\x91\xa1/", b"{}"),
        "6701020103000000 0100000000000000 0200000000000000 91a12f 7b7d",
    ),
    (
        Frame(Kind.CHUNK, 0, 2**63, b"", b"abc"),
        "6701040000000000 0000000000000080 0300000000000000 616263",
    ),
    (
        Frame(Kind.CREDIT, 0, 7, b"\x00\x04\0\0\0\0\0\0", b""),
        "6701080008000000 0700000000000000 0000000000000000 0004000000000000",
    ),
    (Frame(Kind.PING, FLAG_END, 3, b"", b""), "6701150100000000 0300000000000000 0000000000000000"),
)
frames = st.builds(
    Frame,
    st.sampled_from([int(kind) for kind in Kind]),
    st.integers(0, 255),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=64),
    st.binary(max_size=256),
)


@pytest.mark.parametrize(("frame", "text"), GOLDEN, ids=lambda one: getattr(one, "kind", ""))
def test_each_kind_of_frame_has_the_bytes_it_always_had(frame: Frame, text: str) -> None:
    data = bytes.fromhex(text)

    assert encode(frame.kind, frame.rid, frame.meta, frame.body, frame.flags) == data
    assert Decoder().feed(data) == [frame]


def test_kinds_keep_their_numbers() -> None:
    assert {kind.name: int(kind) for kind in Kind} == {
        "HELLO": 1, "INFER": 2, "RESPONSE": 3, "CHUNK": 4, "END": 5, "ERROR": 6, "CANCEL": 7, "CREDIT": 8,
        "LOAD": 16, "WAKE": 17, "SLEEP": 18, "DRAIN": 19, "STATS": 20, "PING": 21,
    }  # fmt: skip


@given(st.lists(frames, max_size=6), st.lists(st.integers(1, 40), max_size=80))
def test_frames_survive_any_cutting(sent: list[Frame], cuts: list[int]) -> None:
    data = b"".join(encode(one.kind, one.rid, one.meta, one.body, one.flags) for one in sent)
    decoder, got, at = Decoder(), [], 0
    for cut in (*cuts, len(data)):
        got += decoder.feed(data[at : at + cut])
        at += cut

    assert got == sent
    assert decoder.pending_bytes == 0


@given(frames)
def test_a_head_and_its_body_are_the_frame(frame: Frame) -> None:
    whole = encode(frame.kind, frame.rid, frame.meta, frame.body, frame.flags)

    assert (
        head(frame.kind, frame.rid, frame.meta, len(frame.body), frame.flags) + frame.body == whole
    )


@given(st.lists(st.binary(max_size=80), max_size=20), st.integers(0, 200))
def test_any_bytes_are_frames_or_a_wire_error_and_memory_stays_bounded(
    chunks: list[bytes], body_max: int
) -> None:
    decoder, fed = Decoder(body_max), 0
    for chunk in chunks:
        fed += len(chunk)
        try:
            decoder.feed(chunk)
        except WireError:
            return
        assert decoder.pending_bytes <= min(fed, HEADER_BYTES + META_MAX + body_max)


@given(
    st.lists(
        st.one_of(
            frames.map(lambda one: encode(*one[:1], one.rid, one.meta, one.body, one.flags)),
            st.binary(max_size=30),
        ),
        max_size=6,
    ),
    st.randoms(use_true_random=False),
)
def test_damaged_frames_never_hang_the_decoder(parts: list[bytes], random: object) -> None:
    data = bytearray(b"".join(parts))
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)  # type: ignore[attr-defined]  # a random.Random
    decoder = Decoder(1024)
    try:
        for at in range(0, len(data), 7):
            decoder.feed(bytes(data[at : at + 7]))
    except WireError:
        pass


def test_a_frame_over_the_bounds_is_refused_by_its_header_alone() -> None:
    for meta, body in ((META_MAX + 1, 0), (0, BODY_MAX + 1), (2**32 - 1, 2**64 - 1)):
        with pytest.raises(WireError, match="over the bounds"):
            Decoder().feed(struct.pack("<BBBBIQQ", 0x67, 1, 2, 0, meta, 1, body))


def test_a_frame_at_the_bounds_is_taken() -> None:
    decoder = Decoder(body_max=8)

    (frame,) = decoder.feed(encode(Kind.CHUNK, 1, b"m" * META_MAX, b"b" * 8))
    assert (len(frame.meta), len(frame.body)) == (META_MAX, 8)


def test_another_magic_or_version_is_no_frame_of_ours() -> None:
    for first in (b"GE", b"\x67\x02"):
        with pytest.raises(WireError, match="not a glow frame"):
            Decoder().feed(first + bytes(HEADER_BYTES - 2))
