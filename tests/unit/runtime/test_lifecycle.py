"""Does a rank's state machine go where it must, and never get stuck?"""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import SECOND
from glowplug.worker.events import (
    Announce,
    Answer,
    Began,
    Broke,
    CancelCalls,
    Checked,
    ComputeLost,
    DrainAsked,
    Effect,
    Event,
    Exit,
    HooksRan,
    Idled,
    Imported,
    Loaded,
    Pinged,
    Refuse,
    RunCheck,
    RunHooks,
    RunImport,
    RunLoad,
    RunWarm,
    StatsAsked,
    Swap,
    SwapAsked,
    Terminated,
    Ticked,
    Warmed,
)
from glowplug.worker.lifecycle import (
    CANCEL_GRACE_NS,
    DRAIN_DEFAULT_NS,
    EXIT_COMPUTE_LOST,
    EXIT_CUT,
    EXIT_START_FAILED,
    EXIT_STOPPED,
    HOOKS_NS,
    LINGER_NS,
    TRANSITIONS,
    State,
    due_ns,
    first_state,
    step,
)

LEASE = 30 * SECOND
START = 600 * SECOND


def run(
    *events: Event, state: State | None = None, now_ns: int = 0
) -> tuple[State, tuple[Effect, ...]]:
    """Step through the events at one time; return the last state and the last effects."""
    state = state or first_state(epoch=3, lease_ns=LEASE, start_ns=START, now_ns=0)
    effects: tuple[Effect, ...] = ()
    for event in events:
        state, effects = step(state, event, now_ns)
    return state, effects


READY = run(Began(), Imported(), Loaded(), Warmed(), Checked())[0]
BUSY_DRAIN = run(DrainAsked(3, busy=True, deadline_ns=9 * SECOND, reason="scale"), state=READY)[0]
FAILED_START = run(Began(), Broke("no module named x"))[0]
FAILED_RUN = run(ComputeLost("stuck"), state=READY)[0]


def test_a_rank_is_ready_only_after_import_load_warm_and_check() -> None:
    state = first_state(epoch=3, lease_ns=LEASE, start_ns=START, now_ns=0)
    seen = []
    story: tuple[Event, ...] = (Began(), Imported(), Loaded(), Warmed(), Checked())
    for now_ns, event in enumerate(story):
        state, effects = step(state, event, now_ns * 10)
        seen.append((state.phase, effects))

    assert seen == [
        ("starting", (RunImport(),)),
        ("loading", (Announce(), RunLoad())),
        ("warming", (Announce(), RunWarm())),
        ("warming", (RunCheck(),)),
        ("ready", (Announce(),)),
    ]
    assert [(phase.name, phase.ns) for phase in state.phases] == [
        ("import", 10),
        ("load", 10),
        ("warm", 10),
        ("check", 10),
    ]


@pytest.mark.parametrize(
    "before", [(Began(),), (Began(), Imported()), (Began(), Imported(), Loaded())]
)
def test_a_broken_step_of_the_start_is_told_once_and_ends_the_rank(
    before: tuple[Event, ...],
) -> None:
    failed, effects = run(*before, Broke("traceback"))
    assert (failed.phase, failed.code, failed.detail, effects) == (
        "failed",
        "start_failed",
        "traceback",
        (Announce(),),
    )

    told, effects = run(StatsAsked(3), state=failed)
    assert effects == (Answer(), Exit(EXIT_START_FAILED))
    assert told.phase == "failed"


def test_a_failed_start_that_nobody_asks_about_ends_a_little_later() -> None:
    assert due_ns(FAILED_START) == LINGER_NS
    assert run(Ticked(busy=False), state=FAILED_START, now_ns=LINGER_NS - 1)[1] == ()
    assert run(Ticked(busy=False), state=FAILED_START, now_ns=LINGER_NS)[1] == (
        Exit(EXIT_START_FAILED),
    )


def test_a_start_that_takes_too_long_fails_and_names_the_step() -> None:
    for events, doing in (
        ((), "importing the code"),
        ((Imported(),), "on.load"),
        ((Imported(), Loaded()), "on.warm or on.check"),
    ):
        state = replace(run(Began(), *events)[0], lease_until_ns=2 * START)
        assert due_ns(state) == START
        assert run(Ticked(busy=False), state=state, now_ns=START - 1) == (state, ())
        failed, _ = run(Ticked(busy=False), state=state, now_ns=START)
        assert failed.code == "start_timeout"
        assert doing in failed.detail


def test_a_rank_that_starts_ends_at_once_when_it_is_told_to_or_nobody_owns_it() -> None:
    state, _ = run(Began(), Imported())
    assert run(Terminated(busy=False), state=state)[1] == (Exit(EXIT_STOPPED),)
    assert run(DrainAsked(3, busy=False), state=state)[1] == (Answer(), Exit(EXIT_STOPPED))
    stopped, effects = run(Ticked(busy=False), state=state, now_ns=LEASE)
    assert (stopped.phase, stopped.reason, effects) == ("stopped", "lease", (Exit(EXIT_STOPPED),))


def test_a_drain_waits_for_calls_then_runs_the_hooks_then_stops() -> None:
    assert (BUSY_DRAIN.phase, BUSY_DRAIN.stage, due_ns(BUSY_DRAIN)) == (
        "draining",
        "finishing",
        9 * SECOND,
    )
    hooks, effects = run(Idled(), state=BUSY_DRAIN, now_ns=SECOND)
    assert effects == (RunHooks("scale", 8 * SECOND),)
    assert run(Idled(), state=hooks)[1] == ()

    stopped, effects = run(HooksRan(), state=hooks)
    assert (stopped.phase, effects, due_ns(stopped)) == ("stopped", (Exit(EXIT_STOPPED),), None)


def test_an_idle_rank_drains_without_waiting() -> None:
    state, effects = run(DrainAsked(3, busy=False, deadline_ns=60 * SECOND), state=READY)
    assert effects == (Answer(), Announce(), RunHooks("stop", HOOKS_NS))
    assert state.stage == "hooks"


def test_sigterm_names_no_deadline_and_gets_the_default() -> None:
    state, effects = run(Terminated(busy=True), state=READY)
    assert (state.phase, state.reason, effects) == ("draining", "stop", (Announce(),))
    assert due_ns(state) == DRAIN_DEFAULT_NS


def test_calls_that_outlast_the_drain_are_cancelled_and_then_cut() -> None:
    assert run(Ticked(busy=True), state=BUSY_DRAIN, now_ns=9 * SECOND - 1) == (BUSY_DRAIN, ())
    cancelling, effects = run(Ticked(busy=True), state=BUSY_DRAIN, now_ns=9 * SECOND)
    assert effects == (CancelCalls(),)
    assert due_ns(cancelling) == 9 * SECOND + CANCEL_GRACE_NS
    assert run(Idled(), state=cancelling, now_ns=9 * SECOND)[1] == (
        RunHooks("scale", CANCEL_GRACE_NS),
    )
    assert run(Ticked(busy=True), state=cancelling, now_ns=10 * SECOND)[1] == (Exit(EXIT_CUT),)


def test_hooks_that_never_return_are_cut() -> None:
    hooks, _ = run(Idled(), state=BUSY_DRAIN)
    assert run(Ticked(busy=False), state=hooks, now_ns=9 * SECOND)[1] == (Exit(EXIT_CUT),)


def test_a_second_drain_only_ever_shortens_the_first() -> None:
    sooner, effects = run(DrainAsked(3, busy=True, deadline_ns=SECOND), state=BUSY_DRAIN)
    assert (due_ns(sooner), effects) == (SECOND, (Answer(),))
    assert due_ns(run(DrainAsked(3, busy=True), state=BUSY_DRAIN)[0]) == 9 * SECOND


def test_a_lease_is_renewed_by_pings_and_drains_the_rank_when_it_runs_out() -> None:
    assert run(Ticked(busy=False), state=READY, now_ns=LEASE - 1) == (READY, ())
    renewed, effects = run(Pinged(3, LEASE), state=READY, now_ns=SECOND)
    assert (due_ns(renewed), effects) == (LEASE + SECOND, (Answer(),))
    left, effects = run(Ticked(busy=True), state=READY, now_ns=LEASE)
    assert (left.phase, left.reason, effects) == ("draining", "lease", (Announce(),))


def test_a_lower_epoch_is_refused_and_a_higher_one_is_kept() -> None:
    for event in (Pinged(2, LEASE), StatsAsked(2), DrainAsked(2, busy=False), SwapAsked(2)):
        state, (refused,) = run(event, state=READY)
        assert state == READY
        assert isinstance(refused, Refuse)
        assert refused.code == "conflict"
    newer, _ = run(StatsAsked(9), state=READY)
    assert newer.epoch == 9
    assert isinstance(run(Pinged(8, LEASE), state=newer)[1][0], Refuse)


def test_new_code_is_taken_only_by_a_ready_rank() -> None:
    assert run(SwapAsked(3), state=READY)[1] == (Swap(),)
    for state in (run(Began())[0], BUSY_DRAIN, FAILED_START, run(Terminated(busy=False))[0]):
        (refused,) = run(SwapAsked(3), state=state)[1]
        assert isinstance(refused, Refuse)


def test_a_lost_compute_thread_fails_the_rank_and_lets_other_calls_finish() -> None:
    for state in (READY, BUSY_DRAIN):
        failed, effects = run(ComputeLost("stuck"), state=state)
        assert (failed.phase, failed.code, effects) == ("failed", "run_timeout", (Announce(),))
        assert run(StatsAsked(3), Pinged(3, LEASE), state=failed)[1] == (Answer(),)
        assert run(Ticked(busy=True), state=failed, now_ns=LINGER_NS)[1] == (
            Exit(EXIT_COMPUTE_LOST),
        )


def test_a_lost_compute_thread_with_no_other_call_ends_the_rank_once_it_has_said_why() -> None:
    failed, _ = run(ComputeLost("stuck", busy=False), state=READY)

    assert run(StatsAsked(3), state=failed)[1] == (Answer(), Exit(EXIT_COMPUTE_LOST))


def test_a_failed_rank_goes_when_it_is_told_to() -> None:
    assert run(Terminated(busy=True), state=FAILED_RUN)[1] == (Exit(EXIT_COMPUTE_LOST),)
    assert run(DrainAsked(3, busy=True), state=FAILED_START)[1] == (
        Answer(),
        Exit(EXIT_START_FAILED),
    )


def test_a_stopped_rank_still_answers() -> None:
    stopped, _ = run(Terminated(busy=False))
    for event in (StatsAsked(3), Pinged(3, LEASE), DrainAsked(3, busy=False)):
        assert run(event, state=stopped)[1] == (Answer(),)


def test_statistics_are_answered_in_every_state_that_serves() -> None:
    for state in (run(Began())[0], READY, BUSY_DRAIN):
        assert run(StatsAsked(3), state=state) == (state, (Answer(),))


def test_every_event_of_the_union_is_in_the_table() -> None:
    assert {event for _, event in TRANSITIONS} == set(get_args(Event))


events = st.one_of(
    *map(
        st.just,
        (
            Began(),
            Imported(),
            Loaded(),
            Warmed(),
            Checked(),
            Broke("x"),
            ComputeLost("x"),
            Idled(),
            HooksRan(),
        ),
    ),
    st.builds(Terminated, st.booleans()),
    st.builds(Ticked, st.booleans()),
    st.builds(Pinged, st.integers(1, 5), st.integers(0, LEASE)),
    st.builds(StatsAsked, st.integers(1, 5)),
    st.builds(DrainAsked, st.integers(1, 5), st.booleans(), st.integers(0, 60 * SECOND)),
    st.builds(SwapAsked, st.integers(1, 5)),
)
stories = st.lists(st.tuples(events, st.integers(0, 20 * SECOND)), max_size=40)
ORDER = ["starting", "loading", "warming", "ready", "draining", "failed", "stopped"]


@given(stories)
def test_states_only_go_forward_epochs_only_rise_and_commands_are_answered_once(
    story: list[tuple[Event, int]],
) -> None:
    state, now_ns = first_state(epoch=2, lease_ns=LEASE, start_ns=START, now_ns=0), 0
    for event, later_ns in story:
        now_ns += later_ns
        before = state
        state, effects = step(state, event, now_ns)
        assert ORDER.index(state.phase) >= ORDER.index(before.phase)
        assert state.epoch >= before.epoch
        answers = [one for one in effects if isinstance(one, Answer | Refuse | Swap)]
        assert len(answers) == isinstance(event, Pinged | StatsAsked | DrainAsked | SwapAsked)
        assert state.phase != "ready" or [phase.name for phase in state.phases] == [
            "import",
            "load",
            "warm",
            "check",
        ]


@given(stories)
def test_a_rank_that_nobody_speaks_to_any_more_always_ends(story: list[tuple[Event, int]]) -> None:
    state, now_ns, ended = first_state(epoch=2, lease_ns=LEASE, start_ns=START, now_ns=0), 0, False
    for event, later_ns in story:
        now_ns += later_ns
        state, effects = step(state, event, now_ns)
        ended = ended or any(isinstance(one, Exit) for one in effects)
    for _ in range(6):  # lease, drain, cancel, hooks; or the lingering of a failure
        due = due_ns(state)
        if ended or due is None:
            break
        now_ns = max(now_ns, due)
        state, effects = step(state, Ticked(busy=True), now_ns)
        ended = ended or any(isinstance(one, Exit) for one in effects)

    assert ended
