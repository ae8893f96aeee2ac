"""Do plan and dispatch keep their promises when the world misbehaves, and would we notice if not?"""

import json

import pytest

from glowplug_router.simulation.__main__ import main
from glowplug_router.simulation.checkers import INVARIANTS
from glowplug_router.simulation.run import Subject, run_seed
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
