"""Does the loop do what was planned, once, and survive what it does not control?"""

from collections.abc import Sequence

import anyio
import pytest
from anyio.lowlevel import checkpoint

from control_records import POLICY
from glowplug.clock import SECOND, ManualClock
from glowplug.errors import CallError, StoreError
from glowplug.spec import Policy
from glowplug_router.records.observed import Demand
from glowplug_router.records.published import DemandReport
from glowplug_router.records.stored import Intent
from glowplug_router.store.memory import MemoryStore
from unit.router.control.stage import Node, Nodes, Stage, failing, stage

GREET = ("greet", "one")
KEY = "hello/greet@1"


def asks(it: Stage, arrivals: int, queued: int = 0, completed: int = 0, number: int = 1) -> None:
    now_ns = it.clock.now_ns()
    demand = Demand(
        key=KEY, arrivals=arrivals, completed=completed, queued=queued, last_arrival_ns=now_ns
    )
    it.world.demand.take(DemandReport(gateway="g", number=number, demands=(demand,)))
    it.world.changed.fire()


async def test_an_idle_endpoint_reaches_zero_and_an_arrival_starts_it_again() -> None:
    async with stage() as it:
        await it.deploy(GREET, policy=Policy(zero_after_ns=60 * SECOND))
        for _ in range(8):
            it.clock.advance(10 * SECOND)
            await it.settled()
        await it.until(lambda: not it.node.residencies)
        assert it.table.endpoints[0].versions[0].replicas == ()

        asks(it, arrivals=1, queued=1)
        await it.until(lambda: bool(it.node.residencies))
        await it.until(lambda: bool(it.table.endpoints[0].versions[0].replicas))


async def test_nothing_happens_while_nothing_changes() -> None:
    async with stage() as it:
        await it.deploy(GREET, policy=POLICY)
        await it.settled()
        tables, told, rounds = len(it.gateways.snapshots), len(it.node.told), it.world.moved.count

        for _ in range(20):
            await it.settled()

        assert (len(it.gateways.snapshots), len(it.node.told)) == (tables, told)
        assert it.world.moved.count == rounds


async def test_snapshots_are_numbered_upwards_over_controllers() -> None:
    async with stage() as it:
        await it.deploy(GREET)
    async with stage(it.store, it.nodes, it.clock) as again:
        await again.settled()

    numbers = [table.number for table in (*it.gateways.snapshots, *again.gateways.snapshots)]
    assert numbers == sorted(set(numbers))


async def test_a_new_controller_adopts_what_runs_and_ends_nothing() -> None:
    async with stage() as it:
        await it.deploy(GREET, policy=POLICY)
        before = dict(it.node.residencies)
        started = list(it.node.started)

    async with stage(it.store, it.nodes, it.clock) as again:
        await again.settled()
        assert again.node.residencies == before
        assert again.node.started == started
        assert all(desired.epoch == 2 for desired in again.node.told if desired.epoch != 1)
        assert [one.id for one in again.table.endpoints[0].versions[0].replicas] == started


async def test_a_controller_without_nodes_waits_and_plans_nothing_until_one_reports() -> None:
    async with stage() as it:
        await it.deploy(GREET, policy=POLICY)
    nodes = Nodes()
    it.clock.advance(SECOND)

    async def run() -> Stage:
        async with stage(it.store, nodes, it.clock) as again:
            nodes.nodes.append(it.node)
            again.world.changed.fire()
            await again.until(
                lambda: (
                    bool(again.gateways.snapshots)
                    and bool(again.table.endpoints[0].versions[0].replicas)
                )
            )
            return again

    async with anyio.create_task_group() as tasks:

        async def pass_time() -> None:
            for _ in range(8):
                it.clock.advance(SECOND // 2)
                for _ in range(20):
                    await checkpoint()

        tasks.start_soon(pass_time)
        again = await run()

    assert again.node.started == it.node.started
    assert len(it.node.residencies) == 1


async def test_a_controller_that_comes_back_publishes_nothing_before_a_node_has_reported() -> None:
    async with stage() as it:
        await it.deploy(GREET, policy=POLICY)
    nodes = Nodes()

    async with anyio.create_task_group() as tasks:

        async def pass_time() -> None:
            for _ in range(40):
                it.clock.advance(SECOND // 2)
                for _ in range(20):
                    await checkpoint()

        tasks.start_soon(pass_time)
        async with stage(it.store, nodes, it.clock) as again:  # it has given up waiting for a node
            await again.settled()
            assert again.gateways.snapshots == []

            nodes.nodes.append(it.node)
            again.world.changed.fire()
            await again.until(lambda: bool(again.gateways.snapshots))

            first = again.gateways.snapshots[0]
            assert [one.id for one in first.endpoints[0].versions[0].replicas] == it.node.started
            tasks.cancel_scope.cancel()


async def test_a_router_with_nothing_deployed_is_ready_before_any_node_has_reported() -> None:
    clock = ManualClock(SECOND)

    async with anyio.create_task_group() as tasks:

        async def pass_time() -> None:
            for _ in range(40):
                clock.advance(SECOND // 2)
                for _ in range(20):
                    await checkpoint()

        tasks.start_soon(pass_time)
        async with stage(nodes=Nodes(), clock=clock) as it:
            await it.until(lambda: bool(it.gateways.snapshots))
            assert it.table.endpoints == ()
            tasks.cancel_scope.cancel()


async def test_a_failed_replica_is_forgotten_and_another_started() -> None:
    async with stage() as it:
        await it.deploy(GREET, policy=POLICY)
        replica = it.node.started[0]
        it.node.residencies[replica] = failing(it.node.told[-1].wants[0])

        await it.until(lambda: len(it.node.started) == 2)

        assert replica not in it.node.residencies


async def test_callers_wait_for_another_try_and_are_told_why_when_there_is_none_left() -> None:
    async with stage() as it:
        await it.deploy(GREET, policy=POLICY)
        it.node.outcome = failing
        it.node.residencies[it.node.started[0]] = failing(it.node.told[-1].wants[0])
        await it.until(lambda: len(it.node.started) == 2)
        assert it.table.endpoints[0].versions[0].failed == ""

        for _ in range(40):
            it.clock.advance(2 * SECOND)
            await it.settled()
        assert it.table.endpoints[0].versions[0].failed == "ValueError: nope"

        it.node.outcome = Node().outcome
        await it.deploy(("greet", "two"), policy=POLICY)
        assert it.table.endpoints[0].versions[0].failed == ""


async def test_every_action_is_written_down_before_and_closed_after() -> None:
    async with stage() as it:
        await it.deploy(GREET)
        await it.deploy(("greet", "two"))
        await it.until(lambda: len(it.node.residencies) == 1)
        await it.settled()

        kinds = sorted(intent.kind for intent in it.store._intents.values())
        assert kinds == ["drain", "start", "start"]
        assert await it.store.open_intents() == ()


class FailingStore(MemoryStore):
    """A store whose disk may be full."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False

    async def write_intents(self, intents: Sequence[Intent], epoch: int) -> None:
        if self.full:
            raise StoreError("no space left", code="disk_full")
        await super().write_intents(intents, epoch)


async def test_while_the_store_fails_nothing_is_started_or_ended_and_then_it_goes_on() -> None:
    store = FailingStore()
    async with stage(store) as it:
        await it.deploy(GREET, policy=Policy(zero_after_ns=10 * SECOND))
        store.full = True
        for _ in range(6):
            it.clock.advance(5 * SECOND)
            await it.settled()
        assert len(it.node.residencies) == 1
        assert it.table.endpoints[0].versions[0].replicas != ()

        store.full = False
        for _ in range(4):
            it.clock.advance(SECOND)
            await it.settled()
        await it.until(lambda: not it.node.residencies)


async def test_a_controller_that_was_replaced_ends() -> None:
    store = MemoryStore()

    async def be_replaced() -> None:
        async with stage(store) as it:
            await it.deploy(GREET)
            await store.take_epoch("another")
            it.node.residencies.clear()
            asks(it, arrivals=5, queued=5)
            await it.until(lambda: False)

    with pytest.raises(ExceptionGroup) as ended:
        await be_replaced()

    assert ended.group_contains(CallError, match="has replaced this one")


async def test_a_decision_is_stored_when_it_changes_and_not_each_time_it_is_made() -> None:
    async with stage() as it:
        await it.deploy(GREET, policy=POLICY)
        await it.settled()
        before = len(await it.store.decisions())
        for number in range(2, 30):
            asks(it, arrivals=number, completed=number, number=number)
            await it.settled()

        assert len(await it.store.decisions()) - before <= 2


async def test_stopping_drains_every_replica() -> None:
    async with stage() as it:
        await it.deploy(GREET, ("count", "one"), policy=POLICY)

        await it.controller.drain_all(10 * SECOND)

        assert not it.node.residencies
