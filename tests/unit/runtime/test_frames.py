"""Do bytes and frames turn into each other, whatever arrives and however it is cut?"""

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import WireError
from glowplug.wire.frames import (
    BODY_MAX,
    DIRECT_MIN,
    FLAG_END,
    FLAG_ONEWAY,
    FLAG_RING,
    HEADER,
    HEADER_BYTES,
    META_MAX,
    SEGMENT_BYTES,
    Decoder,
    Frame,
    Kind,
    encode,
    head,
)
from glowplug.wire.messages import Hello, unpack_hello

# These bytes are for ever: other releases, and other languages, speak them.
GOLDEN = msgspec.json.decode((Path(__file__).parents[2] / "golden" / "frames.json").read_bytes())


@dataclass
class Heard:
    """What a decoder made of what it was fed."""

    frames: list[Frame] = field(default_factory=list)
    refused: str = ""

    def take(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        assert type(meta) is type(body) is bytes
        self.frames.append(Frame(kind, flags, rid, meta, body))


def hear(data: bytes, cuts: list[int], body_max: int = BODY_MAX, *, direct: bool = False) -> Heard:
    """Feed the bytes piece by piece; with `direct`, large bodies go straight into their own memory."""
    heard = Heard()
    decoder, at = Decoder(heard.take, body_max), 0
    try:
        for cut in (*cuts, len(data)):
            piece = data[at : at + cut]
            at += cut
            while direct and decoder.is_large and piece:
                room = decoder.room()
                size = min(len(room), len(piece))
                room[:size] = piece[:size]
                decoder.filled(size)
                piece = piece[size:]
            decoder.feed(piece)
            assert decoder.held_bytes <= min(at, HEADER_BYTES + META_MAX + body_max) + SEGMENT_BYTES
    except WireError as error:
        heard.refused = str(error)
    else:
        heard.refused = f"holds {decoder.held_bytes}" if decoder.held_bytes else ""
    return heard


def bytes_of(frames: list[Frame]) -> bytes:
    return b"".join(encode(one.kind, one.rid, one.meta, one.body, one.flags) for one in frames)


kinds = st.integers(0, 255)  # a newer peer may say more than we know
frames = st.builds(
    Frame, kinds, kinds, st.integers(0, 2**64 - 1), st.binary(max_size=64), st.binary(max_size=256)
)
sizes = st.sampled_from(
    [at + by for at in (0, DIRECT_MIN, SEGMENT_BYTES, 2 * SEGMENT_BYTES) for by in (-1, 0, 1) if at + by >= 0]
)  # fmt: skip
large_frames = st.builds(
    lambda frame, size, byte: frame._replace(body=bytes([byte]) * size), frames, sizes, kinds
)


@pytest.mark.parametrize("row", GOLDEN["frames"], ids=lambda row: row["says"])
def test_each_frame_has_the_bytes_it_always_had(row: dict[str, Any]) -> None:
    meta, body, data = (bytes.fromhex(row[name]) for name in ("meta", "body", "frame"))
    frame = Frame(row["kind"], row["flags"], row["rid"], meta, body)

    assert encode(frame.kind, frame.rid, meta, body, frame.flags) == data
    assert hear(data, []) == Heard([frame])


@pytest.mark.parametrize("row", GOLDEN["refused"], ids=lambda row: row["says"])
def test_what_is_no_frame_is_refused_by_its_header_alone(row: dict[str, str]) -> None:
    data = bytes.fromhex(row["frame"])[:HEADER_BYTES]

    assert hear(data[:-1], []).refused == f"holds {HEADER_BYTES - 1}"
    assert hear(data, []).refused.startswith(("not a glow frame: magic", "frame over the bounds"))


def test_every_kind_and_flag_has_its_golden_bytes() -> None:
    assert {row["kind"] for row in GOLDEN["frames"]} >= set(Kind)
    for flag in (FLAG_END, FLAG_ONEWAY, FLAG_RING):
        assert any(row["flags"] & flag for row in GOLDEN["frames"])


def test_kinds_keep_their_numbers() -> None:
    assert {kind.name: int(kind) for kind in Kind} == {
        "HELLO": 1, "INFER": 2, "RESPONSE": 3, "CHUNK": 4, "END": 5, "ERROR": 6, "CANCEL": 7, "CREDIT": 8, "RELEASE": 9,
        "LOAD": 16, "WAKE": 17, "SLEEP": 18, "DRAIN": 19, "STATS": 20, "PING": 21,
    }  # fmt: skip


def test_greetings_of_the_release_before_and_the_one_after_are_understood() -> None:
    said = {
        row["says"]: unpack_hello(bytes.fromhex(row["meta"]))
        for row in GOLDEN["frames"]
        if row["kind"] == 1
    }

    newer = said["a greeting of a newer release, with two fields more"]
    assert newer == said["the greeting of a replica"]
    older = said["a greeting of an older release, with role and name only"]
    assert older == Hello("agent", "n1")


@given(st.lists(frames, max_size=6), st.lists(st.integers(1, 40), max_size=80))
def test_frames_survive_any_cutting(sent: list[Frame], cuts: list[int]) -> None:
    assert hear(bytes_of(sent), cuts) == Heard(sent)


@given(
    st.lists(frames.map(lambda one: bytes_of([one])) | st.binary(max_size=60), max_size=5).map(b"".join),
    st.lists(st.integers(1, 40), max_size=40),
    st.integers(0, 300),
)  # fmt: skip
def test_any_bytes_give_the_same_frames_and_the_same_refusal_however_they_are_cut(
    data: bytes, cuts: list[int], body_max: int
) -> None:
    assert hear(data, cuts, body_max) == hear(data, [], body_max)


@given(st.lists(frames | large_frames, max_size=3), st.lists(st.integers(1, 900_000), max_size=6))
def test_a_large_body_is_the_same_whether_it_is_fed_or_received_in_its_place(
    sent: list[Frame], cuts: list[int]
) -> None:
    data = bytes_of(sent)

    assert hear(data, cuts) == Heard(sent)
    assert hear(data, cuts, direct=True) == Heard(sent)


@given(frames)
def test_a_head_and_its_body_are_the_frame(frame: Frame) -> None:
    whole = encode(frame.kind, frame.rid, frame.meta, frame.body, frame.flags)

    assert (
        head(frame.kind, frame.rid, frame.meta, len(frame.body), frame.flags) + frame.body == whole
    )


def test_memory_follows_what_arrives_and_not_what_is_announced() -> None:
    decoder = Decoder(Heard().take)

    decoder.feed(HEADER.pack(0x67, 1, Kind.CHUNK, 0, 0, 1, BODY_MAX))
    decoder.feed(b"x")
    assert decoder.held_bytes == SEGMENT_BYTES
    decoder.filled(len(decoder.room()))
    assert decoder.held_bytes == 2 * SEGMENT_BYTES


def test_the_room_ends_where_the_body_ends() -> None:
    heard = Heard()
    decoder = Decoder(heard.take)

    decoder.feed(encode(Kind.CHUNK, 1, b"m", b"x" * DIRECT_MIN)[:-10])
    assert decoder.is_large
    assert len(decoder.room()) == 10
    decoder.room()[:] = b"y" * 10
    decoder.filled(10)
    assert not decoder.is_large
    assert heard.frames == [Frame(Kind.CHUNK, 0, 1, b"m", b"x" * (DIRECT_MIN - 10) + b"y" * 10)]


def test_a_large_frame_waits_for_the_last_byte_of_its_meta_before_it_takes_memory() -> None:
    data = encode(Kind.CHUNK, 1, b"meta", b"x" * DIRECT_MIN)
    decoder = Decoder(Heard().take)

    decoder.feed(data[: HEADER_BYTES + 3])
    assert (decoder.is_large, decoder.held_bytes) == (False, HEADER_BYTES + 3)
    decoder.feed(b"a")
    assert (decoder.is_large, decoder.held_bytes) == (True, 4 + DIRECT_MIN)


def test_a_whole_large_frame_in_one_read_needs_no_memory_of_its_own() -> None:
    heard = Heard()
    decoder = Decoder(heard.take)
    sent = [Frame(Kind.CHUNK, 0, 1, b"", b"x" * DIRECT_MIN), Frame(Kind.CHUNK, 0, 1, b"", b"y")]

    decoder.feed(bytes_of(sent))
    assert (heard.frames, decoder.is_large) == (sent, False)


def test_who_takes_frames_may_change_with_any_frame() -> None:
    first, second = Heard(), Heard()

    def once(kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        first.take(kind, flags, rid, meta, body)
        decoder.take = second.take

    decoder = Decoder(once)
    decoder.feed(encode(Kind.HELLO, 0) + encode(Kind.INFER, 1) + encode(Kind.CANCEL, 1))
    assert [one.kind for one in first.frames] == [Kind.HELLO]
    assert [one.kind for one in second.frames] == [Kind.INFER, Kind.CANCEL]


@pytest.mark.parametrize("size", [24, DIRECT_MIN])
def test_frames_about_shared_memory_go_their_own_way(size: int) -> None:
    streams, shared = Heard(), Heard()
    decoder = Decoder(streams.take, take_shared=shared.take)
    data = encode(Kind.INFER, 1, b"", b"x" * size, FLAG_RING) + encode(Kind.CANCEL, 1)

    decoder.feed(data[:-30])
    decoder.feed(data[-30:])
    assert [one.kind for one in shared.frames] == [Kind.INFER]
    assert [one.kind for one in streams.frames] == [Kind.CANCEL]


def test_a_frame_at_the_bounds_is_taken_and_one_over_them_is_not() -> None:
    (frame,) = hear(encode(Kind.CHUNK, 1, b"m" * META_MAX, b"b" * 8), [100], body_max=8).frames
    assert (len(frame.meta), len(frame.body)) == (META_MAX, 8)

    for meta, body in ((META_MAX + 1, 0), (0, 9)):
        refused = hear(
            struct.pack("<BBBBIQQ", 0x67, 1, 2, 0, meta, 1, body), [], body_max=8
        ).refused
        assert refused == f"frame over the bounds: meta {meta} B, body {body} B"


def test_frames_before_a_broken_one_are_still_handed_on() -> None:
    heard = hear(encode(Kind.HELLO, 0) + b"nonsense" * 4, [])

    assert [one.kind for one in heard.frames] == [Kind.HELLO]
    assert heard.refused == "not a glow frame: magic 0x6e, version 111"
