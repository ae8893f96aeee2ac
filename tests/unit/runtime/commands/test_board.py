"""Does a deployment tell what matters, once?"""

from typing import Any

import click

from glowplug.clock import MILLISECOND, SECOND
from glowplug.commands.board import AGAIN_NS, OVERDUE_NS, Board


def start(state: str, **more: Any) -> dict[str, Any]:
    return {"step": "start", "state": state, "endpoint": "greet", "version": 2, **more}


def plain(lines: list[str]) -> list[str]:
    return [click.unstyle(line) for line in lines]


STORE = {"step": "store", "state": "done", "endpoint": "greet", "version": 2}
COMMIT = {"step": "commit", "state": "done", "generation": 3}


def test_a_start_without_delays_is_one_line() -> None:
    board = Board()
    phases = [{"name": "import", "ns": 60 * MILLISECOND}, {"name": "check", "ns": 3}]
    exercise = {"step": "exercise", "endpoint": "greet", "version": 2}
    steps = [
        STORE,
        *map(start, ("waiting", "fetching", "starting", "loading", "warming")),
        start("ready", replica="r1", phases=phases),
        {**exercise, "state": "running"},
        {**exercise, "state": "done"},
        COMMIT,
    ]

    told = [line for at, step in enumerate(steps) for line in board.take(step, at)]

    assert plain(told) == ["✓ greet@v2: ready (import 0.06 s), answered its first example"]
    assert board.ready == {"r1"}
    assert not board.unchanged


def test_how_a_replica_runs_against_what_was_asked_is_noted_under_its_line() -> None:
    board = Board()
    board.take(start("ready", replica="r1", detail="no GPU here: it runs on the CPU"), 0)
    step = {"step": "exercise", "state": "done", "endpoint": "greet", "version": 2}

    assert plain(board.take(step, 1)) == [
        "✓ greet@v2: ready, answered its first example",
        "  no GPU here: it runs on the CPU",
    ]


def test_why_a_start_waits_is_told() -> None:
    board = Board()
    board.take(start("waiting", detail="1 more wanted, each with 64 CPUs"), 0)

    assert board.overdue(OVERDUE_NS) == [
        "… greet@v2: waits for room on a node: 1 more wanted, each with 64 CPUs (3 s)"
    ]


def test_what_takes_long_is_told_now_and_again() -> None:
    board = Board()
    board.take(start("loading"), 0)

    assert board.overdue(OVERDUE_NS - 1) == []
    assert board.overdue(OVERDUE_NS) == ["… greet@v2: loading (3 s)"]
    assert board.overdue(OVERDUE_NS + SECOND) == []
    assert board.overdue(OVERDUE_NS + AGAIN_NS) == ["… greet@v2: loading (33 s)"]


def test_the_same_state_twice_does_not_begin_anew() -> None:
    board = Board()
    board.take(start("loading"), 0)
    board.take(start("loading"), 5 * SECOND)

    assert board.running(6 * SECOND) == ["… greet@v2: loading (6 s)"]


def test_a_version_that_served_already_is_said_to_be_as_it_was() -> None:
    board = Board()
    board.take(STORE, 0)

    assert board.take({"step": "done", "state": "done", "generation": 2}, 1) == [
        "  greet@v2: as it was"
    ]
    assert board.unchanged


def test_an_endpoint_without_examples_is_said_not_to_have_been_exercised() -> None:
    board = Board()
    board.take(start("ready", replica="r1"), 0)
    step = {"step": "exercise", "state": "not exercised", "detail": "no examples"}

    told = board.take({**step, "endpoint": "greet", "version": 2}, 1)

    assert plain(told) == ["✓ greet@v2: ready, not exercised: no examples"]


def test_a_failure_says_what_was_under_way() -> None:
    board = Board()
    board.take(start("loading"), 0)

    assert plain(board.failed(1)) == ["✗ greet@v2: loading"]
    assert board.running(2) == []


def test_versions_that_leave_are_named_as_people_name_them() -> None:
    told = Board().take(
        {"step": "drain", "state": "running", "detail": "hello/greet@1, hello/wave@12"}, 0
    )

    assert told == ["  greet@v1, wave@v12: finishing, then gone"]


def test_a_step_from_a_newer_router_is_passed_over() -> None:
    assert Board().take({"step": "engine", "state": "compiling"}, 0) == []


def test_a_state_from_a_newer_router_is_shown_by_its_name() -> None:
    board = Board()
    board.take(start("compiling"), 0)

    assert board.running(0) == ["… greet@v2: compiling"]
