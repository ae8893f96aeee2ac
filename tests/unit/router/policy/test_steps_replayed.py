"""How soon is a step of load answered, and by how many replicas? The real plan in virtual time."""

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.records.observed import Served
from glowplug_router.simulation.replay import Endpoint, Outcome, Request, Scene, StartTime, replay
from glowplug_router.simulation.replay.scene import devices

NAME = "app/endpoint"
PERMITS = 8
RATE = 80  # calls a second, of one second each: ten replicas by Little's law
LITTLE = RATE // PERMITS
START_NS = 15 * SECOND
STEP_NS = 7 * MINUTE  # after silence in which the last replica goes


def calls(rate: int, begin_ns: int, seconds: int) -> list[Request]:
    """Return calls of about a second at even distances."""
    return [
        Request(begin_ns + at * SECOND // rate, NAME, SECOND + (at * 7 % 11 - 5) * SECOND // 20)
        for at in range(rate * seconds)
    ]


def replayed(traffic: list[Request]) -> Outcome:
    served = Served(
        key=f"{NAME}@1",
        policy=Policy(max=64, hold=10**6),
        permits=PERMITS,
        permille=1000,
        gpu_count=1,
    )
    endpoint = Endpoint(
        served=served, start=StartTime(START_NS), queue_ns=HOUR, start_limit_ns=HOUR
    )
    return replay(Scene(endpoints=(endpoint,), traffic=traffic, fleet=devices(64)))


def started(outcome: Outcome, begin_ns: int, end_ns: int) -> int:
    bucket_ns = outcome.timeline.bucket_ns
    buckets = outcome.timeline.buckets[begin_ns // bucket_ns : -(-end_ns // bucket_ns)]
    return sum(bucket.starts for bucket in buckets)


def test_a_step_of_calls_that_are_known_is_answered_within_seconds_by_what_it_is_worth() -> None:
    outcome = replayed(calls(2, 0, 20) + calls(RATE, STEP_NS, 60))
    soon = started(outcome, STEP_NS, STEP_NS + 5 * SECOND)
    ever = started(outcome, STEP_NS, outcome.span_ns)

    assert soon >= LITTLE
    assert ever <= LITTLE * 3 // 2 + 1
    assert not outcome.violations


def test_a_step_of_unknown_calls_is_answered_when_the_first_have_shown_what_they_take() -> None:
    outcome = replayed(calls(RATE, 0, 60))
    shown = started(outcome, 0, START_NS + 5 * SECOND)

    assert started(outcome, 0, START_NS - SECOND) == 1
    assert shown >= LITTLE
    assert started(outcome, 0, outcome.span_ns) <= LITTLE * 3 // 2 + 1
    assert not outcome.violations


def test_a_handful_of_calls_at_once_is_no_step() -> None:
    outcome = replayed(calls(2, 0, 20) + calls(8, STEP_NS, 1))

    assert started(outcome, STEP_NS, outcome.span_ns) == 1
