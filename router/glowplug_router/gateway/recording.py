"""What traffic came? `up --record` keeps a line a call, which `glowplug simulate --from` replays under another scale.

Never in it: bodies, headers, keys, tenants' and sessions' names. Those are hashed with a key that lives as long as the
process: calls of one tenant are known as such, and nobody can tell whose they are.

What a call costs here is one tuple in a list. A task encodes them in slices that nobody notices (a thread would keep
the interpreter for longer) and has a thread write them. What comes faster than the disk takes it is dropped and
counted, and so is everything after a write has failed.
"""

import logging
from collections import deque
from functools import lru_cache
from hashlib import blake2b
from os import urandom
from pathlib import Path

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from glowplug.clock import MILLISECOND, SECOND, Clock
from glowplug.wire.messages import Response
from glowplug_router.gateway.calls import Call
from glowplug_router.gateway.engine import Engine
from glowplug_router.gateway.reporter import Reporter
from glowplug_router.gateway.tally import Tallies

CALLS_MAX_BYTES = 128 * 1024 * 1024  # of a file, about a million calls; then it becomes `<name>.1`
BUFFER_MAX = 50_000  # calls between two writes: more than a gateway takes in a second
FLUSH_EVERY_NS = SECOND // 2  # what a crash loses
SLICE = 64  # calls encoded in one turn of the loop: 0.2 ms
SLICES = 16  # in one write
_HASH_BYTES = 6
_HASHES_KEPT = 4096  # names whose hashes are remembered

_LOG = logging.getLogger("glowplug.gateway")
# Arrived, endpoint, class, tenant, affinity, asked for, body, waited, ran, calls in its batch, status, met no replica.
_Row = tuple[int, str, str, str, str, int, int, int, int, int, int, int]


class CallLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of a recording; `glowplug_router.simulation.traces.recorded` reads it back."""

    at_ms: float  # since 1970
    endpoint: str
    service_ms: float | None = None  # of the code, or of the batch it ran in; None = it did not run
    priority: str = "standard"
    tenant: str = ""  # hashed
    affinity: str = ""  # hashed
    deadline_ms: float | None = None  # where its caller set one
    size_bytes: int = 0
    wait_ms: float = 0.0
    status: int = 200
    cold: bool = False  # no replica was ready
    batch: int = 0  # calls in its batch; said by one call of each
    dropped: int = 0  # calls before it that are not in the recording
    run: str = ""  # which gateway process wrote it


class Traffic:
    """The recording of one gateway process."""

    def __init__(self, path: Path, clock: Clock, *, limit_bytes: int = CALLS_MAX_BYTES) -> None:
        """Begin a recording; one that is there already becomes `<name>.1`.

        Raises:
            OSError: It cannot be written.
        """
        self.dropped = 0
        self._path, self._limit_bytes = path, limit_bytes
        self._rows: deque[_Row] = deque()
        self._wall_ns = clock.wall_ns() - clock.now_ns()  # once: a clock that is set moves no call
        self._key, self._run = urandom(16), urandom(4).hex()
        self._hashed = lru_cache(_HASHES_KEPT)(self._hash)
        self._encode = msgspec.json.Encoder().encode
        self._told = 0  # dropped calls that the file knows of
        self._has_failed = False
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._begin()

    def note(self, row: _Row) -> None:
        """Keep a call that is over until it is written."""
        if len(self._rows) < BUFFER_MAX and not self._has_failed:
            self._rows.append(row)
        else:
            self.dropped += 1

    async def run(self, clock: Clock) -> None:
        """Write what has come, again and again, until cancelled."""
        while True:
            await clock.sleep(FLUSH_EVERY_NS / SECOND)
            while self._rows:
                lines = b""
                for _ in range(SLICES):
                    lines += self._lines()
                    await checkpoint()
                await anyio.to_thread.run_sync(self._write, lines)

    def close(self) -> None:
        """Write what is left, and say how much is missing. Not while `run` runs."""
        while self._rows:
            self._write(self._lines())
        self._file.close()
        if self.dropped:
            _LOG.warning("%d calls are not in the recording %s", self.dropped, self._path)

    def _begin(self) -> None:
        if self._path.exists():
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self._file = self._path.open("wb", buffering=0)
        self._path.chmod(0o600)
        self._left_bytes = self._limit_bytes

    def _write(self, lines: bytes) -> None:
        """Write whole lines. A disk that is full ends the recording, not the router."""
        if self._has_failed:
            self.dropped += lines.count(b"\n")
            return
        try:
            if len(lines) > self._left_bytes < self._limit_bytes:
                self._file.close()
                self._begin()
            self._file.write(lines)
            self._left_bytes -= len(lines)
        except OSError as error:
            self._has_failed = True
            self.dropped += lines.count(b"\n")
            _LOG.error("the recording %s ends: %s; calls go on", self._path, error)

    def _lines(self) -> bytes:
        """Return the next few calls as lines."""
        rows = self._rows
        return b"".join(self._line(rows.popleft()) for _ in range(min(SLICE, len(rows))))

    def _line(self, row: _Row) -> bytes:
        at_ns, endpoint, klass, tenant, affinity, asked_ns, size, *rest = row
        wait_ns, ran_ns, batch, status, cold = rest
        dropped, self._told = self.dropped - self._told, self.dropped
        line = CallLine(
            at_ms=round((self._wall_ns + at_ns) / MILLISECOND, 3),
            endpoint=endpoint,
            service_ms=round(ran_ns / MILLISECOND, 3) if ran_ns else None,
            priority=klass,
            tenant=self._hashed(tenant) if tenant else "",
            affinity=self._hashed(affinity) if affinity else "",
            deadline_ms=round(asked_ns / MILLISECOND, 3) if asked_ns else None,
            size_bytes=size,
            wait_ms=round(wait_ns / MILLISECOND, 3),
            status=status,
            cold=bool(cold),
            batch=batch,
            dropped=dropped,
            run=self._run,
        )
        return self._encode(line) + b"\n"

    def _hash(self, name: str) -> str:
        return blake2b(name.encode(), digest_size=_HASH_BYTES, key=self._key).hexdigest()


class RecordingEngine(Engine):
    """An engine that notes every call when it is over. Without a recording, nothing of this runs."""

    def __init__(
        self, clock: Clock, tallies: Tallies, reporter: Reporter, traffic: Traffic
    ) -> None:
        super().__init__(clock, tallies, reporter)
        self._traffic = traffic
        self._ran_ns = self._batch = 0  # of the call that is being ended

    def whole(self, call: Call, response: Response, body: bytes) -> None:
        """Take an answer that is all here, and how many calls ran with it."""
        if not call.over:
            self._batch = response.batch
        super().whole(call, response, body)

    def _done(
        self,
        call: Call,
        status: int,
        timings: tuple[tuple[str, int], ...],
        executed: str,
        *,
        is_fault: bool = False,
    ) -> None:
        if executed != "no" and not call.over:
            run_ns = [ns for name, ns in timings if name == "run"]
            here_ns = self._clock.now_ns() - call.sent_ns
            self._ran_ns = max(1, call.lane.within(run_ns[-1]) if run_ns else here_ns)
        super()._done(call, status, timings, executed, is_fault=is_fault)

    def _over(self, call: Call, status: int, now_ns: int) -> None:
        ran_ns, batch = self._ran_ns, self._batch
        self._ran_ns = self._batch = 0  # the next one to end may not have run
        began_ns = call.sent_ns or now_ns
        asked_ns = max(0, call.deadline_ns - call.arrived_ns) if call.has_asked else 0
        self._traffic.note(
            (call.arrived_ns, call.lane.name, call.klass, call.tenant, call.affinity, asked_ns, len(call.body),
             began_ns - call.arrived_ns, ran_ns, batch, status, int(call.cold))
        )  # fmt: skip  # a line each would hide the function
        super()._over(call, status, now_ns)
