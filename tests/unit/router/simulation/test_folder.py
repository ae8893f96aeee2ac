"""Is a router's own recording read as it was written, with the scale it met?"""

import json
from pathlib import Path
from typing import Any

import pytest

from glowplug.clock import MILLISECOND, SECOND
from glowplug.spec import Policy
from glowplug_router.plan import plan
from glowplug_router.recording import CALLS, FILE, Recorder
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Observed, Replica, ReplicaState, Served
from glowplug_router.simulation.replay import StartTime
from glowplug_router.simulation.traces.folder import recording
from glowplug_router.simulation.traces.models import Reading
from glowplug_router.simulation.traces.reading import TraceError


def call(at_ms: float, endpoint: str = "shop/greet", **more: Any) -> dict[str, Any]:
    return {"at_ms": at_ms, "endpoint": endpoint, "service_ms": 10, "run": "one"} | more


def written(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def served(key: str, permille: int = 1000, **more: Any) -> Served:
    return Served(key=key, policy=Policy(**more), permits=3, permille=permille, gpu_count=2)


def replica(state: ReplicaState, since_s: int, id: str = "r1") -> Replica:
    return Replica(id=id, version="shop/greet@1", node="n", state=state, since_ns=since_s * SECOND)


def test_calls_come_with_the_scale_they_met_and_the_starts_that_were_seen(tmp_path: Path) -> None:
    written(tmp_path / CALLS, call(1000), call(1500))
    recorder = Recorder(plan, tmp_path / FILE)
    old, new = served("shop/greet@1", 0, min=1), served("shop/greet@2", 1000, max=9)
    for now_s, replicas in (
        (1, ()),
        (2, (replica("starting", 2), replica("starting", 2, "r2"))),
        (9, (replica("ready", 8), replica("failed", 9, "r2"))),
        (10, (replica("ready", 8),)),
    ):
        seen = Observed(epoch=1, served=(new, old), nodes=(), replicas=replicas)
        recorder(seen, (), Memory(), now_s * SECOND)
    recorder.close()
    kept = recording(tmp_path, Reading())

    assert [request.at_ns for request in kept.traffic] == [0, SECOND // 2]
    scaled = kept.scaled["shop/greet"]
    assert (scaled.key, scaled.policy.max, scaled.permits, scaled.gpu_count) == (
        "shop/greet@2",
        9,
        3,
        2,
    )
    assert kept.starts == {"shop/greet": StartTime(6 * SECOND, 6 * SECOND)}
    assert kept.dropped == 0


def test_batches_are_learned_from_the_call_that_tells_of_each(tmp_path: Path) -> None:
    written(
        tmp_path / CALLS,
        call(0, batch=3, service_ms=30),
        call(0, service_ms=30),
        call(1, "shop/other", batch=1, service_ms=None),
        call(2, batch=1, service_ms=20, dropped=4),
    )
    kept = recording(tmp_path, Reading())

    assert kept.batches == {"shop/greet": ((3, 30 * MILLISECOND), (1, 20 * MILLISECOND))}
    assert kept.dropped == 4


def test_the_file_before_belongs_to_it_where_the_same_router_wrote_it(tmp_path: Path) -> None:
    written(tmp_path / f"{CALLS}.1", call(1000), call(2000))
    written(tmp_path / CALLS, call(3000))
    both = recording(tmp_path, Reading())
    written(tmp_path / CALLS, call(3000, run="two"))
    one = recording(tmp_path, Reading())

    assert [request.at_ns // SECOND for request in both.traffic] == [0, 1, 2]
    assert len(one.traffic) == 1
    assert len(recording(tmp_path, Reading(), limit=1).traffic) == 1


def test_a_call_that_did_not_run_is_as_long_as_those_before_it(tmp_path: Path) -> None:
    written(
        tmp_path / CALLS,
        call(0, service_ms=None),
        call(1, service_ms=10),
        call(2, service_ms=30),
        call(3, service_ms=None),
    )
    kept = recording(tmp_path, Reading(service_ns=7))

    assert [request.service_ns for request in kept.traffic] == [
        7,
        10 * MILLISECOND,
        30 * MILLISECOND,
        20 * MILLISECOND,
    ]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no calls.jsonl"),
        ({CALLS: ""}, "has no calls"),
        ({CALLS: "[]\n"}, "line 1: not an object"),
        ({CALLS: "{broken\n", f"{CALLS}.1": "{broken\n"}, "line 1: not JSON"),
        ({CALLS: '{"at_ms": 1, "endpoint": "a/b"}\n', FILE: "no plans\n"}, "no recording of plans"),
    ],
)
def test_a_folder_that_is_no_recording_says_what_is_wrong(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(TraceError, match=said) as raised:
        recording(tmp_path, Reading())

    assert raised.value.hint
