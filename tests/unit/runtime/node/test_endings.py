"""How did a replica end, and whose doing was it?"""

from dataclasses import replace

from glowplug.node.endings import Cause, Facts, Verdict, judge
from glowplug.node.messages import RankState, RankStats
from glowplug.node.processes import Exit

CRASHED = Facts(exit=Exit(signal=11), asked=False, was_ready=True)


def told(state: RankState, code: str = "", detail: str = "") -> RankStats:
    return RankStats(
        replica="r1",
        version="shop/hello@1",
        epoch=1,
        pid=1,
        state=state,
        permits=1,
        inflight=0,
        calls_done=0,
        busy_ns=0,
        code=code,
        detail=detail,
    )


def test_what_was_asked_to_end_has_stopped_however_it_went() -> None:
    assert judge(replace(CRASHED, asked=True)) == Verdict("stopped")


def test_a_crash_names_the_signal_and_the_last_words() -> None:
    verdict = judge(replace(CRASHED, last_words="Segmentation fault"))

    assert verdict.code == "replica_lost"
    assert "SIGSEGV" in verdict.detail
    assert "Segmentation fault" in verdict.detail


def test_an_end_before_ready_is_a_failed_start() -> None:
    verdict = judge(Facts(exit=Exit(code=1), asked=False, was_ready=False))

    assert verdict == Verdict("failed", "start_failed", "the rank ended with exit code 1")


def test_what_the_rank_said_of_its_failure_is_passed_on() -> None:
    facts = Facts(
        exit=Exit(code=3),
        asked=False,
        was_ready=False,
        told=told("failed", "start_failed", "Traceback …"),
    )

    assert judge(facts) == Verdict("failed", "start_failed", "Traceback …")


def test_a_kill_for_memory_says_the_limit_even_if_it_was_ending_anyway() -> None:
    facts = replace(
        CRASHED,
        exit=Exit(signal=9),
        asked=True,
        oom_kills=1,
        limit_bytes=100 << 20,
        peak_bytes=99 << 20,
    )

    verdict = judge(facts)

    assert verdict.code == "out_of_memory"
    assert "99 MiB" in verdict.detail
    assert "100 MiB" in verdict.detail


def test_a_child_killed_for_memory_is_not_the_rank_s_end() -> None:
    assert judge(replace(CRASHED, oom_kills=1)).code == "replica_lost"


def test_the_agent_s_own_reason_is_told() -> None:
    facts = replace(CRASHED, exit=Exit(signal=9), asked=True, cause=Cause("start_timeout", "slow"))

    assert judge(facts) == Verdict("failed", "start_timeout", "slow")


def test_an_orderly_end_by_signal_or_lease_has_stopped() -> None:
    facts = Facts(exit=Exit(code=0), asked=False, was_ready=True, told=told("draining"))

    assert judge(facts).state == "stopped"


def test_an_end_that_nobody_saw_is_told_as_such() -> None:
    assert judge(replace(CRASHED, exit=Exit())).detail == "the rank ended"
