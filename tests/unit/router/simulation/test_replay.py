from dataclasses import replace
from random import Random

import pytest

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug_router.dispatch import DispatchState, Effect, Event, Send, step
from glowplug_router.plan import plan
from glowplug_router.records.capacity import Offer, OfferTally
from glowplug_router.records.decided import Launch, Plan, Terminate
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Node, Observed
from glowplug_router.simulation.faults import NONE
from glowplug_router.simulation.market import provider
from glowplug_router.simulation.replay import (
    Bucket,
    Fleet,
    Provided,
    Request,
    StartTime,
    Timeline,
    replay,
    replay_apart,
)
from glowplug_router.simulation.replay.scene import ALWAYS_NS, devices
from glowplug_router.simulation.replay.timeline import BUCKETS_MAX
from glowplug_router.simulation.traces.synthetic import Shape, constant, on_off
from unit.router.simulation.scenes import NAME, calls, endpoint, scene


def bursts(seed: int = 1) -> list[Request]:
    shape = Shape(endpoint=NAME, service_p50_ns=SECOND, service_p90_ns=2 * SECOND)
    return list(on_off(Random(seed), 2.0, MINUTE, 3 * MINUTE, 20 * MINUTE, shape))


def test_a_call_to_nothing_waits_for_the_start_and_one_to_a_ready_replica_does_not() -> None:
    outcome = replay(scene(calls(0, 30)))

    assert list(outcome.calls.wait_ns) == [10 * SECOND, 0]
    assert list(outcome.calls.end_ns) == [11 * SECOND, SECOND]
    assert outcome.cold == 1
    assert outcome.codes() == {"open": 0, "done": 2, "late": 0, "refused": 0, "lost": 0}
    assert not outcome.violations


def test_replicas_cost_from_their_order_to_their_end() -> None:
    outcome = replay(scene(calls(0), until_ns=HOUR))

    idle_ns = endpoint().served.policy.zero_after_ns
    assert outcome.replica_ns == outcome.device_ns
    assert 10 * SECOND + idle_ns <= outcome.device_ns <= 12 * SECOND + idle_ns
    assert outcome.micro_usd == outcome.device_ns * 3_600_000 // HOUR
    assert outcome.span_ns == HOUR
    assert outcome.busy_ns == SECOND
    assert (outcome.uses[NAME].starts, outcome.uses[NAME].drains) == (1, 1)
    assert outcome.scale_operations == 2


def test_what_min_keeps_is_ready_when_the_traffic_comes_after_a_lead() -> None:
    kept = (endpoint(min=1),)
    without = replay(scene(calls(0), endpoints=kept, until_ns=MINUTE, lead_ns=0))
    led = replay(scene(calls(0), endpoints=kept, until_ns=MINUTE, lead_ns=MINUTE))

    assert (without.cold, led.cold) == (1, 0)
    assert led.span_ns == led.device_ns == MINUTE  # the lead is not metered


def test_the_same_scene_and_seed_give_the_same_digest() -> None:
    slow = (replace(endpoint(), start=StartTime(10 * SECOND, 30 * SECOND)),)
    digests = [replay(scene(bursts(), endpoints=slow), seed=seed).digest for seed in (1, 1, 2)]

    assert digests[0] == digests[1] != digests[2]


def test_a_call_past_its_deadline_ends_and_one_that_waits_past_it_is_refused() -> None:
    request = Request(MINUTE, NAME, 10 * SECOND, deadline_ns=5 * SECOND)
    outcome = replay(scene([*calls(0), request]))
    early = replay(scene([Request(0, NAME, SECOND, deadline_ns=5 * SECOND)]))

    assert outcome.codes()["late"] == 1
    assert early.codes()["refused"] == 1
    assert early.refusals


def test_a_queue_that_is_full_refuses() -> None:
    few = (endpoint(hold=2),)
    outcome = replay(scene(calls(0, 0, 0, 0), endpoints=few))

    assert outcome.refusals == {"hold_full": 2}
    assert outcome.calls.waits().quantile_ns(500) == 10 * SECOND
    assert outcome.calls.waits().quantile_ns(510) is None
    assert outcome.calls.waits().share_within(10 * SECOND) == 0.5


def test_without_room_calls_end_at_their_limit() -> None:
    outcome = replay(scene(calls(0), machines=0))

    assert outcome.codes()["refused"] == 1
    assert outcome.device_ns == 0


def test_faults_are_survived_and_every_call_gets_an_answer() -> None:
    wild = replace(
        NONE, late=0.2, twice=0.1, lost=0.1, busy=0.01, sick=0.2, kills=20, restarts=2, nodes=2
    )
    safe = (replace(endpoint(max=4), retry_safe=True, start_fails=0.1),)
    outcome = replay(
        scene(bursts(), endpoints=safe, faults=wild, calm_ns=20 * MINUTE, audit_every=1), seed=5
    )

    assert outcome.codes()["open"] == 0
    assert not outcome.violations, outcome.violations[:3]


def test_a_faster_machine_serves_sooner() -> None:
    fast = replace(devices(1), speeds=(("node0", 2000),))
    outcome = replay(scene(calls(0, 60), fleet=fast))

    assert outcome.calls.end_ns[1] == SECOND // 2


def test_a_dispatcher_that_sends_too_much_is_noticed() -> None:
    def crowds(state: DispatchState, event: Event, now_ns: int) -> tuple[Effect, ...]:
        effects = step(state, event, now_ns)
        return tuple(e for e in effects for _ in range(1 + isinstance(e, Send)))

    outcome = replay(scene(calls(0, 1, 2)), step=crowds)

    assert {found.invariant for found in outcome.violations} >= {"permits"}


def test_a_planner_that_wants_more_each_time_is_noticed() -> None:
    def restless(
        observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
    ) -> Plan:
        more = replace(observed.served[0].policy, min=len(observed.replicas) + 1)
        served = (replace(observed.served[0], policy=more),)
        return plan(replace(observed, served=served), demand, memory, now_ns)

    outcome = replay(scene(calls(0, 5), audit_every=1), restless)

    assert "idempotence" in {found.invariant for found in outcome.violations}


def test_endpoints_that_never_meet_come_to_the_same_alone_and_together() -> None:
    names = ("app/a", "app/b")
    traffic = sorted(
        [request for name in names for request in calls(0, 40, 700, name=name)],
        key=lambda request: request.at_ns,
    )
    both = scene(traffic, endpoints=tuple(endpoint(name) for name in names), until_ns=HOUR)
    together = replay(both)
    apart = replay_apart(both, lambda _: devices(4, price_micro_usd=3_600_000))

    assert apart.uses == together.uses
    assert apart.micro_usd == together.micro_usd
    assert sorted(apart.calls.wait_ns) == sorted(together.calls.wait_ns)
    assert len(list(apart.calls.rows("app/b"))) == 3
    assert sum(b.arrivals for b in apart.timeline.buckets) == 6


def test_waits_can_be_asked_for_by_class_and_tenant() -> None:
    traffic = [
        Request(0, NAME, SECOND, "batch", "ann"),
        Request(0, NAME, SECOND, "critical", "bob"),
    ]
    outcome = replay(scene(traffic))

    assert outcome.calls.waits(klass="batch").calls == 1
    assert outcome.calls.waits(tenant="bob").calls == 1
    assert outcome.calls.waits(tenant="eve").calls == 0
    assert outcome.calls.waits(tenant="eve").quantile_ns(990) == 0


@pytest.mark.parametrize("traffic", [calls(1, 0), calls(0, name="app/other")])
def test_traffic_out_of_order_or_to_nobody_is_a_mistake_of_the_scene(
    traffic: list[Request],
) -> None:
    with pytest.raises(AssertionError):
        replay(scene(traffic))


def test_a_run_that_goes_on_too_long_ends() -> None:
    with pytest.raises(AssertionError, match="going in circles"):
        replay(scene(bursts(), events_max=100))


# -- a market


class OneOffer:
    """A market with one machine, which is there after a while and taken away later."""

    OFFER = Offer(id="o", type="t", zone="z", market="spot", price_micro_usd=7, speed_permille=500)

    def __init__(self) -> None:
        self.launched_ns: int | None = None

    def offers(self, now_ns: int) -> tuple[Offer, ...]:
        return (self.OFFER,)

    def tallies(self, now_ns: int) -> tuple[OfferTally, ...]:
        return ()

    def nodes(self, now_ns: int) -> tuple[Node, ...]:
        if self.launched_ns is None or now_ns >= self.launched_ns + 100 * SECOND:
            return ()
        is_there = now_ns >= self.launched_ns + 20 * SECOND
        return (
            Node(
                id="m",
                cpu_milli=1000,
                memory_bytes=1 << 30,
                gpus=(("g", "gpu"),) if is_there else (),
                seen_ns=ALWAYS_NS,
                offer="o",
                state="ready" if is_there else "launching",
            ),
        )

    def launch(self, action: Launch, now_ns: int) -> None:
        self.launched_ns = now_ns

    def terminate(self, action: Terminate, now_ns: int) -> None:
        self.launched_ns = None

    def next_ns(self, now_ns: int) -> int | None:
        if self.launched_ns is None:
            return None
        moments = (self.launched_ns + 20 * SECOND, self.launched_ns + 100 * SECOND)
        return min((moment for moment in moments if moment > now_ns), default=None)

    def cost_micro_usd(self, now_ns: int) -> int:
        return 42


def launching(observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int) -> Plan:
    made = plan(replace(observed, offers=(), tallies=()), demand, memory, now_ns)
    if observed.nodes or memory.serial:
        return made
    order = Launch(id="l", node="m", offer="o", deadline_ns=now_ns + MINUTE, reason="test")
    return replace(made, actions=(order,))


def test_machines_of_a_market_come_serve_at_their_speed_and_go_with_what_ran_on_them() -> None:
    market = Fleet(market=lambda _: OneOffer())
    traffic = [*calls(0, 50), *calls(90, service_s=60)]
    outcome = replay(scene(traffic, fleet=market, audit_every=0, lead_ns=0), launching)

    assert outcome.calls.wait_ns[0] == 30 * SECOND  # 20 of the machine, 10 of the replica
    assert outcome.calls.end_ns[1] == 2 * SECOND  # half as fast
    assert outcome.codes()["lost"] == 1
    assert outcome.micro_usd == 0  # what it cost before the traffic does not count; it was the same


def test_the_simulated_provider_lends_machines_with_devices_and_bills_them() -> None:
    offer = Offer(
        id="o",
        type="t",
        zone="z",
        market="on_demand",
        price_micro_usd=3_600_000,
        devices=(("nvidia", 2),),
        model="NVIDIA L4",
        cpu_milli=4000,
        memory_bytes=1 << 30,
        launch_p50_ns=20 * SECOND,
    )
    market = provider.Market((offer,), {}, Random(1))
    provided = Provided(market)
    order = Launch(id="l", node="m", offer="o", deadline_ns=MINUTE, reason="test")
    provided.launch(order, 0)
    provided.launch(order, SECOND)
    (node,) = provided.nodes(MINUTE)

    assert node.gpus == (("m/0", "NVIDIA L4"), ("m/1", "NVIDIA L4"))
    assert node.state == "ready"
    assert provided.offers(MINUTE) == (offer,)
    assert [tally.launched for tally in provided.tallies(MINUTE)] == [1]
    assert provided.cost_micro_usd(MINUTE) == pytest.approx(60_000, abs=1)
    assert provided.next_ns(MINUTE) is None
    provided.terminate(Terminate(id="t", node="m", deadline_ns=HOUR, reason="test"), MINUTE)
    assert provided.nodes(MINUTE) == ()


def test_a_machine_that_is_given_back_takes_what_ran_on_it() -> None:
    def fickle(observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int) -> Plan:
        made = launching(observed, demand, memory, now_ns)
        if now_ns < 55 * SECOND or not observed.nodes:
            return made
        end = Terminate(id="t", node="m", deadline_ns=now_ns, reason="test")
        return replace(made, actions=(end,))

    market = Fleet(market=lambda _: OneOffer())
    traffic = [*calls(0), *calls(50, service_s=60), *calls(60)]
    outcome = replay(scene(traffic, fleet=market, audit_every=0, lead_ns=0), fickle)

    assert outcome.codes()["lost"] == 2  # the long one, and the one that came just then


# -- the timeline


def test_a_long_timeline_has_few_buckets_and_forgets_nothing() -> None:
    timeline = Timeline(0, SECOND)
    for second in range(5000):
        timeline.at(second * SECOND).arrivals += 1
        timeline.count(2, 1, second * SECOND)
    timeline.count(0, 0, 5000 * SECOND)

    assert len(timeline.buckets) <= BUCKETS_MAX
    assert timeline.bucket_ns == 8 * SECOND
    assert sum(bucket.arrivals for bucket in timeline.buckets) == 5000
    assert sum(bucket.ready_ns for bucket in timeline.buckets) == 10_000 * SECOND
    assert sum(bucket.starting_ns for bucket in timeline.buckets) == 5000 * SECOND


def test_calls_that_wait_are_seen_in_every_bucket_of_their_wait() -> None:
    outcome = replay(scene(calls(0, 0)))

    assert [bucket.queued_max for bucket in outcome.timeline.buckets[:12]] == [2] * 11 + [0]


def test_joined_buckets_add_counts_and_keep_peaks() -> None:
    one = Bucket(arrivals=1, queued_max=5, wait_max_ns=9, ready_ns=3)
    other = Bucket(arrivals=2, queued_max=4, wait_max_ns=10, ready_ns=4)

    assert one.joined(other) == Bucket(arrivals=3, queued_max=5, wait_max_ns=10, ready_ns=7)


def test_starts_are_drawn_through_both_quantiles() -> None:
    drawn = sorted(
        StartTime(10 * SECOND, 30 * SECOND).drawn(Random(number)) for number in range(4000)
    )

    assert drawn[2000] == pytest.approx(10 * SECOND, rel=0.1)
    assert drawn[3600] == pytest.approx(30 * SECOND, rel=0.1)
    assert StartTime(5).drawn(Random(1)) == 5


def test_a_steady_load_is_served_at_once_after_its_start() -> None:
    shape = Shape(endpoint=NAME, service_p50_ns=SECOND // 2, service_p90_ns=SECOND // 2)
    outcome = replay(scene(constant(Random(1), 4.0, HOUR // 2, shape), audit_every=16))

    assert outcome.calls.waits().share_within(SECOND) > 0.97
    assert not outcome.violations
