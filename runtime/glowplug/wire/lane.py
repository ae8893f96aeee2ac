"""How do the large bodies of one connection get past its socket? Both directions of its shared memory.

Each side writes into memory of its own and reads from the peer's. Ours is made when the first large body is to be sent,
which itself still goes through the socket, as do all until the peer says that it has opened it: links that carry none
cost nothing, and no side waits for the other. A body is copied out at once when its frame arrives, so what user code
gets never changes, and its place is free again a moment later. When the connection goes, so does all of it.
"""

import mmap
import socket
from collections.abc import Callable
from typing import Protocol

from glowplug.errors import WireError
from glowplug.wire.heap import keep_freed
from glowplug.wire.memfd import Offered, open_offered
from glowplug.wire.ring import RING_BYTES, RING_MIN, Arrivals, Extents

SETTLE_S = 0.005  # places are given back with the next frame that leaves: alone they cost both sides a wake-up
OWED_MAX = RING_BYTES // 8  # bytes of the peer's memory that may wait so
TRIM_S = 1.0  # memory that nothing passed through for this long goes back to the system


class Timer(Protocol):
    """What `Later` returns."""

    def cancel(self) -> None:
        """Do not run it."""


Later = Callable[[float, Callable[[], None]], Timer]  # a loop's call_later


class Lane:
    """Shared memory beside one Unix socket.

    Args:
        sock: The socket: whose peer is it?
        size: Of our memory.
        later: The loop's `call_later`.
        release: Sends a RELEASE with this meta.
    """

    def __init__(
        self, sock: socket.socket, size: int, later: Later, release: Callable[[bytes], None]
    ) -> None:
        self._sock = sock
        self._size = size
        self._later = later
        self._release = release
        self._is_wanted = False  # a body came by that our memory would have carried
        self._ours: Offered | None = None
        self._extents = Extents(size)
        self._is_open = False  # the peer reads what we write
        self._trimming: Timer | None = None
        self._heard = ""
        self._theirs: mmap.mmap | None = None
        self._arrivals = Arrivals(0)
        self._owed = bytearray()  # places to give back to the peer
        self._owed_bytes = 0
        self._settling: Timer | None = None

    # -- writing -------------------------------------------------------------------------------------

    def want(self) -> bool:
        """Note that there are large bodies to send; return whether that is news, and worth a HELLO."""
        news = not self._is_wanted
        self._is_wanted = True
        return news

    def offer(self) -> str:
        """Return what HELLO says of our memory; it is made once it is wanted."""
        if self._is_wanted and self._ours is None and self._size:
            try:
                self._ours = Offered(self._size)
            except OSError:
                self._size = 0  # no descriptors or no memory left: no reason to fail a call
        return "" if self._ours is None else self._ours.text

    def put(self, body: bytes | bytearray | memoryview, size: int) -> bytes | None:
        """Copy a body in and return its place, or None when it has to go through the socket."""
        if not self._is_open or self._ours is None:
            return None
        place = self._extents.take(size)
        if place is None:
            return None
        self._ours.memory[place.offset : place.offset + size] = body
        return place.packed()

    def released(self, meta: bytes) -> None:
        """Take back what the peer has copied; without places it says that it has opened our memory.

        Raises:
            WireError: It gives back what it does not have.
        """
        if self._ours is None:
            raise WireError("the peer gives back memory that it was never offered")
        if not meta:
            self._is_open = True
            self._ours.opened()
            return
        self._extents.free(meta)
        if self._extents.is_idle and self._trimming is None:
            self._watch()

    def _watch(self) -> None:
        uses = self._extents.generation
        self._trimming = self._later(TRIM_S, lambda: self._trim(uses))

    def _trim(self, uses: int) -> None:
        """Hold no memory until the next body."""
        self._trimming = None
        if self._ours is None or not self._extents.is_idle:
            return  # the next RELEASE comes back to it
        if self._extents.generation == uses:
            self._ours.trim(self._extents.reach)
            self._extents.reach = 0
        else:
            self._watch()

    # -- reading -------------------------------------------------------------------------------------

    def hear(self, offer: str) -> None:
        """Take what the peer's HELLO offers, once, and tell it when that is open."""
        if not offer or self._heard:
            return
        self._heard = offer
        self._theirs = open_offered(offer, self._sock)
        if self._theirs is not None:
            keep_freed()
            self._arrivals = Arrivals(len(self._theirs))
            self._release(b"")

    def fetch(self, data: bytes, body_max: int) -> bytes:
        """Copy a body out and see to it that its place is given back.

        Raises:
            WireError: The place is none that the peer can have given.
        """
        if self._theirs is None:
            raise WireError("a body in shared memory that was never opened")
        place = self._arrivals.check(data, body_max)
        body = self._theirs[place.offset : place.offset + place.size]
        self._owed += place.freed()
        self._owed_bytes += max(place.size, RING_MIN)
        if self._owed_bytes >= OWED_MAX:
            self._give_back()
        elif self._settling is None:
            self._settling = self._later(SETTLE_S, self._settle_late)
        return body

    def settle(self) -> None:
        """Give back what is owed; what was sent until now leaves this very moment."""
        self._give_back()
        self._arrivals.given_back()

    def _give_back(self) -> None:
        if self._owed:
            meta = bytes(self._owed)
            self._owed.clear()
            self._owed_bytes = 0
            self._release(meta)

    def _settle_late(self) -> None:
        self._settling = None
        self._give_back()

    def close(self) -> None:
        """Let go of both memories."""
        for timer in (self._trimming, self._settling):
            if timer is not None:
                timer.cancel()
        if self._ours is not None:
            self._ours.close()
        if self._theirs is not None:
            self._theirs.close()
        self._ours = self._theirs = None
        self._is_open = False
