"""Is a replica there before the next call comes, where that is known?"""

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.drafting.targets import preheated
from glowplug_router.policy.scaling.following import Target
from glowplug_router.policy.warmth import gaps
from glowplug_router.policy.warmth.choosing import (
    Choice,
    Rental,
)
from glowplug_router.policy.warmth.gaps import Bin
from glowplug_router.policy.warmth.keeping import AUTO_NS, gap_noted
from glowplug_router.policy.warmth.ladder import Rung
from glowplug_router.policy.warmth.preheat import (
    habit_preheat,
    timer_preheat,
    with_preheat,
)
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Served
from glowplug_router.records.warmth import Preheat, Warmth

KEY = "app/endpoint@1"
START = 30 * SECOND
HOT, COLD = Rung("hot", 1000, 0, 0), Rung("cold", 0, 0, START)
TWO = (HOT, COLD)
EVEN = 10 * START  # of the standard class: worth 9


def served(most: int) -> Served:
    return Served(key=KEY, policy=Policy(zero_after_ns=AUTO_NS, max=most), permits=1, permille=1000)


def met(lengths_ns: list[int], busy_ns: int) -> Warmth:
    """Return the memory after gaps of these lengths, with calls of one length between them."""
    warmth, now_ns = Warmth(), 0
    for gap in lengths_ns:
        idle_ns = now_ns + busy_ns
        now_ns = idle_ns + gap
        warmth = gap_noted(warmth, TWO, 9, idle_ns, now_ns)
    return warmth


def test_a_timer_is_known_by_ten_alike_periods() -> None:
    assert timer_preheat([HOUR] * 9, START) is None
    found = timer_preheat([HOUR] * 10, START)
    assert found is not None
    assert HOUR - 2 * START < found.after_ns < HOUR - START
    assert HOUR < found.until_ns < HOUR + START
    assert timer_preheat([HOUR] * 9 + [2 * HOUR], START) is None


def test_a_timer_that_calls_for_minutes_is_counted_from_its_calls_beginning() -> None:
    warmth = met([50 * MINUTE] * 20, busy_ns=10 * MINUTE)

    assert warmth.preheat is not None
    assert warmth.preheat.counted_from == "call"
    assert warmth.keeps_ns == (0,)


def test_gaps_of_a_usual_length_are_expected_from_their_head_to_their_tail() -> None:
    filled = [Bin(HOUR, HOUR + 10 * MINUTE, 100)]

    found = habit_preheat(filled, START)

    assert found is not None
    assert found.after_ns == (HOUR - 10 * MINUTE) * 9 // 10 - START
    assert found.until_ns == (HOUR + 10 * MINUTE) * 11 // 10
    assert habit_preheat([Bin(at, at + 1, 10) for at in range(gaps.BINS)], START) is None


def test_a_preheat_is_made_only_where_it_would_have_been_cheaper() -> None:
    rental = Rental(EVEN, START, 2 * EVEN)
    narrow = [Bin(HOUR, HOUR + MINUTE, 100)]

    assert (
        with_preheat(Choice(0), narrow, (), 0, rental).preheat is None
    )  # a tenth of an hour is dear
    dear = Rental(40 * EVEN, START, 80 * EVEN)
    assert with_preheat(Choice(0), narrow, (), 0, dear).preheat is not None
    assert with_preheat(Choice(0), [], (), 0, dear).preheat is None


def target_of(warmth: Warmth, now_ns: int, replicas: int = 0, most: int = 4) -> Target:
    memory = EndpointMemory(key=KEY, busy_ns=10 * SECOND, warmth=warmth)
    found = Target(replicas, "idle", "no call", memory)
    return preheated(
        served(most), Demand(key=KEY, last_arrival_ns=5 * SECOND), memory, found, now_ns
    )


def test_a_replica_is_wanted_from_the_preheats_beginning_to_its_end() -> None:
    warmth = Warmth(
        preheat=Preheat(counted_from="idle", after_ns=20 * SECOND, until_ns=40 * SECOND)
    )

    early, due = target_of(warmth, 29 * SECOND), target_of(warmth, 30 * SECOND)
    assert (early.replicas, early.due_ns) == (0, 30 * SECOND)
    assert (due.replicas, due.rule, due.due_ns) == (1, "preheat", 50 * SECOND)
    assert target_of(warmth, 50 * SECOND).replicas == 0
    assert target_of(warmth, 30 * SECOND, replicas=2).replicas == 2
    assert target_of(warmth, 30 * SECOND, most=0).replicas == 0
    assert target_of(Warmth(), 30 * SECOND).replicas == 0


def test_a_timers_preheat_counts_from_the_last_call() -> None:
    preheat = Preheat(counted_from="call", after_ns=20 * SECOND, until_ns=40 * SECOND)
    warmth = Warmth(called_ns=SECOND, preheat=preheat)

    assert target_of(warmth, 20 * SECOND).replicas == 0
    assert target_of(warmth, 21 * SECOND).rule == "preheat"


def test_a_due_time_that_is_sooner_stays() -> None:
    preheat = Preheat(counted_from="idle", after_ns=20 * SECOND, until_ns=40 * SECOND)
    memory = EndpointMemory(key=KEY, busy_ns=SECOND, warmth=Warmth(preheat=preheat))
    found = Target(0, "idle", "", memory, due_ns=3 * SECOND)

    assert preheated(served(4), Demand(key=KEY), memory, found, 2 * SECOND).due_ns == 3 * SECOND
