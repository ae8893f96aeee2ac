"""What holds whatever happens? Events in any order, with any time between them."""

from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.dispatch import (
    ATTEMPTS_MAX,
    CallArrived,
    CallBegan,
    CallCancelled,
    CallEnded,
    CallRefused,
    Effect,
    Event,
    Lost,
    Refuse,
    ReplicaLeaving,
    ReplicaLost,
    ReplicaReady,
    Send,
    Tick,
    VersionGone,
    VersionSet,
    Wake,
)
from glowplug_router.dispatch.deadlock import waits_for_itself
from glowplug_router.dispatch.room import QUEUE_BYTES_MAX
from glowplug_router.dispatch.state import Call, DispatchState, Version
from unit.router.desk import Desk

CALLS = st.integers(1, 12)
REPLICAS = st.sampled_from(["r1", "r2", "r3", "r4"])
VERSIONS = st.sampled_from(["v", "w"])
CLASSES = st.sampled_from(["critical", "interactive", "standard", "batch"])
LIMITS = st.sampled_from([0, 20 * MILLISECOND, 2 * SECOND])
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        CallArrived,
        CALLS,
        VERSIONS,
        st.sampled_from([0, 3 * SECOND, 60 * SECOND]),
        klass=CLASSES,
        parent=st.integers(0, 12),
        tenant=st.sampled_from(["", "ann", "bob"]),
        has_deadline=st.booleans(),
        affinity=st.sampled_from(["", "", "x"]),
        size_bytes=st.sampled_from([0, 1000, QUEUE_BYTES_MAX // 2]),
    ),
    st.builds(CallEnded, CALLS, REPLICAS, st.sampled_from([0, MILLISECOND, SECOND]), st.booleans()),
    st.builds(CallRefused, CALLS, REPLICAS, st.booleans(), st.booleans()),
    st.builds(CallCancelled, CALLS),
    st.builds(CallBegan, CALLS),
    st.builds(
        VersionSet,
        VERSIONS,
        st.integers(0, 3),
        LIMITS,
        LIMITS,
        st.integers(0, 3),
        st.sampled_from(["", "", "no"]),
        st.booleans(),
    ),
    st.builds(VersionGone, VERSIONS),
    st.builds(ReplicaReady, REPLICAS, VERSIONS, st.integers(0, 3), st.integers(0, 2)),
    st.builds(ReplicaLeaving, REPLICAS),
    st.builds(ReplicaLost, REPLICAS),
    st.builds(Tick),
)
STEPS = st.lists(
    st.tuples(EVENTS, st.sampled_from([0, MILLISECOND, 60 * MILLISECOND, SECOND])), max_size=60
)
Look = Callable[[DispatchState, Event, int, tuple[Effect, ...]], None]


def play(steps: list[tuple[Event, int]], look: Look) -> Desk:
    desk = Desk()
    desk.serve("v", hold=3, queue_ns=SECOND, start_ns=SECOND, max_permits=2)
    desk.serve("w", hold=3, queue_ns=SECOND, start_ns=SECOND, max_permits=1)
    for drawn, pause_ns in steps:
        desk.now_ns += pause_ns
        event = aimed(desk.state, drawn)
        look(desk.state, event, desk.now_ns, desk.feed(event))
    return desk


def aimed(state: DispatchState, event: Event) -> Event:
    """Let most events about a call be about one that is at a replica; the others are old news."""
    there = [(call.id, call.replica.id) for call in state.calls.values() if call.replica]
    if there and isinstance(event, CallEnded | CallRefused) and event.replica != "r4":
        call, replica = there[event.call % len(there)]
        return replace(event, call=call, replica=replica)
    return event


@settings(max_examples=400)
@given(STEPS)
def test_a_call_is_over_once_and_sent_only_to_an_open_replica_with_room(
    steps: list[tuple[Event, int]],
) -> None:
    sends: Counter[int] = Counter()

    def look(state: DispatchState, event: Event, now_ns: int, effects: tuple[Effect, ...]) -> None:
        over = [effect.call for effect in effects if isinstance(effect, Refuse | Lost)]
        again = event.call if isinstance(event, CallArrived) else 0  # a number used anew
        assert all(
            times == 1 + (call == again) for call, times in Counter(over).items() if times > 1
        )
        for effect in effects:
            if isinstance(effect, Send):
                replica = state.replicas[effect.replica]
                assert not replica.is_leaving
                assert replica.running <= max(replica.permits, 1)
                assert len(replica.early) <= replica.ahead
                assert effect.attempt <= ATTEMPTS_MAX
                sends[effect.call] += 1
        assert not [call for call in over if call in state.calls and call != again]

    play(steps, look)


@settings(max_examples=200)
@given(STEPS)
def test_when_nothing_comes_any_more_nothing_waits_any_more(steps: list[tuple[Event, int]]) -> None:
    desk = play(steps, lambda *_: None)
    for _ in range(200):
        due_ns = desk.state.next_due_ns
        if due_ns is None:
            break
        desk.now_ns = max(desk.now_ns, due_ns)
        desk.feed(Tick())

    assert desk.state.next_due_ns is None
    assert not [call for call in desk.state.calls.values() if call.is_queued]


@settings(max_examples=200)
@given(STEPS)
def test_the_controller_is_not_flooded(steps: list[tuple[Event, int]]) -> None:
    def look(state: DispatchState, event: Event, now_ns: int, effects: tuple[Effect, ...]) -> None:
        wakes = Counter(effect.version for effect in effects if isinstance(effect, Wake))
        assert all(times <= 2 for times in wakes.values())  # the owed one, and one for a change

    play(steps, look)


@settings(max_examples=400)
@given(STEPS)
def test_deadlocks_are_those_that_a_slow_search_finds(steps: list[tuple[Event, int]]) -> None:
    def look(state: DispatchState, event: Event, now_ns: int, effects: tuple[Effect, ...]) -> None:
        for call in state.calls.values():
            if call.is_queued:
                assert waits_for_itself(call) == searched(state, call)

    play(steps, look)


def searched(state: DispatchState, waiting: Call) -> bool:
    """Let every holder that can end end, again and again; what is left over cannot."""
    stuck = {call for version in state.versions.values() for call in version.holders}

    def is_clogged(version: Version) -> bool:
        holders = {call for call in version.holders if call in stuck}
        is_full = len(version.holders) >= version.max_permits and version.pool.first() is None
        return is_full and bool(holders) and holders == version.holders

    def waits_in_vain(call: Call) -> bool:
        return any(
            is_clogged(child.version) if child.is_queued else waits_in_vain(child)
            for child in call.children or ()
        )

    while freed := {call for call in stuck if not waits_in_vain(call)}:
        stuck -= freed
    return is_clogged(waiting.version)
