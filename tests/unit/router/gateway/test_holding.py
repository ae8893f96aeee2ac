import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import SECOND
from glowplug.events import SseReader
from glowplug_router.gateway.calls import Call
from glowplug_router.gateway.holding import SAY_EVERY_NS, Holding, form_of, left_ns
from glowplug_router.gateway.routes import Lane
from glowplug_router.gateway.tally import Tally
from glowplug_router.records.published import RouteEndpoint, RouteVersion, Snapshot

LAST = (
    ("fetch", 10),
    ("env", 20),
    ("fork", 30),
    ("import", 40),
    ("load", 50),
    ("warm", 60),
    ("check", 1),
)
WHOLE = sum(ns for _, ns in LAST)


@pytest.mark.parametrize(
    ("phase", "in_phase_ns", "left"),
    [
        ("queued", 10_000, WHOLE),  # nothing of the start has begun, however long it waits
        ("capacity", 10_000, WHOLE),
        ("launch", 0, WHOLE),
        ("fetch", 4, WHOLE - 4),
        (
            "fetch",
            400,
            WHOLE - 10,
        ),  # slower than the last time: what comes after it is still to come
        ("env", 0, WHOLE - 10),
        ("fork", 0, 30 + 40 + 50 + 60 + 1),
        ("load", 50, 61),
        ("load", 49, 62),
        ("warm", 60, 1),
        ("warm", 62, 0),
        ("of a later release", 0, WHOLE),
    ],
)
def test_what_is_left_of_a_start_is_judged_by_the_last_one(
    phase: str, in_phase_ns: int, left: int
) -> None:
    assert left_ns(LAST, phase, in_phase_ns) == left


def test_nothing_is_foretold_of_a_first_start() -> None:
    assert left_ns((), "load", 0) is None


@given(
    st.sampled_from(["queued", "launch", "fetch", "env", "fork", "load", "warm"]),
    st.integers(0, 10**12),
    st.lists(st.tuples(st.sampled_from([name for name, _ in LAST]), st.integers(0, 10**12))),
)
def test_the_time_left_is_never_negative_nor_more_than_the_whole(
    phase: str, in_phase_ns: int, learned: list[tuple[str, int]]
) -> None:
    left = left_ns(tuple(learned), phase, in_phase_ns)

    assert left is None or 0 <= left <= sum(ns for _, ns in learned)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("text/event-stream", "text/event-stream"),
        ("application/json, text/event-stream;q=0.5", "text/event-stream"),
        ("Application/X-NDJSON", "application/x-ndjson"),
        ("application/x-ndjson, text/event-stream", "application/x-ndjson"),
        ("application/json", ""),
        ("*/*", ""),
        ("", ""),
        ("application/octet-stream, text/event-stream", ""),
    ],
)
def test_a_caller_is_told_in_the_events_it_reads_and_only_then(accept: str, form: str) -> None:
    assert form_of(accept) == form


# -- who is told what, and when ------------------------------------------------------------------------


class Exchange:
    """A connection that keeps what is written."""

    def __init__(self) -> None:
        self.kind = ""
        self.events: list[dict[str, Any]] = []
        self._reader = SseReader()

    def open_stream(self, call: Call, kind: str) -> None:
        self.kind = kind

    def say(self, piece: bytes) -> None:
        self.events += [json.loads(event.data) for event in self._reader.feed(piece)]

    @property
    def phases(self) -> list[str]:
        return [event["phase"] for event in self.events]


def version(starting: str = "") -> RouteVersion:
    return RouteVersion(
        number=1, permille=1000, replicas=(), permits=1, max_replicas=1, hold=9, queue_ns=1, start_ns=1, run_ns=1,
        starting=starting,
    )  # fmt: skip  # one record


def table(starting: str = "") -> Snapshot:
    route = RouteEndpoint(
        app="app", endpoint="echo", auth="key", versions=(version(starting),), stable=1
    )
    return Snapshot(number=1, epoch=1, endpoints=(route,))


def waiting(holding: Holding, exchange: Exchange, now_ns: int = 0) -> Call:
    lane = Lane("app/echo", version(), Tally("app/echo@1"))
    call = Call(
        exchange, lane, "/echo", request_id="r", body=b"", deadline_ns=9, tenant="t", klass="standard"  # type: ignore[arg-type]  # a fake
    )  # fmt: skip  # one call
    holding.begin(exchange, call, "text/event-stream", now_ns)  # type: ignore[arg-type]  # a fake
    return call


def test_a_change_is_told_at_once_and_no_change_every_other_second() -> None:
    holding, exchange = Holding(), Exchange()
    holding.learn(table(), 0)
    call = waiting(holding, exchange)
    holding.tick([call], SAY_EVERY_NS - 1)
    assert exchange.phases == ["queued"]
    holding.tick([call], SAY_EVERY_NS)
    assert exchange.phases == ["queued", "queued"]
    holding.learn(table("load"), SAY_EVERY_NS + 1)
    holding.tick([call], SAY_EVERY_NS + 1)
    assert exchange.phases == ["queued", "queued", "load"]
    assert [event.get("position") for event in exchange.events] == [None, 1, 1]


def test_the_place_is_the_one_among_those_who_wait_for_the_same_version() -> None:
    holding = Holding()
    exchanges = [Exchange() for _ in range(3)]
    calls = [waiting(holding, exchange) for exchange in exchanges]
    calls[0].over = True  # its caller has gone
    holding.tick(calls, 5 * SECOND)

    assert [exchange.events[-1].get("position") for exchange in exchanges] == [None, 1, 2]
    assert len(holding) == 2


def test_whoever_reads_no_events_is_told_nothing() -> None:
    holding, exchange = Holding(), Exchange()
    call = waiting(holding, exchange)
    holding.forget(call)
    holding.begin(exchange, call, "application/json", 0)  # type: ignore[arg-type]  # a fake

    assert len(exchange.events) == 1
    assert len(holding) == 0
