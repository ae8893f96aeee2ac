"""Can any bytes from a peer do more than end their connection? For atheris, which looks for new paths by itself.

`make fuzz` runs it for two minutes; `python tests/fuzz/fuzz_frames.py --help` lists what libFuzzer takes. The same
checks run on examples of hypothesis in every test run (test_frames.py, test_ring.py, test_lane.py); this one goes on
searching where those stop. The first byte of an input says how the rest is cut. It starts from the golden frames.
"""

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["glowplug.wire"]):
    from glowplug.errors import WireError
    from glowplug.wire import frames
    from glowplug.wire.frames import HEADER_BYTES, META_MAX, Decoder, Kind
    from glowplug.wire.messages import (
        MALFORMED,
        unpack_command,
        unpack_failure,
        unpack_hello,
        unpack_infer,
        unpack_response,
        unpack_trailer,
    )
    from glowplug.wire.ring import RING_MIN, Arrivals, Extents

# Short inputs are searched fastest: bodies count as large early, so that these reach every way a body can take.
frames.DIRECT_MIN = 64
frames.SEGMENT_BYTES = 96
BODY_MAX = 1024 * 1024
GOLDEN = Path(__file__).parents[1] / "golden" / "frames.json"
SHARED_BYTES = 16 * RING_MIN
UNPACK = {
    Kind.HELLO: unpack_hello,
    Kind.INFER: unpack_infer,
    Kind.RESPONSE: unpack_response,
    Kind.END: unpack_trailer,
    Kind.ERROR: unpack_failure,
    Kind.LOAD: unpack_command,
    Kind.PING: unpack_command,
}
Seen = tuple[list[tuple[int, int, int, bytes, bytes]], bool]


class Peer:
    """What stands at the other end: everything that looks at a frame before the code of a call does."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, int, int, bytes, bytes]] = []
        self.decoder = Decoder(self.take, BODY_MAX, self.beside)
        self._arrivals = Arrivals(SHARED_BYTES)
        self._extents = Extents(SHARED_BYTES)
        for size in (1, RING_MIN, 3 * RING_MIN):
            self._extents.take(size)

    def take(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        self.frames.append((kind, flags, rid, meta, body))
        unpack = UNPACK.get(kind)  # type: ignore[call-overload]  # a kind may be any number
        if unpack is not None:
            try:
                unpack(meta)
            except MALFORMED:
                pass

    def beside(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if kind == Kind.RELEASE:
            self._extents.free(meta)
        else:
            place = self._arrivals.check(body, BODY_MAX)
            assert place.offset + place.size <= SHARED_BYTES, place
            assert place.size <= BODY_MAX, place
            if place.generation % 2:
                self._arrivals.given_back()
        self.take(kind, flags, rid, meta, body)


def read(data: bytes, cut: int, *, direct: bool) -> Seen:
    """Return what comes of these bytes when they arrive in pieces."""
    peer = Peer()
    decoder = peer.decoder
    try:
        for at in range(0, len(data), cut):
            piece = data[at : at + cut]
            while direct and decoder.is_large and piece:
                room = decoder.room()
                size = min(len(room), len(piece))
                room[:size] = piece[:size]
                decoder.filled(size)
                piece = piece[size:]
            decoder.feed(piece)
            held_max = min(len(data), HEADER_BYTES + META_MAX + BODY_MAX) + frames.SEGMENT_BYTES
            assert decoder.held_bytes <= held_max, decoder.held_bytes
    except WireError:
        return peer.frames, True
    return peer.frames, False


def one(data: bytes) -> None:
    """Try one input: however it is cut, the same comes of it, and nothing but a WireError is raised."""
    if not data:
        return
    cut, rest = data[0] + 1, data[1:]
    whole = read(rest, len(rest) + 1, direct=False)
    assert read(rest, cut, direct=False) == whole
    assert read(rest, cut, direct=True) == whole


def seeds(folder: Path) -> None:
    """Write inputs to start from: the golden frames, one by one and all in a row."""
    known = json.loads(GOLDEN.read_bytes())
    data = [bytes.fromhex(row["frame"]) for row in known["frames"] + known["refused"]]
    for number, frame in enumerate([*data, b"".join(data)]):
        (folder / str(number)).write_bytes(b"\x10" + frame)


if __name__ == "__main__":
    # libFuzzer ends the process itself: what it found interesting stays in the folder for the next run.
    corpus = Path(tempfile.gettempdir()) / "glowplug-fuzz-frames"
    corpus.mkdir(exist_ok=True)
    seeds(corpus)
    atheris.Setup([*sys.argv, str(corpus)], one)
    atheris.Fuzz()
