"""Does the controller launch machines, use them, and give them back? On a simulated market, in a clock's time."""

from random import Random

import anyio

from glowplug.clock import HOUR, MINUTE, SECOND, ManualClock
from glowplug.errors import CallError, call_error
from glowplug.spec import Policy
from glowplug_router.control.actions import still_right
from glowplug_router.control.machines import GONE_MAX, MachineBook
from glowplug_router.providers.simulated import SimulatedProvider
from glowplug_router.records.capacity import Offer
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Demand, Machines, Node
from glowplug_router.records.published import DemandReport
from glowplug_router.simulation.market.provider import Market
from glowplug_router.simulation.market.series import Series, series
from glowplug_router.store.memory import MemoryStore
from unit.router.control.stage import Stage, stage

START = 1_000 * SECOND
KEEP_ONE = Policy(min=1)
FOR_EVER = series([(0, 9)])


def offer(market: str = "spot", zone: str = "z1") -> Offer:
    return Offer(
        id=f"g6/{zone}/{market}",
        type="g6",
        zone=zone,
        market=market,  # type: ignore[arg-type]  # one of two
        price_micro_usd=300_000 if market == "spot" else 1_000_000,
        devices=(("nvidia", 1),),
        model="NVIDIA L4",
        cpu_milli=8000,
        memory_bytes=1 << 34,
        launch_p50_ns=40 * SECOND,
        launch_p90_ns=50 * SECOND,
    )


def market(spot: Series = FOR_EVER) -> Market:
    offers = (offer(), offer("on_demand", "z2"))
    return Market(offers, {"g6/z1/spot": spot}, Random(1), now_ns=START)


class Refusing(SimulatedProvider):
    """A provider whose API takes no orders for a while."""

    until_ns = 0

    async def launch(self, order: Launch) -> None:
        if self._clock.now_ns() < self.until_ns:
            raise call_error("overloaded", "RequestLimitExceeded")
        await super().launch(order)


async def passed(on: Stage, by_ns: int, step_ns: int = 5 * SECOND) -> None:
    """Let time pass as it does: in small steps, with everybody awake in between."""
    for _ in range(by_ns // step_ns):
        on.clock.advance(step_ns)
        await on.settled()


def ready_of(on: Stage) -> list[str]:
    replicas = on.world.fleet.replicas(on.clock.now_ns())
    return [one.node for one in replicas if one.state == "ready"]


def said(on: Stage) -> Machines:
    return on.world.machines.said


async def deployed(on: Stage, policy: Policy = KEEP_ONE) -> None:
    """Deploy an app while the market's first machine comes."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: on.deploy(("greet", "one"), policy=policy))
        await passed(on, 2 * MINUTE)


async def test_a_deployment_has_its_machine_launched_and_its_end_gives_it_back() -> None:
    clock = ManualClock(START)
    provider = SimulatedProvider(market(), clock)
    store = MemoryStore()
    async with stage(store, clock=clock, provider=provider) as on:
        await deployed(on)
        (machine,) = said(on).nodes
        assert (machine.offer, machine.state, ready_of(on)) == ("g6/z1/spot", "ready", [machine.id])

        await on.deployer.stop("hello")
        await passed(on, 2 * MINUTE)
        assert said(on).nodes == ()
        assert [tally.launched for tally in said(on).tallies] == [1, 0]
        assert not [one for one in await store.open_intents() if one.kind != "drain"]


async def test_calls_from_zero_have_a_machine_launched_and_idleness_ends_it() -> None:
    clock = ManualClock(START)
    provider = SimulatedProvider(market(), clock)
    async with stage(clock=clock, provider=provider) as on:
        await deployed(on, Policy(zero_after_ns=10 * SECOND))
        await passed(on, 5 * MINUTE)
        assert said(on).nodes == ()
        assert on.world.fleet.nodes == {}, "what was known of a machine that is gone is kept"

        row = Demand(key="hello/greet@1", arrivals=1, queued=1, last_arrival_ns=on.clock.now_ns())
        on.world.demand.take(DemandReport(gateway="g", number=1, demands=(row,)))
        on.world.changed.fire()
        await on.settled()
        assert [node.state for node in said(on).nodes] == ["launching"]
        assert on.world.explained["hello/greet@1"].rule == "machine"
        await passed(on, MINUTE)
        assert len(ready_of(on)) == 1


async def test_notice_has_another_machine_ready_before_the_first_one_goes() -> None:
    clock = ManualClock(START)
    spot = series([(0, 9), (START + HOUR, 0)])
    provider = SimulatedProvider(market(spot), clock)
    async with stage(clock=clock, provider=provider) as on:
        await deployed(on)
        first = ready_of(on)
        await passed(on, 56 * MINUTE, 10 * SECOND)
        for _ in range(80):
            await passed(on, 5 * SECOND)
            assert ready_of(on), f"nothing is ready at {(on.clock.now_ns() - START) / SECOND} s"
        second = ready_of(on)

        assert first != second
        assert [node.offer for node in said(on).nodes] == ["g6/z2/on_demand"]


async def test_a_provider_that_takes_no_orders_is_asked_again() -> None:
    clock = ManualClock(START)
    provider = Refusing(market(), clock)
    provider.until_ns = START + MINUTE
    store = MemoryStore()
    async with stage(store, clock=clock, provider=provider) as on:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: on.deploy(("greet", "one"), policy=KEEP_ONE))
            await passed(on, 55 * SECOND)
            assert said(on).nodes == ()
            await passed(on, 2 * MINUTE)
        assert len(ready_of(on)) == 1


async def test_a_controller_that_comes_after_finds_its_machines_and_launches_none() -> None:
    clock = ManualClock(START)
    provider = SimulatedProvider(market(), clock)
    store = MemoryStore()
    async with stage(store, clock=clock, provider=provider) as on:
        await deployed(on)
        first = said(on).nodes
    async with stage(store, clock=clock, provider=provider) as on:
        await passed(on, 10 * MINUTE, 10 * SECOND)
        assert [node.id for node in said(on).nodes] == [node.id for node in first]
        assert ready_of(on) == [first[0].id]


# -- joined


def machine(name: str = "m", **others: object) -> Node:
    made = {
        "cpu_milli": 1,
        "memory_bytes": 1,
        "offer": "o",
        "state": "ready",
        "since_ns": 5,
    } | others
    return Node(id=name, **made)  # type: ignore[arg-type]  # a builder takes any field


def test_a_machine_without_an_agent_counts_as_launching_since_this_controller_knows_it() -> None:
    book = MachineBook()
    assert book.take(Machines(nodes=(machine(),)), 100)
    assert not book.take(Machines(nodes=(machine(),)), 200)

    (seen,) = book.nodes((), 300)
    assert (seen.state, seen.since_ns, seen.seen_ns) == ("launching", 100, 300)


def test_what_the_provider_says_of_a_machine_joins_what_its_agent_reports() -> None:
    book = MachineBook()
    book.take(Machines(nodes=(machine(leaves_ns=9), machine("s", state="stopped"))), 100)
    agent = Node(id="m", cpu_milli=4000, memory_bytes=7, seen_ns=50)
    plain = Node(id="here", cpu_milli=4000, memory_bytes=7, seen_ns=50)
    joined, alone, stopped = book.nodes((agent, plain), 300)

    assert (joined.offer, joined.leaves_ns, joined.cpu_milli, joined.seen_ns) == ("o", 9, 4000, 50)
    assert alone == plain
    assert (stopped.state, stopped.seen_ns) == ("stopped", 300)


def test_a_machine_that_the_provider_has_no_more_is_gone_whatever_its_agent_said_last() -> None:
    book = MachineBook()
    agent = Node(id="m", cpu_milli=4000, memory_bytes=7, seen_ns=50)
    book.take(Machines(nodes=(machine(),)), 100)
    assert book.nodes((agent,), 150) != ()
    book.take(Machines(), 200)
    assert book.nodes((agent,), 250) == ()

    book.take(Machines(nodes=(machine(),)), 300)
    assert [node.id for node in book.nodes((agent,), 350)] == ["m"]


def test_only_the_last_machines_that_are_gone_are_remembered() -> None:
    book = MachineBook()
    names = [f"m{number:05}" for number in range(GONE_MAX + 1)]
    book.take(Machines(nodes=tuple(machine(name) for name in names)), 100)
    book.take(Machines(), 200)
    first, last = (Node(id=name, cpu_milli=1, memory_bytes=1) for name in (names[0], names[-1]))

    assert book.nodes((first, last), 300) == (first,)


async def test_orders_are_checked_again() -> None:
    order = Launch(id="l", node="m", offer="o", reason="", precondition="is_absent")
    end = Terminate(id="t", node="m", reason="", precondition="is_empty")
    async with stage() as on:
        assert still_right(order, on.world, START)
        assert not still_right(end, on.world, START)
        on.world.machines.take(Machines(nodes=(machine(),)), START)
        assert not still_right(order, on.world, START)
        assert still_right(end, on.world, START)
        on.world.machines.take(Machines(nodes=(machine(state="stopped"),)), START)
        assert still_right(order, on.world, START)

        await on.deploy(("greet", "one"), policy=KEEP_ONE)
        on.world.machines.take(Machines(nodes=(machine(on.node.node),)), START)
        busy = Terminate(id="t", node=on.node.node, reason="", precondition="is_empty")
        assert not still_right(busy, on.world, START)


def test_errors_of_the_provider_are_of_the_tree() -> None:
    assert isinstance(call_error("overloaded", "x"), CallError)
