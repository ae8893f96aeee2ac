"""Does the plan keep and preheat as the policy says? The real plan in virtual time."""

from glowplug.clock import MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.policy.warmth.keeping import AUTO_NS
from glowplug_router.records.observed import Served
from glowplug_router.simulation.replay import Endpoint, Outcome, Request, Scene, StartTime, replay
from glowplug_router.simulation.replay.scene import devices

NAME = "app/endpoint"
CALLS = 40


def replayed(every_ns: int, zero_after_ns: int) -> Outcome:
    served = Served(
        key=f"{NAME}@1",
        policy=Policy(zero_after_ns=zero_after_ns),
        permits=1,
        permille=1000,
        gpu_count=1,
    )
    traffic = [Request(at * every_ns, NAME, 2 * SECOND) for at in range(1, CALLS + 1)]
    endpoint = Endpoint(served=served, start=StartTime(30 * SECOND))
    scene = Scene(endpoints=(endpoint,), traffic=traffic, fleet=devices(2))
    return replay(scene)


def test_a_timer_finds_a_replica_ready_and_pays_for_little_more_than_its_starts() -> None:
    fixed = replayed(20 * MINUTE, 5 * MINUTE)
    learned = replayed(20 * MINUTE, AUTO_NS)

    waits = list(learned.calls.wait_ns)
    assert max(waits[12:]) < SECOND
    assert min(fixed.calls.wait_ns) > 20 * SECOND
    assert learned.device_ns < fixed.device_ns // 2
    assert not learned.violations


def test_calls_that_come_within_the_break_even_age_meet_no_second_cold_start() -> None:
    learned = replayed(MINUTE, AUTO_NS)

    assert max(list(learned.calls.wait_ns)[1:]) < SECOND
    assert not learned.violations
