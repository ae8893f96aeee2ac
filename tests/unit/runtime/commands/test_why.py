"""What does `glowplug why` answer, given what the router keeps?"""

from typing import Any

from glowplug.clock import MINUTE, SECOND
from glowplug.commands.why import call_answer, not_at_zero, version_answer

KEY = "hello/greet@1"
POLICY = {"min": 0, "zero_after_ns": 5 * MINUTE}


def row(wall_ns: int, rule: str = "load", **others: Any) -> dict[str, Any]:
    made = {
        "wall_ns": wall_ns,
        "subject": KEY,
        "rule": rule,
        "text": f"{rule} at {wall_ns}",
        "replicas_ready": 1,
        "replicas_wanted": 1,
        "acts": [],
        "numbers": [["queued", 0], ["inflight", 0]],
        "advised": False,
    }
    return made | others


def endpoint(*replicas: dict[str, Any]) -> dict[str, Any]:
    return {"policy": POLICY, "versions": [{"version": KEY, "replicas": list(replicas)}]}


def replica(id: str = "greet-1") -> dict[str, Any]:
    return {"id": id, "state": "ready", "node": "n1", "gpus": ["GPU-7"]}


def test_a_version_has_what_its_newest_decision_gave_it() -> None:
    rows = [row(9), row(5, subject="hello/other@1"), row(4, "idle")]

    answer = version_answer(KEY, endpoint(replica()), rows, 5)

    assert (answer["ready"], answer["wanted"], answer["rule"]) == (1, 1, "load")
    assert answer["because"] == "load at 9"
    assert [one["wall_ns"] for one in answer["decisions"]] == [9, 4]


def test_a_replica_is_where_the_start_said_and_has_the_devices_it_holds() -> None:
    start = "greet-1 starts on n1 with GPU-7: the only node for 1 GPU (any)"

    answer = version_answer(KEY, endpoint(replica()), [row(9), row(5, acts=[start])], 1)

    assert answer["replicas"][0]["because"] == start
    assert answer["replicas"][0]["gpus"] == ["GPU-7"]


def test_a_replica_that_no_decision_started_was_adopted() -> None:
    answer = version_answer(KEY, endpoint(replica()), [], 1)

    assert "adopted" in answer["replicas"][0]["because"]
    assert answer["because"] == "no decision is known yet"


def test_at_zero_there_is_nothing_that_keeps_it() -> None:
    assert version_answer(KEY, endpoint(), [row(1)], 1)["not_at_zero"] == ""


def test_what_keeps_the_last_replica_is_named() -> None:
    busy = row(1, numbers=[["queued", 2], ["inflight", 1]])

    assert not_at_zero(row(1), POLICY | {"min": 2}) == "min=2 keeps 2, whatever the demand"
    assert not_at_zero(busy, POLICY).startswith("1 calls ran and 2 waited")
    assert not_at_zero(row(1), POLICY) == "it is kept 5 m after its last call"
    assert "zero_after=auto" in not_at_zero(row(1), POLICY | {"zero_after_ns": -1})
    assert "tried out" in not_at_zero(row(1, "candidate"), POLICY)
    assert "going" in not_at_zero(row(1, replicas_wanted=0), POLICY)
    assert "router came up" in not_at_zero(None, POLICY)


def test_a_cold_call_is_told_what_was_decided_before_it_and_while_it_waited() -> None:
    call = {"version": KEY, "arrived_wall_ns": 100 * SECOND, "wait_ns": 3 * SECOND, "phases": []}
    rows = [
        row(200 * SECOND),
        row(101 * SECOND),
        row(100 * SECOND + 1, "cold"),
        row(50 * SECOND, "idle"),
        row(1, "load"),
    ]

    answer = call_answer(call, rows)

    assert answer["before"]["rule"] == "idle"
    assert [one["rule"] for one in answer["during"]] == ["cold", "load"]
