"""What does a gateway write down of its calls, and what never?"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from glowplug.clock import MILLISECOND, SECOND, ManualClock
from glowplug.wire.messages import Failure, Response, Trailer
from glowplug_router.dispatch import VersionSet
from glowplug_router.gateway import recording
from glowplug_router.gateway.calls import Call
from glowplug_router.gateway.problems import Trouble
from glowplug_router.gateway.recording import RecordingEngine, Traffic
from glowplug_router.gateway.reporter import Reporter
from glowplug_router.gateway.routes import Lane
from glowplug_router.gateway.tally import Tallies
from glowplug_router.records.published import RouteVersion

ROW: tuple[Any, ...] = (0, "a/e", "standard", "ann", "", 0, 10, 0, SECOND, 0, 200, 0)


class Caller:
    """Whoever waits; it takes whatever comes."""

    def head(self, call: Call, response: Response, body: bytes, *, final: bool) -> None: ...

    def chunk(self, call: Call, body: bytes) -> None: ...

    def end(self, call: Call, trailer: Trailer) -> None: ...

    def fail(self, call: Call, trouble: Trouble) -> None: ...


class Link:
    """A replica that takes calls and waits to be told."""

    replica = "r"
    phases: tuple[tuple[str, int], ...] = ()

    def carry(self, call: Call, timeout_ns: int) -> None: ...

    def cancel(self, call: Call) -> None: ...

    def credit(self, call: Call, size: int) -> None: ...


class Rig:
    """An engine that records, one replica with room for one call, and no sockets."""

    def __init__(self, folder: Path, permits: int = 1) -> None:
        self.clock, tallies = ManualClock(start_ns=SECOND), Tallies()
        self.path = folder / "kept" / "calls.jsonl"
        self.traffic = Traffic(self.path, self.clock)
        self.engine = RecordingEngine(self.clock, tallies, Reporter("g", tallies), self.traffic)
        version = RouteVersion(
            number=1, permille=1000, replicas=(), permits=permits, max_replicas=1, hold=9, queue_ns=1, start_ns=1,
            run_ns=60 * SECOND,
        )  # fmt: skip  # a line each would hide the rig
        self.lane = Lane("a/e", version, tallies.of("a/e@1"))
        self.engine.feed(VersionSet("a/e@1", 9, 10**12, 10**12, 9), SECOND)
        self.engine.links["r"] = Link()

    def ready(self) -> None:
        self.engine.replica_ready(Link(), "a/e@1", 1)

    def call(self, **more: Any) -> Call:
        known: dict[str, Any] = {
            "body": b"secret body", "deadline_ns": 10**12, "tenant": "ann", "klass": "interactive",
        }  # fmt: skip  # a line each would hide the rig
        call = Call(Caller(), self.lane, "/e", f"id{self.engine._serial}", **(known | more))
        self.engine.arrive(call)
        return call

    def end(self, call: Call, batch: int = 0, run_ns: int = 5 * MILLISECOND) -> None:
        self.engine.whole(call, Response(timings=(("run", run_ns),), batch=batch), b"")

    def rows(self) -> list[dict[str, Any]]:
        self.traffic.close()
        return [json.loads(line) for line in self.path.read_text().splitlines()]


async def test_a_call_is_a_line_with_when_whom_and_how_long(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    first = rig.call(affinity="session", deadline_ns=3 * SECOND, has_asked=True)
    rig.clock.advance(40 * MILLISECOND)
    rig.ready()
    rig.end(first, batch=3)
    row, *others = rig.rows()

    assert not others
    assert row["at_ms"] == pytest.approx(rig.clock.wall_ns() / 1e6 - 40)
    assert (row["endpoint"], row["priority"], row["service_ms"]) == ("a/e", "interactive", 5.0)
    assert (row["wait_ms"], row["deadline_ms"], row["size_bytes"]) == (40.0, 2000.0, 11)
    assert (row["batch"], row["cold"]) == (3, True)


async def test_nothing_of_a_caller_is_in_a_line(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.ready()
    for tenant in ("ann", "bob", "ann"):
        rig.end(rig.call(tenant=tenant, affinity=f"{tenant}s-session"))
    rows = rig.rows()
    text = rig.path.read_text()

    assert not any(word in text for word in ("ann", "bob", "session", "secret"))
    assert rows[0]["tenant"] == rows[2]["tenant"] != rows[1]["tenant"]
    assert rows[0]["affinity"] == rows[2]["affinity"] != rows[0]["tenant"]
    assert rig.path.stat().st_mode & 0o077 == 0


async def test_a_call_that_did_not_run_has_no_time_and_takes_none_from_others(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    rig.ready()
    runs, waits, gone = rig.call(), rig.call(), rig.call()
    rig.engine.cancel(gone)
    rig.end(runs)
    rig.engine.fail(waits, Failure(code="bad_request", executed="no"), b"")
    gone_row, ran_row, failed_row = rig.rows()

    assert (gone_row.get("service_ms"), ran_row["service_ms"]) == (None, 5.0)
    assert (gone_row["status"], failed_row.get("service_ms")) == (499, None)


async def test_a_call_whose_caller_left_gives_its_time_to_nobody(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.ready()
    left, waits = rig.call(), rig.call(deadline_ns=2 * SECOND, has_asked=True)
    rig.engine.cancel(left)
    rig.clock.advance(5 * SECOND)
    rig.end(left, batch=2)  # now the other one is refused: it waited too long
    rows = rig.rows()

    assert waits.over
    assert [row.get("service_ms") for row in rows] == [None, None]
    assert not any("batch" in row for row in rows)


async def test_a_stream_took_as_long_as_it_was_open(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.ready()
    call = rig.call()
    rig.engine.begin(call, Response(), b"")
    rig.clock.advance(SECOND)
    rig.engine.end(call, Trailer())

    assert rig.rows()[0]["service_ms"] == 1000.0


# -- the file


def written(traffic: Traffic, path: Path) -> list[dict[str, Any]]:
    traffic.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_that_is_full_becomes_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    traffic = Traffic(path, ManualClock(), limit_bytes=20_000)
    for number in range(400):
        traffic.note((number * MILLISECOND, *ROW[1:]))
    newest = written(traffic, path)
    before = [json.loads(line) for line in (tmp_path / "calls.jsonl.1").read_text().splitlines()]

    assert path.stat().st_size <= 20_000
    assert newest[0]["at_ms"] == before[-1]["at_ms"] + 1
    assert newest[0]["run"] == before[0]["run"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["calls.jsonl", "calls.jsonl.1"]


def test_what_another_router_recorded_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    (first,) = _recorded_once(path)
    (second,) = _recorded_once(path)
    (before,) = [json.loads(line) for line in (tmp_path / "calls.jsonl.1").read_text().splitlines()]

    assert before == first
    assert second["run"] != first["run"]


def _recorded_once(path: Path) -> list[dict[str, Any]]:
    traffic = Traffic(path, ManualClock())
    traffic.note(ROW)
    return written(traffic, path)


def test_calls_beyond_the_buffer_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    traffic = Traffic(path, ManualClock())
    for _ in range(recording.BUFFER_MAX + 7):
        traffic.note(ROW)
    rows = written(traffic, path)

    assert (len(rows), traffic.dropped) == (recording.BUFFER_MAX, 7)
    assert rows[0]["dropped"] == 7
    assert not any("dropped" in row for row in rows[1:])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_disk_that_is_full_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    traffic = Traffic(path, ManualClock())
    traffic._file.close()
    traffic._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115  # the recording closes it
    for _ in range(3):
        traffic.note(ROW)
    traffic.close()
    traffic.note(ROW)

    assert traffic.dropped == 4


async def test_what_came_is_written_while_the_gateway_runs(tmp_path: Path) -> None:
    path, clock = tmp_path / "calls.jsonl", ManualClock()
    traffic = Traffic(path, clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(traffic.run, clock)
        for _ in range(3000):
            traffic.note(ROW)
        await checkpoint()
        clock.advance(recording.FLUSH_EVERY_NS)
        await _until(lambda: path.read_bytes().count(b"\n") == 3000)
        tasks.cancel_scope.cancel()
    traffic.close()


async def _until(claim: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not claim():
            await checkpoint()
