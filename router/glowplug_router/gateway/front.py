"""What do all connections and calls of one gateway share?"""

import asyncio
import re
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING

from glowplug.clock import MILLISECOND, SECOND, Clock
from glowplug_router.gateway.answers import Heads
from glowplug_router.gateway.engine import Engine
from glowplug_router.gateway.holding import Holding
from glowplug_router.gateway.hosts import HostCheck
from glowplug_router.gateway.keys import Keyring
from glowplug_router.gateway.metrics import Metrics
from glowplug_router.gateway.routes import Lane, Table
from glowplug_router.gateway.settings import GatewaySettings
from glowplug_router.signatures import Signer

if TYPE_CHECKING:
    from random import Random

_VARIANT = "8"  # begins with the two bits that every UUID of this kind has there
IDS_AT_ONCE = 64  # cheaper together than one by one
_SANE_ID = re.compile(rb"[A-Za-z0-9._~:/+=-]{1,128}")


class Held:
    """Bytes of request bodies in this process, with a bound."""

    __slots__ = ("bytes", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0

    def take(self, size: int) -> bool:
        """Count `size` more bytes; False, and nothing counted, when that is over the bound."""
        if self.bytes + size > self.limit:
            return False
        self.bytes += size
        return True

    def release(self, size: int) -> None:
        """Count them off again."""
        self.bytes -= size


class Front:
    """One gateway, without its sockets."""

    def __init__(
        self,
        settings: GatewaySettings,
        clock: Clock,
        chance: "Random",
        engine: Engine,
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.chance = chance
        self.engine = engine
        self.metrics = metrics
        self.hosts = HostCheck(settings.hosts, settings.origins)
        self.keys = Keyring(clock)
        self.signer: Signer | None = None  # of URLs and references; comes with the first snapshot
        self.table = Table(None, engine.tallies.of)
        self.held = Held(settings.held_max_bytes)
        self.heads = Heads()
        self.holding = Holding()
        self.stopping = False
        self._turn: list[Callable[[], None]] = []  # what waits for the end of this turn of the loop
        self.coarse_ns = (
            0  # the time of the last pulse: good enough for deadlines of seconds, and free to read
        )
        self.date = b""
        self._id_head = ""
        self._ids: list[str] = []  # made, and not given yet
        self.pulse()
        engine.redraw = self._redraw

    def _redraw(self, name: str) -> Lane | None:
        target = self.table.targets.get(name)
        return None if target is None or target.stopped else target.draw(self.chance)

    def soon(self, action: Callable[[], None]) -> None:
        """Do something at the end of this turn of the loop: one handle of the loop's for all connections."""
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._turn.append(action)

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, []
        for action in turn:
            action()

    def pulse(self) -> None:
        """Refresh what is kept because reading it for every call would cost more."""
        self.coarse_ns = self.clock.now_ns()
        self._ids.clear()
        self._id_head = (
            f"{self.clock.wall_ns() // MILLISECOND:012x}7{self.chance.getrandbits(12):03x}"
        )
        self.date = (
            b"date: " + formatdate(self.clock.wall_ns() // SECOND, usegmt=True).encode() + b"\r\n"
        )

    def new_id(self) -> str:
        """Return a request id: a UUID of version 7 without its dashes, so sorted by time, to the pulse."""
        if not self._ids:
            digits = self.chance.randbytes(8 * IDS_AT_ONCE).hex()
            head = self._id_head + _VARIANT
            self._ids = [head + digits[at : at + 15] for at in range(0, len(digits), 16)]
        return self._ids.pop()

    def request_id(self, given: bytes | None) -> str:
        """Return the caller's id if it is sane and no other call in flight has it, else a new one."""
        if given is not None and _SANE_ID.fullmatch(given):
            text = given.decode("ascii")
            # Ids name parents of nested calls: two calls under one id could act for each other.
            if text not in self.engine.by_request:
                return text
        return self.new_id()
