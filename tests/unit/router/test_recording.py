"""Does a recording of plans come out the same when it is planned again?"""

from dataclasses import replace
from pathlib import Path

import pytest

from glowplug.clock import SECOND
from glowplug.errors import ConfigError
from glowplug.spec import Policy
from glowplug_router.plan import plan
from glowplug_router.recording import Recorder, plan_digest
from glowplug_router.records.decided import Plan
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Observed
from glowplug_router.simulation.checkers import planned_state
from glowplug_router.simulation.recorded import replayed
from unit.router.planning import KEY, NOW, node, version

SEEN = Observed(
    epoch=1, served=(version(policy=Policy(min=1, max=4)),), nodes=(node(),), replicas=()
)


def record(path: Path, rounds: int = 20, **others: int) -> Recorder:
    """Plan some rounds of growing demand, each carried out at once."""
    recorder = Recorder(plan, path, **others)
    observed, memory = SEEN, Memory()
    for number in range(rounds):
        now_ns = NOW + number * SECOND
        asked = Demand(key=KEY, arrivals=3 * number, last_arrival_ns=now_ns, queued=number % 3)
        made = recorder(observed, (asked,), memory, now_ns)
        nodes = (node(seen_ns=now_ns),)
        memory, observed = made.memory, replace(planned_state(observed, made), nodes=nodes)
    return recorder


def test_what_was_recorded_is_planned_the_same_again(tmp_path: Path) -> None:
    record(tmp_path / "plans.jsonl").close()

    found = replayed(tmp_path / "plans.jsonl")

    assert (found.plans, found.mismatches, found.differences) == (20, 0, ())
    assert found.actions > 0


def test_a_planner_that_decides_otherwise_is_found_with_the_line(tmp_path: Path) -> None:
    record(tmp_path / "plans.jsonl").close()

    def generous(
        observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
    ) -> Plan:
        more = tuple(replace(one, policy=replace(one.policy, min=2)) for one in observed.served)
        return plan(replace(observed, served=more), demand, memory, now_ns)

    found = replayed(tmp_path / "plans.jsonl", generous)

    assert found.mismatches > 0
    assert found.differences[0].line == 1


def test_a_line_says_only_what_is_new(tmp_path: Path) -> None:
    recorder = Recorder(plan, tmp_path / "plans.jsonl")
    made = recorder(SEEN, (), Memory(), NOW)
    recorder(SEEN, (), made.memory, NOW + 1)
    recorder.close()

    first, second = (tmp_path / "plans.jsonl").read_bytes().splitlines()

    assert len(second) < 300 < len(first)
    assert replayed(tmp_path / "plans.jsonl").mismatches == 0


def test_memory_that_did_not_come_from_the_plan_before_is_recorded(tmp_path: Path) -> None:
    recorder = Recorder(plan, tmp_path / "plans.jsonl")
    recorder(SEEN, (), Memory(), NOW)
    recorder(SEEN, (), Memory(serial=7), NOW + 1)  # a trial began: memory of it was dropped
    recorder.close()

    assert replayed(tmp_path / "plans.jsonl").mismatches == 0


def test_a_recording_ends_at_its_bound_and_is_whole_up_to_there(tmp_path: Path) -> None:
    record(tmp_path / "plans.jsonl", limit_bytes=8_000)

    assert (tmp_path / "plans.jsonl").stat().st_size <= 8_000
    assert 0 < replayed(tmp_path / "plans.jsonl").plans < 20


def test_a_second_recording_leaves_the_first_beside_it(tmp_path: Path) -> None:
    record(tmp_path / "plans.jsonl", 3).close()
    record(tmp_path / "plans.jsonl", 5).close()

    assert replayed(tmp_path / "plans.jsonl.1").plans == 3
    assert replayed(tmp_path / "plans.jsonl").plans == 5


def test_a_planner_that_fails_is_recorded_and_fails_again(tmp_path: Path) -> None:
    def failing(
        observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
    ) -> Plan:
        raise ZeroDivisionError

    recorder = Recorder(failing, tmp_path / "plans.jsonl")
    with pytest.raises(ZeroDivisionError):
        recorder(SEEN, (), Memory(), NOW)
    recorder.close()

    assert replayed(tmp_path / "plans.jsonl", failing).mismatches == 0
    assert replayed(tmp_path / "plans.jsonl").mismatches == 1


def test_equal_plans_have_equal_digests_and_others_have_not() -> None:
    made = plan(SEEN, (), Memory(), NOW)

    assert plan_digest(made) == plan_digest(plan(SEEN, (), Memory(), NOW))
    assert plan_digest(made) != plan_digest(replace(made, actions=()))
    assert plan_digest(made) != plan_digest(plan(SEEN, (), Memory(serial=1), NOW))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no plan in it"),
        (b"hello\n", "is no recording"),
        (b'{"now_ns": 1, "digest": "d", "actions": 0}\n', "begins in the middle"),
        (b'{"now_ns": 1, "digest": "d", "actions": 0, "schema": 99}\n', "has schema 99"),
    ],
)
def test_what_is_no_recording_is_refused_by_name(
    content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / "plans.jsonl").write_bytes(content)

    with pytest.raises(ConfigError, match=words):
        replayed(tmp_path / "plans.jsonl")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        replayed(tmp_path / "none")
