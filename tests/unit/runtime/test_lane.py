"""Do bodies get through shared memory, and only through memory that is what it claims to be?"""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import WireError
from glowplug.wire.heap import keep_freed
from glowplug.wire.lane import OWED_MAX, SETTLE_S, TRIM_S, Lane
from glowplug.wire.memfd import SHARED_MAX, Offered, has_memfd, open_offered
from glowplug.wire.ring import RING_BYTES, RING_MIN, Place

SIZE = 1024 * 1024
pytestmark = pytest.mark.skipif(
    not has_memfd(), reason="this machine has no memfd, or is to do without"
)


@dataclass
class Later:
    """The loop's `call_later`, run by hand."""

    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __call__(self, delay_s: float, run: Callable[[], None]) -> "Timer":
        self.due.append((delay_s, run))
        return Timer(self, run)

    def pass_time(self) -> list[float]:
        """Run what is due, and say how long it would have waited."""
        due, self.due = self.due, []
        for _, run in due:
            run()
        return [delay_s for delay_s, _ in due]


@dataclass
class Timer:
    later: Later
    run: Callable[[], None]

    def cancel(self) -> None:
        self.later.due = [one for one in self.later.due if one[1] is not self.run]


@dataclass
class Pair:
    """Two lanes on the ends of one Unix socket."""

    writer: Lane
    reader: Lane
    later: Later
    released: list[bytes]  # by the reader, not yet heard by the writer

    def open(self) -> None:
        self.writer.want()
        self.reader.hear(self.writer.offer())
        self.hear_releases()

    def hear_releases(self) -> int:
        self.reader.settle()  # as a connection does when its frames leave
        count = len(self.released)
        while self.released:
            self.writer.released(self.released.pop(0))
        return count

    def cross(self, body: bytes) -> bytes:
        place = self.writer.put(body, len(body))
        assert place is not None
        return self.reader.fetch(place, len(body))


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def pair(ends: tuple[socket.socket, socket.socket]) -> Iterator[Pair]:
    later, released = Later(), list[bytes]()
    writer = Lane(ends[0], SIZE, later, lambda _: None)
    reader = Lane(ends[1], SIZE, later, released.append)
    yield Pair(writer, reader, later, released)
    writer.close()
    reader.close()


def test_nothing_is_made_until_there_is_a_body_to_carry(pair: Pair) -> None:
    assert pair.writer.offer() == ""
    assert pair.writer.want()
    assert not pair.writer.want()
    assert pair.writer.offer() == pair.writer.offer() != ""


def test_a_body_waits_until_the_peer_has_said_that_it_opened_the_memory(pair: Pair) -> None:
    pair.writer.want()
    offer = pair.writer.offer()
    assert pair.writer.put(b"x" * RING_MIN, RING_MIN) is None

    pair.reader.hear(offer)
    pair.reader.hear(offer)  # every HELLO says it again
    assert pair.hear_releases() == 1
    assert pair.cross(b"x" * RING_MIN) == b"x" * RING_MIN


def test_what_arrived_stays_as_it_was_when_its_place_is_used_again(pair: Pair) -> None:
    pair.open()
    first = pair.cross(b"1" * RING_MIN)
    pair.reader.settle()
    pair.hear_releases()
    second = pair.cross(memoryview(b"2" * RING_MIN).tobytes())

    assert (first, second) == (b"1" * RING_MIN, b"2" * RING_MIN)


def test_without_room_a_body_goes_the_other_way_until_places_come_back(pair: Pair) -> None:
    pair.open()
    half = SIZE // 2
    assert pair.cross(b"a" * half) == b"a" * half
    assert pair.cross(b"b" * half) == b"b" * half
    assert pair.writer.put(b"c" * half, half) is None

    assert pair.later.pass_time() == [SETTLE_S]
    assert pair.hear_releases() == 1
    assert pair.cross(b"c" * half) == b"c" * half


def test_what_is_owed_is_given_back_before_it_is_much(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    later, released = Later(), list[bytes]()
    writer = Lane(ends[0], RING_BYTES, later, lambda _: None)
    reader = Lane(ends[1], RING_BYTES, later, released.append)
    both = Pair(writer, reader, later, released)
    both.open()

    for _ in range(OWED_MAX // SIZE - 1):
        both.cross(b"x" * SIZE)
    assert released == []
    both.cross(b"x" * SIZE)
    assert len(released) == 1
    assert both.hear_releases() == 1
    later.pass_time()  # nothing is owed any more, and nothing passed for a while
    assert released == []
    writer.close()
    reader.close()


def test_an_idle_lane_holds_no_memory(pair: Pair) -> None:
    pair.writer.want()
    number = int(pair.writer.offer().split()[0])
    watch = os.dup(number)
    pair.open()
    pair.cross(b"x" * SIZE)
    pair.reader.settle()
    assert pair.hear_releases() == 1
    pair.cross(b"y" * RING_MIN)
    pair.reader.settle()
    pair.hear_releases()

    assert os.fstat(watch).st_blocks * 512 == SIZE
    assert TRIM_S in pair.later.pass_time()  # it was used meanwhile
    assert os.fstat(watch).st_blocks * 512 == SIZE
    assert pair.later.pass_time() == [TRIM_S]
    assert os.fstat(watch).st_blocks == 0
    assert pair.cross(b"z" * RING_MIN) == b"z" * RING_MIN
    os.close(watch)


def test_memory_with_a_body_in_it_is_left_alone(pair: Pair) -> None:
    pair.open()
    pair.cross(b"x" * SIZE)
    pair.reader.settle()
    pair.hear_releases()
    place = pair.writer.put(b"y" * RING_MIN, RING_MIN)
    assert place is not None

    pair.later.pass_time()
    assert pair.reader.fetch(place, RING_MIN) == b"y" * RING_MIN


def test_closing_ends_timers_and_takes_no_body_any_more(pair: Pair) -> None:
    pair.open()
    pair.cross(b"x" * SIZE)
    pair.reader.settle()
    pair.hear_releases()
    pair.cross(b"x" * RING_MIN)
    pair.writer.close()
    pair.reader.close()

    assert pair.later.due == []
    assert pair.writer.put(b"x" * RING_MIN, RING_MIN) is None
    with pytest.raises(WireError, match="never offered"):
        pair.writer.released(b"")
    with pytest.raises(WireError, match="never opened"):
        pair.reader.fetch(Place(0, 1, 1).packed(), 1)


u64s = st.integers(0, 2**64 - 1) | st.integers(0, 2 * SIZE)


@given(
    st.lists(st.builds(Place, u64s, u64s, st.integers(0, 3)), min_size=1, max_size=4),
    st.integers(0, SIZE),
)
def test_a_lying_writer_is_refused_or_gets_bytes_from_inside(
    places: list[Place], body_max: int
) -> None:
    ours, theirs = socket.socketpair()
    lane = Lane(theirs, SIZE, Later(), lambda _: None)
    memory = Offered(SIZE)
    lane.hear(memory.text)
    try:
        for place in places:
            assert len(lane.fetch(place.packed(), body_max)) == place.size <= body_max
    except WireError:
        pass
    finally:
        lane.close()
        memory.close()
        ours.close()
        theirs.close()


# -- what may be opened ----------------------------------------------------------------------------


def opened(text: str, ends: tuple[socket.socket, socket.socket]) -> bool:
    memory = open_offered(text, ends[0])
    if memory is not None:
        with pytest.raises(TypeError, match="readonly"):
            memory[0:1] = b"x"
        memory.close()
    return memory is not None


def test_memory_is_opened_when_it_is_what_its_offer_says(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    memory = Offered(SIZE)
    number, inode, size = memory.text.split()

    assert opened(memory.text, ends)
    assert opened(f"{memory.text} and more from a newer release", ends)
    for lie in (
        "", "nonsense", f"{number} {inode}", f"{number} {inode} {int(size) + 4096}", f"{number} {inode} 0",
        f"{number} {int(inode) + 1} {size}", f"-1 {inode} {size}", f"{number} {inode} {SHARED_MAX + 4096}",
        f"999999 {inode} {size}", f"{'9' * 400} {inode} {size}", f"../1 {inode} {size}", f"² {inode} {size}",
    ):  # fmt: skip
        assert not opened(lie, ends), lie
    memory.close()
    assert not opened(memory.text, ends)


def offer_of(fd: int) -> str:
    return f"{fd} {os.fstat(fd).st_ino} {os.fstat(fd).st_size}"


def test_a_file_and_memory_that_could_shrink_are_not_opened(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    loose = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.ftruncate(loose, SIZE)
    assert not opened(offer_of(loose), ends)
    os.close(loose)

    with tempfile.TemporaryFile() as file:
        file.truncate(SIZE)
        assert not opened(offer_of(file.fileno()), ends)


def test_a_pipe_is_not_waited_for(ends: tuple[socket.socket, socket.socket]) -> None:
    out, into = os.pipe()
    assert not opened(f"{out} {os.fstat(out).st_ino} {SIZE}", ends)
    os.close(out)
    os.close(into)


def test_the_size_of_what_is_offered_cannot_change() -> None:
    memory = Offered(SIZE)
    number = int(memory.text.split()[0])

    for size in (0, SIZE - 1, SIZE + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(number, size)
    assert os.fstat(number).st_blocks == 0  # address space alone
    memory.close()


def test_a_process_that_gets_no_memory_goes_on_without(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    impossible = Lane(ends[0], -1, Later(), lambda _: None)
    impossible.want()

    assert impossible.offer() == ""
    assert impossible.offer() == ""


def test_the_descriptor_is_let_go_once_the_peer_has_its_own(pair: Pair) -> None:
    pair.writer.want()
    number = pair.writer.offer().split()[0]
    kind = Path(f"/proc/self/fd/{number}").readlink()
    assert str(kind).startswith("/memfd:glowplug")

    before = len(list(Path("/proc/self/fd").iterdir()))
    pair.open()
    assert (
        len(list(Path("/proc/self/fd").iterdir())) == before
    )  # one less of the writer's, one of the reader's


def test_the_allocator_is_told_once() -> None:
    assert keep_freed() is keep_freed()
