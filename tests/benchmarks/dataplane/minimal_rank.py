"""What answers the gateway when only the gateway is measured? A rank that echoes frames and runs nobody's code.

`python minimal_rank.py SOCKET VERSION REPLICA`: `/echo` gives the body back, `/sse` streams events without a pause.
"""

import asyncio
import sys
from pathlib import Path

from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.messages import Hello, Response, Trailer, pack, unpack_infer
from glowplug.wire.transport import FrameProtocol, listen

PERMITS = 256
CHUNKS = 100
CHUNK = b'event: output\ndata: "token"\n\n'  # as long as those of the comparison with the peers: 27 to 29 bytes

TIMINGS = (("decode", 5_000), ("run", 20_000), ("encode", 5_000))
JSON = pack(Response(200, (("content-type", "application/json"),), "yes", TIMINGS))
EVENTS = pack(Response(200, (("content-type", "text/event-stream"),)))
TRAILER = pack(Trailer("yes", TIMINGS))


class MinimalRank(FrameProtocol):
    """The rank's end of a data link."""

    replica = "r1"
    version = ""

    def connected(self) -> None:
        hello = Hello("replica", self.replica, permits=PERMITS, version=self.version, state="ready")
        self.send(Kind.HELLO, 0, pack(hello))

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if kind != Kind.INFER:
            return
        if unpack_infer(meta).path != "/sse":
            self.send(Kind.RESPONSE, rid, JSON, body, FLAG_END)
            return
        self.send(Kind.RESPONSE, rid, EVENTS)
        for _ in range(CHUNKS):
            self.send(Kind.CHUNK, rid, b"", CHUNK)
        self.send(Kind.END, rid, TRAILER, b"", FLAG_END)


async def main(path: str, version: str, replica: str) -> None:
    """Listen until killed."""
    MinimalRank.version, MinimalRank.replica = version, replica
    await listen(Path(path), MinimalRank)
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(*sys.argv[1:]))
