"""What does a caller that reads events hear while its call waits for a start, and after it?"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from glowplug.clock import MILLISECOND, SECOND
from glowplug.codec import problem
from glowplug.events import SseReader
from glowplug.wire.messages import Infer
from glowplug_router.gateway.settings import GatewaySettings
from system.gateway_fakes import Handler, RankLink, echo
from system.gateway_rig import Client, Rig, endpoint, gateway, request, until, version

QUICK = GatewaySettings(pulse_ns=20 * MILLISECOND)
STARTED = (("fork", 10 * MILLISECOND), ("load", 2 * SECOND), ("warm", SECOND))
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

Told = list[tuple[str, Any]]


async def held(rig: Rig, accept: str = SSE, **headers: str) -> Client:
    """Send a call to an endpoint that has no replica, and read the head of the answer."""
    await rig.publish(endpoint("app/echo", version()))
    client = await rig.connect()
    client.send(request("POST", "/app/echo", b'{"a":1}', token=rig.token, Accept=accept, **headers))
    status, said = await client.head()
    assert (status, said["content-type"], said["glowplug-cold"]) == (200, accept, "1")
    assert said["cache-control"] == "no-cache"
    return client


async def pieces(client: Client) -> bytes:
    body, is_whole = await client._chunks()
    assert is_whole
    return body


def told(body: bytes) -> Told:
    return [(event.kind, json.loads(event.data)) for event in SseReader().feed(body)]


async def start(rig: Rig, handler: Handler = echo) -> None:
    rank = await rig.rank("r1", "app/echo@1", handler)
    await rig.publish(endpoint("app/echo", version(replicas=(rank.route,))))


async def test_the_phases_of_a_start_are_told_as_they_change_and_the_answer_follows(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path, QUICK) as rig:
        client = await held(rig)
        for phase in ("capacity", "launch", "fetch", "env", "fork", "load", "warm"):
            await rig.publish(endpoint("app/echo", version(starting=phase)))
        await start(rig)
        events = told(await pieces(client))

    phases = [data["phase"] for kind, data in events if kind == "status"]
    assert phases == ["queued", "capacity", "launch", "fetch", "env", "fork", "load", "warm", "run"]
    assert all(data["version"] == "v1" for kind, data in events if kind == "status")
    assert events[0][1]["eta_s"] is None
    assert events[-3][1]["attempts"] == 1
    assert events[-3][1]["timings_ms"].keys() >= {"queue", "run"}
    assert events[-3][1]["whole"]
    assert events[-2:] == [("output", {"a": 1}), ("done", {})]


async def test_a_second_start_is_foretold_by_the_first(tmp_path: Path) -> None:
    async with gateway(tmp_path, QUICK) as rig:
        await start(rig)
        route = rig.ranks["r1"].route
        await rig.publish(
            endpoint("app/echo", version(replicas=(type(route)(**_fields(route), phases=STARTED),)))
        )
        await rig.publish(endpoint("app/echo", version()))
        await rig.ranks["r1"].was_left.wait()
        client = await held(rig)
        await rig.publish(endpoint("app/echo", version(starting="warm")))
        await start(rig)
        events = told(await pieces(client))

    assert events[0][1]["eta_s"] == 3.01
    assert 0.5 < events[1][1]["eta_s"] <= 1


def _fields(route: Any) -> dict[str, Any]:
    return {name: getattr(route, name) for name in ("id", "address", "permits", "draining")}


async def test_the_events_of_a_replica_go_through_as_they_are(tmp_path: Path) -> None:
    def streams(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        link.begin(rid)
        link.piece(rid, b"event: output\ndata: 1\n\n")
        link.piece(rid, b"event: done\ndata: {}\n\n")
        link.end(rid)

    async with gateway(tmp_path, QUICK) as rig:
        client = await held(rig)
        await start(rig, streams)
        events = told(await pieces(client))

    assert [kind for kind, _ in events] == ["status", "status", "output", "done"]


async def test_lines_of_json_are_told_the_same(tmp_path: Path) -> None:
    async with gateway(tmp_path, QUICK) as rig:
        client = await held(rig, NDJSON)
        await start(rig)
        lines = [json.loads(line) for line in (await pieces(client)).splitlines()]

    assert [line["event"] for line in lines] == ["status", "status", "output", "done"]
    assert lines[2]["data"] == {"a": 1}


async def test_bytes_are_carried_as_base64(tmp_path: Path) -> None:
    def paints(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        link.answer(rid, b"\x89PNG", (("content-type", "image/png"),))

    async with gateway(tmp_path, QUICK) as rig:
        client = await held(rig)
        await start(rig, paints)
        events = told(await pieces(client))

    assert base64.b64decode(events[-2][1]["base64"]) == b"\x89PNG"
    assert events[-3][1]["content_type"] == "image/png"


def raises(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
    link.fail(
        rid, "endpoint_error", "yes", "boom", problem("endpoint_error", "boom", executed="yes")
    )


def breaks(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
    link.abort()


@pytest.mark.parametrize(
    ("handler", "code", "executed"),
    [(raises, "endpoint_error", "yes"), (breaks, "replica_lost", "maybe")],
)
async def test_a_failure_after_the_wait_is_an_event_with_the_problem_document(
    tmp_path: Path, handler: Handler, code: str, executed: str
) -> None:
    async with gateway(tmp_path, QUICK) as rig:
        client = await held(rig)
        await start(rig, handler)
        events = told(await pieces(client))

    kind, document = events[-1]
    assert (kind, document["code"], document["executed"]) == ("error", code, executed)
    assert [kind for kind, _ in events].count("error") == 1


async def test_a_start_that_fails_is_an_event_and_the_call_never_ran(tmp_path: Path) -> None:
    async with gateway(tmp_path, QUICK) as rig:
        client = await held(rig)
        await rig.publish(endpoint("app/echo", version(failed="ImportError: no torch")))
        events = told(await pieces(client))

    kind, document = events[-1]
    assert (kind, document["code"], document["executed"]) == ("error", "start_failed", "no")
    assert "no torch" in document["detail"]


async def test_the_deadline_holds_for_a_call_that_is_told_of_its_start(tmp_path: Path) -> None:
    async with gateway(tmp_path, QUICK) as rig:
        client = await held(rig, Glowplug_Deadline="0.2")
        events = told(await pieces(client))

    assert (events[-1][0], events[-1][1]["code"]) == ("error", "deadline")


async def test_a_start_known_to_fail_and_a_caller_without_events_get_a_status_line(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path, QUICK) as rig:
        await rig.publish(endpoint("app/echo", version(failed="no")))
        assert (await rig.post(Accept=SSE)).status == 503
        await rig.publish(endpoint("app/echo", version()))
        late = await rig.post(Glowplug_Deadline="0.2", Accept="application/json")
        assert (late.status, late.code) == (504, "deadline")


async def test_those_who_wait_hear_their_place_and_that_time_passes(tmp_path: Path) -> None:
    async with gateway(tmp_path, QUICK) as rig:
        first = await held(rig)
        second = await rig.connect()
        second.send(request("POST", "/app/echo", b"{}", token=rig.token, Accept=SSE))
        await second.head()
        with_time = await second.reader.readuntil(b"position")
        await start(rig)
        events = told(await pieces(first))

    assert with_time.count(b"event: status") == 2  # at once, and once more though nothing changed
    places = [data["position"] for kind, data in events if "position" in data]
    assert set(places) == {1}


async def test_a_reader_that_leaves_while_it_waits_is_forgotten(tmp_path: Path) -> None:
    async with gateway(tmp_path, QUICK) as rig:
        client = await held(rig)
        await until(lambda: any(d.queued for r in rig.controller.reports for d in r.demands))
        await client.gone()
        await until(lambda: rig.controller.reports[-1].demands[-1].queued == 0)
        rank = await rig.rank("r1", "app/echo@1")
        await rig.publish(endpoint("app/echo", version(replicas=(rank.route,))))

        assert (await rig.post()).status == 200
        assert len(rank.calls) == 1
