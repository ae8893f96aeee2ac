"""How many replicas is demand worth, and how fast do we follow it?"""

from glowplug.clock import MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.records.load import Load
from glowplug_router.records.memory import EndpointMemory, Memory
from glowplug_router.records.observed import Demand
from unit.router.planning import KEY, NOW, Planning, replica, version

FAST = Policy(max=10, down_after_ns=60 * SECOND, zero_after_ns=5 * MINUTE)


def loaded(planning: Planning, *, per_second: int, service_ns: int, seconds: int) -> None:
    """Feed a steady load until the rate is known."""
    row = planning.demand.get(KEY, Demand(key=KEY))
    for _ in range(seconds):
        planning.now_ns += SECOND
        row = Demand(
            key=KEY,
            arrivals=row.arrivals + per_second,
            completed=row.completed + per_second,
            service_ns=row.service_ns + per_second * service_ns,
            last_arrival_ns=planning.now_ns,
        )
        planning.demand[KEY] = row
        planning.after(0)
        planning.become("ready")


def slow(*, policy: Policy) -> Planning:
    """Return a planner of one ready replica whose calls take a second, with a hundred that wait."""
    planning = Planning(version(policy=policy, start_prior_ns=SECOND), replicas=(replica("a"),))
    load = Load(service_calls=300, service_sum_ns=300 * SECOND)
    known = EndpointMemory(key=KEY, arrivals=101, load=load, sampled_ns=NOW)
    planning.memory = Memory(versions=(known,))
    planning.ask(arrivals=101, queued=100, inflight=1)
    return planning


# -- from zero and back


def test_nothing_runs_while_nobody_calls() -> None:
    planning = Planning()

    made = planning.plan()

    assert planning.states() == []
    assert made.explain[0].rule == "idle"
    assert made.explain[0].text == "no call yet; min 0"


def test_the_first_call_starts_one_replica_at_once() -> None:
    planning = Planning(version(policy=Policy(up_after_ns=MINUTE)))
    planning.ask(arrivals=1, queued=1)
    planning.plan()

    assert planning.states() == ["starting"]


def test_a_backlog_before_the_first_replica_is_ready_starts_no_more() -> None:
    planning = Planning(version(policy=FAST))
    planning.ask(arrivals=80, queued=80)
    planning.plan()
    planning.ask(arrivals=100, queued=100)
    planning.after(SECOND)

    assert planning.states() == ["starting"]


def test_a_backlog_of_calls_of_unknown_length_at_most_doubles_what_is_ready() -> None:
    planning = Planning(version(policy=FAST, start_prior_ns=SECOND))
    planning.ask(arrivals=100, queued=100)
    planning.after(0)
    counts = []
    for _ in range(5):
        planning.become("ready")
        counts.append(len(planning.states()))
        # None has ended, and those that run have run for longer.
        planning.ask(queued=100 - counts[-1], inflight=counts[-1])
        planning.after(0)
        planning.after(2 * MINUTE)

    assert counts == [1, 2, 4, 8, 9]  # which end what is left in time


def test_calls_that_may_end_at_once_are_no_backlog() -> None:
    planning = Planning(version(policy=FAST, start_prior_ns=SECOND), replicas=(replica("a"),))
    planning.ask(arrivals=100, queued=99, inflight=1)
    planning.plan()

    assert planning.states() == ["ready"]


def test_a_backlog_that_is_soon_gone_is_worth_no_replica() -> None:
    planning = Planning(version(policy=FAST), replicas=(replica("a"),))
    loaded(planning, per_second=5, service_ns=SECOND // 10, seconds=3)
    planning.ask(queued=40)
    planning.after(0)

    assert len(planning.states()) == 1


def test_a_backlog_that_lasts_is_worth_as_many_as_end_it_in_time() -> None:
    planning = Planning(
        version(policy=FAST, start_prior_ns=SECOND),
        replicas=tuple(replica(f"r{number}") for number in range(4)),
    )
    loaded(planning, per_second=1, service_ns=SECOND, seconds=3)
    planning.ask(queued=50)
    made = planning.after(0)

    # Within 10 s four end 40 and one more comes a second; each that starts ends 9 of those that are left.
    assert len(planning.states()) == 6
    assert made.explain[0].rule == "backlog"


def test_while_replicas_start_for_a_backlog_they_are_not_sent_away() -> None:
    planning = slow(policy=Policy(max=2, down_after_ns=1))
    planning.plan()
    for _ in range(5):
        planning.after(SECOND)

    assert planning.states() == ["ready", "starting"]


def test_the_last_replica_goes_when_its_patience_is_over() -> None:
    planning = Planning()
    planning.ask(arrivals=1, queued=1)
    planning.plan()
    planning.become("ready")
    planning.ask(queued=0, completed=1)
    made = planning.after(0)

    assert made.wake_ns is not None
    assert made.wake_ns <= NOW + 5 * MINUTE
    planning.after(5 * MINUTE - 1)
    assert planning.states() == ["ready"]
    planning.after(1)
    assert planning.states() == ["draining"]


def test_patience_begins_at_the_end_of_a_long_call() -> None:
    planning = Planning(replicas=(replica("a"),))
    planning.ask(arrivals=1, inflight=1)
    planning.after(10 * MINUTE)
    planning.ask(inflight=0)
    planning.after(5 * MINUTE - 1)

    assert planning.states() == ["ready"]
    planning.after(1)
    assert planning.states() == ["draining"]


def test_what_a_new_controller_finds_gets_all_of_its_patience() -> None:
    planning = Planning(replicas=(replica("a"), replica("b")))
    made = planning.plan()

    assert made.explain[0].rule == "found"
    planning.after(5 * MINUTE - 1)
    assert planning.states() == ["ready", "ready"]
    planning.after(1)
    assert planning.states() == ["draining", "draining"]


def test_what_a_new_controller_finds_above_max_goes_at_once() -> None:
    planning = Planning(version(policy=Policy(max=1)), replicas=(replica("a"), replica("b")))
    planning.plan()

    assert sorted(planning.states()) == ["draining", "ready"]


def test_min_replicas_stay_without_any_call() -> None:
    planning = Planning(version(policy=Policy(min=2)))
    planning.plan()
    assert len(planning.states()) == 2
    planning.after(10 * MINUTE)

    assert planning.states() == ["starting", "starting"]


def test_a_version_without_traffic_keeps_no_min() -> None:
    planning = Planning(version(policy=Policy(min=2), permille=0))
    planning.plan()

    assert planning.states() == []


# -- load


def test_replicas_follow_offered_load() -> None:
    planning = Planning(version(policy=FAST, permits=10))
    loaded(planning, per_second=40, service_ns=SECOND // 2, seconds=120)

    # 40/s × 0.5 s = 20 at once, 7 a replica.
    assert len(planning.states()) == 3


def test_target_concurrency_says_how_much_a_replica_carries() -> None:
    policy = Policy(max=10, target_concurrency=4.0)
    planning = Planning(version(policy=policy, permits=10))
    loaded(planning, per_second=40, service_ns=SECOND // 2, seconds=120)

    assert len(planning.states()) == 5


def test_a_target_above_the_permits_means_the_permits() -> None:
    policy = Policy(max=10, target_concurrency=50.0)
    planning = Planning(version(policy=policy, permits=10))
    loaded(planning, per_second=40, service_ns=SECOND // 2, seconds=120)

    assert len(planning.states()) == 2


def test_buffer_replicas_come_on_top_and_max_is_the_end() -> None:
    planning = Planning(version(policy=Policy(max=4, buffer=2)))
    loaded(planning, per_second=1, service_ns=SECOND // 10, seconds=20)
    assert len(planning.states()) == 3
    loaded(planning, per_second=100, service_ns=SECOND // 10, seconds=20)

    assert len(planning.states()) == 4


def test_running_calls_keep_the_replicas_they_need() -> None:
    planning = Planning(version(policy=Policy(max=4, down_after_ns=0)))
    planning.observed = Planning(
        version(policy=Policy(max=4, down_after_ns=0)),
        replicas=tuple(replica(f"r{number}") for number in range(4)),
    ).observed
    planning.ask(arrivals=3, inflight=3)
    planning.plan()

    assert planning.states().count("ready") == 3


def test_calls_beyond_the_permits_that_are_there_are_no_reason_for_another_replica() -> None:
    planning = Planning(version(policy=Policy(max=4)), replicas=(replica("a"), replica("b")))
    planning.ask(arrivals=5, inflight=5)
    planning.plan()

    assert planning.states() == ["ready", "ready"]


# -- how fast


def test_up_after_makes_us_wait_before_another_replica_starts() -> None:
    planning = slow(policy=Policy(max=2, up_after_ns=2 * SECOND))
    made = planning.plan()
    assert made.explain[0].rule == "up_after"
    planning.after(2 * SECOND - 1)
    assert planning.states() == ["ready"]
    planning.after(1)

    assert planning.states() == ["ready", "starting"]


def test_up_after_begins_anew_when_the_need_went_away_in_between() -> None:
    planning = slow(policy=Policy(max=4, up_after_ns=2 * SECOND))
    planning.plan()
    planning.ask(queued=0)
    planning.after(SECOND)
    planning.ask(queued=100)
    planning.after(SECOND)
    planning.after(SECOND)

    assert planning.states() == ["ready"]


def test_min_is_not_delayed_by_up_after() -> None:
    policy = Policy(min=2, max=4, up_after_ns=MINUTE)
    planning = Planning(version(policy=policy), replicas=(replica("a"),))
    planning.ask(arrivals=9, queued=8, inflight=1)
    planning.plan()

    assert planning.states() == ["ready", "starting"]


def test_down_after_must_pass_before_replicas_go() -> None:
    planning = Planning(
        version(policy=FAST), replicas=tuple(replica(f"r{number}") for number in range(5))
    )
    planning.ask(arrivals=2, inflight=2)
    made = planning.plan()
    assert made.explain[0].rule == "down_after"
    assert made.wake_ns is not None
    assert made.wake_ns <= NOW + 60 * SECOND
    planning.after(60 * SECOND - 1)
    assert planning.states() == ["ready"] * 5
    planning.after(1)

    assert planning.states().count("ready") == 2


def test_the_highest_need_within_down_after_is_what_stays() -> None:
    planning = Planning(
        version(policy=FAST), replicas=tuple(replica(f"r{number}") for number in range(5))
    )
    planning.ask(arrivals=3, inflight=1)
    planning.plan()
    planning.ask(inflight=3)
    planning.after(30 * SECOND)
    planning.ask(inflight=1)
    planning.after(30 * SECOND)

    assert planning.states().count("ready") == 3


def test_a_need_for_all_within_down_after_begins_it_anew() -> None:
    planning = Planning(version(policy=FAST), replicas=(replica("a"), replica("b")))
    planning.ask(arrivals=3, inflight=1)
    planning.plan()
    planning.ask(inflight=2)
    planning.after(30 * SECOND)
    planning.ask(inflight=1)
    planning.after(30 * SECOND)
    planning.after(30 * SECOND)

    assert planning.states() == ["ready", "ready"]


def test_one_less_must_be_well_below_its_target_before_we_go_down() -> None:
    policy = Policy(max=10, down_after_ns=0)
    planning = Planning(
        version(policy=policy), replicas=tuple(replica(f"r{number}") for number in range(3))
    )
    loaded(planning, per_second=9, service_ns=SECOND // 5, seconds=100)

    # 1.8 at once would fit on two replicas, but leave them nearly full.
    assert planning.states().count("ready") == 3


def test_we_do_not_go_down_to_where_the_queue_would_bring_us_up_again() -> None:
    policy = Policy(max=3, down_after_ns=0)
    planning = Planning(version(policy=policy), replicas=(replica("a"), replica("b")))
    load = Load(service_calls=300, service_sum_ns=100 * SECOND)
    known = EndpointMemory(key=KEY, arrivals=40, load=load, sampled_ns=NOW)
    planning.memory = Memory(versions=(known,))
    planning.ask(arrivals=40, queued=40, inflight=1)
    planning.plan()
    assert planning.states() == ["ready", "ready"]

    planning.ask(queued=15)
    planning.plan()
    assert planning.states().count("ready") == 1


def test_a_lower_max_is_followed_at_once() -> None:
    planning = Planning(
        version(policy=Policy(max=4)), replicas=tuple(replica(f"r{number}") for number in range(4))
    )
    planning.ask(arrivals=4, inflight=4)
    planning.plan()
    planning.serve(version(policy=Policy(max=2)))
    made = planning.plan()

    assert planning.states().count("ready") == 2
    assert made.explain[0].rule == "max"


def test_while_load_may_fade_we_look_again_within_a_second() -> None:
    planning = Planning(version(policy=FAST))
    loaded(planning, per_second=30, service_ns=SECOND // 10, seconds=30)
    made = planning.after(0)

    assert len(planning.states()) > 1
    assert made.wake_ns is not None
    assert made.wake_ns <= planning.now_ns + SECOND
