"""Does one app that cannot be planned or shown leave all the others alone?"""

from dataclasses import replace

from control_records import POLICY
from glowplug.clock import SECOND
from glowplug.spec import Json, Policy
from glowplug_router.control.containment import without
from glowplug_router.records.observed import Demand, Node, Observed, Replica, Served
from glowplug_router.records.published import DemandReport
from glowplug_router.store.memory import MemoryStore
from unit.router.control.stage import Stage, stage, wanted

POISON = Policy(target_concurrency=1e308, min=1)
GREET, OTHER = ("greet", "one"), "other"


async def deploy_other(it: Stage) -> None:
    asked = wanted(GREET, policy=POLICY)
    ((draft, parts),) = asked.drafts
    mine = replace(draft, app=OTHER, spec=replace(draft.spec, app=OTHER))
    await it.deployer.deploy(replace(asked, app=OTHER, drafts=((mine, parts),)), it.steps.append)


async def poisoned() -> Stage:
    """Return what is left of a controller with two apps, after one's policy was spoiled in the store."""
    async with stage() as it:
        await it.deploy(GREET, policy=POLICY)
        await deploy_other(it)
        await it.store.set_policy("hello", "greet", POISON, it.world.epoch)
        it.node.residencies.clear()
    return it


async def asked(it: Stage, key: str = "hello/greet@1") -> None:
    """Have calls come in: only what is asked for has its load weighed, which is where the poison works."""
    demand = Demand(key=key, arrivals=1, queued=1, last_arrival_ns=it.clock.now_ns())
    it.world.demand.take(DemandReport(gateway="g", number=1, demands=(demand,)))
    it.world.changed.fire()
    await it.settled()


async def left_out(it: Stage) -> bool:
    return any(row.rule == "left_out" for _, row in await it.store.decisions("hello/greet"))


def replicas(it: Stage, app: str) -> int:
    return sum(one.version.startswith(f"{app}/") for one in it.node.residencies.values())


async def test_a_controller_starts_over_a_poisoned_policy_and_serves_the_other_apps() -> None:
    before = await poisoned()

    async with stage(before.store, before.nodes, before.clock) as it:
        await asked(it)
        await it.until(lambda: replicas(it, OTHER) == 1)
        await it.until(lambda: {one.app for one in it.table.endpoints} == {"hello", OTHER})

        it.node.residencies.clear()  # what is lost of the other app comes back
        it.world.changed.fire()
        await it.until(lambda: replicas(it, OTHER) == 1)
        ((_, row),) = await it.store.decisions("hello/greet", 1)
        assert (row.subject, row.rule) == ("hello/greet@1", "left_out")
        assert "OverflowError" in row.text


async def test_what_a_left_out_app_has_running_stays() -> None:
    async with stage() as it:
        await it.deploy(GREET, policy=POLICY)
        await it.store.set_policy("hello", "greet", POISON, it.world.epoch)
        running = dict(it.node.residencies)
    async with stage(it.store, it.nodes, it.clock) as again:
        await asked(again)
        assert await left_out(again)
        for _ in range(4):
            again.clock.advance(5 * SECOND)
            await again.settled()

        assert again.node.residencies == running
        assert again.table.endpoints[0].versions[0].replicas != ()


async def test_an_app_that_was_left_out_can_be_stopped() -> None:
    before = await poisoned()

    async with stage(before.store, before.nodes, before.clock) as it:
        await asked(it)
        assert await left_out(it)
        assert (await it.deployer.stop("hello")).stopped
        await it.until(lambda: it.table.endpoints[0].stopped)


async def test_a_new_deployment_of_an_app_that_was_left_out_heals_it() -> None:
    before = await poisoned()

    async with stage(before.store, before.nodes, before.clock) as it:
        await asked(it)
        assert await left_out(it)
        await it.deploy(("greet", "two"), policy=POLICY)

        assert it.world.catalog.policies["hello", "greet"] == POLICY
        await it.until(lambda: replicas(it, "hello") == 1)
        it.clock.advance(5 * SECOND)
        await it.until(lambda: it.world.explained["hello/greet@2"].rule != "left_out")


async def test_a_policy_that_is_put_right_is_planned_again_within_seconds() -> None:
    before = await poisoned()

    async with stage(before.store, before.nodes, before.clock) as it:
        await asked(it)
        assert await left_out(it)
        await it.world.catalog.set_policy("hello", "greet", POLICY)
        it.clock.advance(5 * SECOND)
        await it.until(lambda: it.world.explained["hello/greet@1"].rule != "left_out")
        assert replicas(it, "hello") == 1


async def test_schemas_that_make_no_document_leave_an_empty_one() -> None:
    schemas: list[Json] = [{"$defs": [1]}, "x"]
    for number, bad in enumerate(schemas):
        release = wanted((f"unshowable{number}", "one"), policy=POLICY)
        ((draft, parts),) = release.drafts
        schema = replace(draft.spec.schema, request=bad, files=("a",))
        broken = replace(draft, spec=replace(draft.spec, schema=schema))
        async with stage(MemoryStore()) as it:
            await it.deployer.deploy(replace(release, drafts=((broken, parts),)), it.steps.append)

            assert it.table.openapi[0][0] == "hello"
            assert '"paths": {}' in it.table.openapi[0][1]
            assert it.table.endpoints[0].versions[0].replicas != ()


def test_the_room_of_what_is_left_out_stays_taken() -> None:
    served = tuple(
        Served(key=key, policy=Policy(), permits=1, permille=1000, gpu_count=1, memory_bytes=30)
        for key in ("a/x@1", "b/x@1")
    )
    mine = Replica(id="r", version="a/x@1", node="n", state="ready", gpus=("g1",))
    node = Node(id="n", cpu_milli=1, memory_bytes=100, gpus=(("g1", "L4"), ("g2", "L4")))
    seen = Observed(epoch=1, served=served, nodes=(node,), replicas=(mine,))

    left = without(seen, frozenset({"a/x@1"}))

    assert (left.served, left.replicas) == (served[1:], ())
    assert left.nodes == (replace(node, memory_bytes=70, gpus=(("g2", "L4"),)),)
