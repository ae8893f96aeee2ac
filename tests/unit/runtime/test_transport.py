"""Do frames cross every kind of socket whole and in order, on either loop, by the shortest way there is?"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from certificates import Certificate, certificate_for
from glowplug.wire.frames import DIRECT_MIN, FLAG_END, FLAG_RING, SEGMENT_BYTES, Frame, Kind, encode
from glowplug.wire.memfd import has_memfd
from glowplug.wire.ring import RING_MIN, Place
from glowplug.wire.transport import JOIN_MAX, dial
from unit.runtime.wires import Peer, Stage, body_of, settled, standing

SIZES = (
    0, 1, 200, JOIN_MAX, JOIN_MAX + 1, DIRECT_MIN - 1, DIRECT_MIN, RING_MIN + 1, 200_000, 1_000_000,
    SEGMENT_BYTES, SEGMENT_BYTES + 1, 5_000_000,
)  # fmt: skip
needs_memfd = pytest.mark.skipif(
    not has_memfd(), reason="this machine has no memfd, or is to do without"
)


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate_for(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["unix", "unix-alone", "tcp", "tls"])
async def stage(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: Certificate
) -> AsyncIterator[Stage]:
    async with standing(request.param, tmp_path, certificate) as made:
        yield made


# -- frames ----------------------------------------------------------------------------------------


async def test_frames_of_every_size_cross_whole_and_in_order_both_ways(stage: Stage) -> None:
    for one, other in ((stage.dialled, stage.accepted[0]), (stage.accepted[0], stage.dialled)):
        for _ in range(2):  # the first large one goes through the socket, later ones may not
            sent = []
            for rid, size in enumerate((*SIZES, *reversed(SIZES))):
                sent.append(Frame(Kind.CHUNK, FLAG_END, rid, b"m" * rid, body_of(size)))
                one.send(*sent[-1][:1], rid, sent[-1].meta, sent[-1].body, FLAG_END)
                one.send(Kind.CREDIT, rid)
                sent.append(Frame(Kind.CREDIT, 0, rid, b"", b""))
            await settled(lambda other=other, sent=sent: len(other.frames) == len(sent))  # type: ignore[misc]  # a default binds the loop's value
            assert other.frames == sent
            other.frames.clear()
    assert not stage.dialled.closed


async def test_what_is_sent_is_what_it_was_when_it_was_sent(stage: Stage) -> None:
    for size in (200, JOIN_MAX + 1, RING_MIN, 3 * RING_MIN):
        for _ in range(2):
            changing = bytearray(body_of(size))
            stage.dialled.send(Kind.CHUNK, 1, b"", changing)
            stage.dialled.send(Kind.CHUNK, 2, b"", memoryview(changing)[: size // 2])
            changing[:] = bytes(size)
            await settled(lambda: len(stage.accepted[0].frames) == 2)
            assert [one.body for one in stage.accepted[0].frames] == [
                body_of(size),
                body_of(size)[: size // 2],
            ]
            stage.accepted[0].frames.clear()
            await anyio.lowlevel.checkpoint()


async def test_a_view_of_numbers_is_sent_as_its_bytes(stage: Stage) -> None:
    numbers = memoryview(body_of(4 * RING_MIN)).cast("I")

    stage.dialled.send(Kind.CHUNK, 1, b"", numbers)
    await settled(lambda: len(stage.accepted[0].frames) == 1)
    stage.dialled.send(Kind.CHUNK, 1, b"", numbers)
    await settled(lambda: len(stage.accepted[0].frames) == 2)
    assert {one.body for one in stage.accepted[0].frames} == {body_of(4 * RING_MIN)}


async def test_a_view_with_gaps_is_sent_as_what_it_shows(stage: Stage) -> None:
    body = body_of(4 * RING_MIN)

    for count in (1, 2):
        stage.dialled.send(Kind.CHUNK, 1, b"", memoryview(body)[::2])
        await settled(lambda count=count: len(stage.accepted[0].frames) == count)  # type: ignore[misc]  # a default binds the loop's value
    assert {one.body for one in stage.accepted[0].frames} == {body[::2]}


async def test_a_close_in_the_middle_of_a_large_body_is_told_once(stage: Stage) -> None:
    assert stage.dialled.transport is not None
    stage.dialled.transport.write(encode(Kind.CHUNK, 1, b"", bytes(500_000))[:400_000])
    await settled(lambda: stage.accepted[0]._decoder.is_large)

    stage.dialled.close()
    await settled(lambda: stage.accepted[0].is_lost)
    assert stage.accepted[0].frames == []


async def test_after_an_abort_no_frame_is_handed_on(stage: Stage) -> None:
    accepted = stage.accepted[0]
    keep = accepted.frame

    def take(kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        keep(kind, flags, rid, meta, body)
        accepted.abort()

    accepted._decoder.take = take

    for rid in range(5):
        stage.dialled.send(Kind.CHUNK, rid)
    await settled(lambda: accepted.closed)
    assert len(accepted.frames) == 1


async def test_a_writer_is_told_that_its_peer_reads_too_slowly(stage: Stage) -> None:
    accepted = stage.accepted[0]
    assert accepted.transport is not None
    accepted.transport.pause_reading()
    for _ in range(8):
        stage.dialled.send(Kind.CHUNK, 1, b"", bytes(RING_MIN - 1) * 16)
    sent = 8
    while stage.dialled.writable:
        stage.dialled.send(Kind.CHUNK, 1, b"", bytes(RING_MIN - 1))
        sent += 1
        await anyio.lowlevel.checkpoint()

    accepted.transport.resume_reading()
    await settled(lambda: stage.dialled.writable and len(accepted.frames) == sent)


# -- shared memory ---------------------------------------------------------------------------------


@pytest.fixture
async def near(tmp_path: Path, certificate: Certificate) -> AsyncIterator[Stage]:
    async with standing("unix", tmp_path, certificate) as made:
        yield made


async def send_one(stage: Stage, size: int) -> None:
    had = len(stage.accepted[0].frames)
    stage.dialled.send(Kind.INFER, 1, b"", bytes(size), FLAG_END)
    await settled(lambda: len(stage.accepted[0].frames) == had + 1)
    assert stage.accepted[0].frames[-1] == Frame(Kind.INFER, FLAG_END, 1, b"", bytes(size))


@needs_memfd
async def test_large_bodies_share_memory_once_the_peer_has_opened_it(near: Stage) -> None:
    await send_one(near, RING_MIN - 1)
    assert near.accepted[0].greetings == 1
    await send_one(near, RING_MIN)  # still through the socket: the peer has not heard of any memory
    assert near.accepted[0].greetings == 2
    await settled(lambda: near.dialled._lane is not None and near.dialled._lane._is_open)

    await send_one(near, RING_MIN - 1)
    assert near.dialled.carried == 0
    await send_one(near, RING_MIN)
    await send_one(near, 10 * RING_MIN)
    assert near.dialled.carried == 2
    assert near.accepted[0].greetings == 2


async def test_a_side_that_shares_no_memory_gets_everything_through_the_socket(
    tmp_path: Path, certificate: Certificate
) -> None:
    async with standing("unix-alone", tmp_path, certificate) as alone:
        other = await dial(alone.address, Peer)
        await settled(lambda: other.greetings == 1)
        for count in (1, 2, 3):
            other.send(Kind.CHUNK, 1, b"", bytes(10 * RING_MIN))
            await settled(lambda count=count: len(alone.accepted[1].frames) == count)  # type: ignore[misc]  # a default binds the loop's value
        assert (other.carried, other.closed) == (0, False)
        other.abort()


@needs_memfd
async def test_a_body_that_finds_no_room_keeps_its_turn(near: Stage) -> None:
    near.dialled.ring_bytes = near.accepted[0].ring_bytes
    await send_one(near, RING_MIN)
    await settled(lambda: near.dialled._lane is not None and near.dialled._lane._is_open)
    near.accepted[0].frames.clear()

    bodies = [
        bytes([number]) * 20_000_000 for number in range(5)
    ]  # three fit into the shared memory
    for rid, body in enumerate(bodies):
        near.dialled.send(Kind.CHUNK, rid, b"", body)
    await settled(lambda: len(near.accepted[0].frames) == len(bodies))
    assert [one.body for one in near.accepted[0].frames] == bodies
    assert near.dialled.carried == 3


@needs_memfd
@pytest.mark.parametrize(
    "lie",
    [
        encode(Kind.INFER, 1, b"", Place(0, RING_MIN, 1).packed(), FLAG_RING),
        encode(Kind.INFER, 1, b"", Place(2**63, 2**63, 1).packed(), FLAG_RING),
        encode(Kind.INFER, 1, b"", b"short", FLAG_RING),
        encode(Kind.RELEASE, 0, Place(0, 1, 1).freed(), b"", FLAG_RING),
        encode(Kind.RELEASE, 0, b"", b"", FLAG_RING),
    ],
    ids=["never offered", "outside", "no place", "never given", "never asked"],
)
async def test_a_lie_about_shared_memory_cuts_the_liar_off(near: Stage, lie: bytes) -> None:
    assert near.dialled.transport is not None
    near.dialled.transport.write(lie + encode(Kind.CANCEL, 1))

    await settled(lambda: near.accepted[0].is_lost)
    assert near.accepted[0].frames == []


@needs_memfd
async def test_a_thousand_connections_leave_no_descriptor_and_no_mapping_behind(
    near: Stage,
) -> None:
    async def one() -> None:
        peer = await dial(near.address, Peer)
        await settled(lambda: peer.greetings > 0)
        for _ in range(2):
            near.accepted[-1].frames.clear()
            peer.send(Kind.CHUNK, 1, b"", bytes(RING_MIN))
            await settled(lambda: bool(near.accepted[-1].frames))
            await settled(lambda: peer._lane is not None and peer._lane._is_open)
        assert peer.carried == 1
        peer.close()
        await settled(lambda: near.accepted[-1].closed and peer.closed)
        near.accepted.pop()

    await one()
    before = descriptors(), mappings()
    for _ in range(1_000):
        await one()
    assert (descriptors(), mappings()) == before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("/memfd:glowplug")
