"""Do plan and dispatch keep their promises when the world misbehaves, and would we notice if not?"""

import json

import pytest

from glowplug.clock import MILLISECOND, SECOND
from glowplug.spec import Policy
from glowplug_router.records.observed import Served
from glowplug_router.simulation.__main__ import main
from glowplug_router.simulation.checkers import INVARIANTS
from glowplug_router.simulation.run import Subject, run_scenario, run_seed
from glowplug_router.simulation.scenario import Arrival, Endpoint, Machine, Scenario
from simulation.faulty import FAULTS, forgetful

SEEDS = 1000
CONTROL_SEEDS = 100  # a planted fault shows within so many


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_thousand_seeds_with_faults_break_no_promise(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--seeds", f"0:{SEEDS}"])

    line = json.loads(capsys.readouterr().out)
    assert status == 0, line
    assert line["seeds"] == SEEDS
    assert line["violations"] == 0


def test_the_same_seed_gives_the_same_digest() -> None:
    digests = [[run_seed(seed).digest for seed in range(5)] for _ in range(2)]

    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 5


def test_a_planner_that_is_not_the_same_twice_changes_the_digest() -> None:
    subject = forgetful()

    assert run_seed(3, subject).digest != run_seed(3, subject).digest


@pytest.mark.parametrize(
    ("invariant", "subject"), [(name, fault) for name, faults in FAULTS.items() for fault in faults]
)
def test_a_planted_fault_is_reported_under_its_name(invariant: str, subject: Subject) -> None:
    reported: set[str] = set()
    for seed in range(CONTROL_SEEDS):
        reported |= {violation.invariant for violation in run_seed(seed, subject).violations}
        if invariant in reported:
            return

    pytest.fail(f"not noticed in {CONTROL_SEEDS} seeds; reported: {sorted(reported)}")


def test_every_invariant_has_a_planted_fault() -> None:
    assert set(FAULTS) == set(INVARIANTS)


def test_a_failing_seed_is_printed_with_the_command_that_replays_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes = [run_seed(seed, FAULTS["answered_once"][0]) for seed in range(8)]
    failing = next(outcome for outcome in outcomes if outcome.violations)
    from glowplug_router.simulation.__main__ import summary

    line = summary(outcomes)

    assert line["replay"] == f"python -m glowplug_router.simulation --seeds {failing.seed}"
    assert json.dumps(line)


# -- one GPU for all


def endpoint(name: str, lowest: int = 0, start_fails: float = 0.0) -> Endpoint:
    policy = Policy(min=lowest, max=1, zero_after_ns=5 * SECOND, hold=100)
    served = Served(
        key=f"{name}@1",
        policy=policy,
        permits=1,
        permille=1000,
        gpu_count=1,
        drain_ns=5 * SECOND,
    )
    return Endpoint(
        name=name,
        served=served,
        queue_ns=20 * SECOND,
        start_limit_ns=20 * SECOND,
        start_ns=500 * MILLISECOND,
        start_fails=start_fails,
        service_ns=50 * MILLISECOND,
    )


def calls(name: str, first_ms: int, count: int, every_ms: int) -> tuple[Arrival, ...]:
    return tuple(
        Arrival((first_ms + number * every_ms) * MILLISECOND, name, "standard", 30 * SECOND, 0)
        for number in range(count)
    )


def one_gpu(*endpoints: Endpoint, arrivals: tuple[Arrival, ...]) -> Scenario:
    machine = Machine("node0", 8 << 30, (("gpu-0", "NVIDIA L4"),))
    return Scenario(endpoints, (machine,), arrivals)


@pytest.mark.parametrize("lowest", [0, 1])
@pytest.mark.parametrize("count", [0, 1, 60])
def test_with_a_single_gpu_a_candidate_becomes_ready_and_every_call_is_answered(
    lowest: int, count: int
) -> None:
    drawn = one_gpu(endpoint("app/a", lowest), arrivals=calls("app/a", 1500, count, 100))

    ended = run_scenario(drawn, {"app/a": 4 * SECOND})

    assert ended.violations == ()
    assert ended.live == ("app/a@2",)
    # What waited for the version before is answered by the one that followed it.
    assert ended.codes["ok"] == count
    assert set(ended.codes) <= {"ok", "redrawn"}


def test_with_a_single_gpu_two_endpoints_take_turns_and_every_call_is_answered() -> None:
    arrivals = calls("app/a", 1500, 20, 400) + calls("app/b", 1600, 20, 400)
    drawn = one_gpu(endpoint("app/a"), endpoint("app/b"), arrivals=arrivals)

    ended = run_scenario(drawn, {})

    assert ended.violations == ()
    assert ended.codes == {"ok": 40}


def test_with_a_single_gpu_a_candidate_displaces_an_idle_endpoint() -> None:
    drawn = one_gpu(endpoint("app/a"), endpoint("app/b"), arrivals=calls("app/b", 1500, 1, 1))

    ended = run_scenario(drawn, {"app/a": 3 * SECOND})

    assert ended.violations == ()
    assert ended.codes == {"ok": 1}
    assert set(ended.live) == {"app/a@2", "app/b@1"}
