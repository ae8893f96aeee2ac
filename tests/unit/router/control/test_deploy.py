"""Does an app get from one generation to the next whole, or not at all?"""

from dataclasses import replace

import anyio
import pytest

from glowplug.errors import CallError
from glowplug.spec import Policy
from glowplug_router.control.request import Wanted
from glowplug_router.control.steps import Step
from glowplug_router.control.trials import Tell
from unit.router.control.stage import Stage, failing, slow, stage, wanted

GREET = ("greet", "one")


async def test_a_first_deploy_starts_one_replica_of_each_version_and_makes_them_live() -> None:
    async with stage() as it:
        done = await it.deploy(GREET, ("count", "one"))

        assert done.generation == 1
        assert sorted(name(it)) == ["hello/count@1", "hello/greet@1"]
        assert [step.step for step in it.steps][-1] == "commit"
        assert said(it.steps, "exercise") == ["not exercised", "not exercised"]
        routes = {route.endpoint: route for route in it.table.endpoints}
        assert [version.permille for version in routes["greet"].versions] == [1000]
        assert routes["greet"].versions[0].replicas[0].address.startswith("unix:")
        assert it.table.openapi[0][0] == "hello"


async def test_nothing_is_published_for_an_app_before_its_commit() -> None:
    async with stage() as it:
        it.node.outcome = slow
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(it.deploy, GREET)
            await it.until(lambda: bool(it.node.started))
            assert all(not table.endpoints for table in it.gateways.snapshots)
            tasks.cancel_scope.cancel()


async def test_deploying_the_same_again_changes_nothing() -> None:
    async with stage() as it:
        first = await it.deploy(GREET)
        again = await it.deploy(GREET)

        assert again == first
        assert len(it.node.started) == 1


async def test_another_policy_makes_a_generation_and_restarts_nothing() -> None:
    async with stage() as it:
        await it.deploy(GREET)
        done = await it.deploy(GREET, policy=Policy(max=9, hold=7))
        await it.settled()

        assert done.generation == 2
        assert len(it.node.started) == 1
        assert len(await it.store.versions()) == 1
        assert it.table.endpoints[0].versions[0].hold == 7


async def test_a_policy_set_by_hand_holds_until_the_code_says_something_else() -> None:
    async with stage() as it:
        await it.deploy(GREET, policy=Policy(max=2))
        await it.world.catalog.set_policy("hello", "greet", Policy(max=7))

        again = await it.deploy(GREET, policy=Policy(max=2))
        assert again.generation == 1
        await it.deploy(("greet", "two"), policy=Policy(max=2))
        assert it.world.catalog.policies["hello", "greet"] == Policy(max=7)
        await it.deployer.rollback("hello", 0, it.steps.append)
        assert it.world.catalog.policies["hello", "greet"] == Policy(max=7)

        await it.deploy(("greet", "two"), policy=Policy(max=3))
        assert it.world.catalog.policies["hello", "greet"] == Policy(max=3)


def needing(name: str, **needs: object) -> Wanted:
    """Return a release of one endpoint of always one replica, with these needs."""
    asked = wanted((name, "one"), policy=Policy(min=1))
    ((made, parts),) = asked.drafts
    greedy = replace(made, spec=replace(made.spec, needs=replace(made.spec.needs, **needs)))  # type: ignore[arg-type]  # of the test
    return replace(asked, app=made.app, drafts=((greedy, parts),))


async def test_a_replica_for_which_room_is_taken_waits_with_the_reason_and_then_fails_the_deploy() -> (
    None
):
    async with stage() as it:
        first = needing("greet", memory_bytes=6 << 30)
        await it.deployer.deploy(first, it.steps.append)
        failures: list[CallError] = []

        async def deploy() -> None:
            more = needing("count", memory_bytes=6 << 30)
            both = replace(
                more, drafts=first.drafts + more.drafts, policies=first.policies + more.policies
            )
            try:
                await it.deployer.deploy(both, it.steps.append)
            except CallError as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deploy)
            await it.settled()
            assert any("1 more wanted" in step.detail for step in it.steps)
            assert not failures
            for _ in range(14):
                it.clock.advance(5_000_000_000)
                await it.settled()

        assert failures[0].code == "start_timeout"
        assert "1 more wanted" in failures[0].message


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        ({"gpu_count": 1, "device": "cuda"}, 'no node here has a GPU; device="auto" runs without'),
        ({"memory_bytes": 1 << 50}, "no node is big enough, even when empty"),
        ({"cpu_milli": 512_000}, "no node is big enough, even when empty"),
    ],
)
async def test_what_no_node_could_ever_hold_fails_the_deploy_at_once(
    needs: dict[str, object], why: str
) -> None:
    async with stage() as it:
        with pytest.raises(CallError, match=why) as refused:
            await it.deployer.deploy(needing("greet", **needs), it.steps.append)

        assert refused.value.code == "deploy_failed"
        assert "timeout" not in refused.value.hint
        assert not it.world.trials


async def test_new_code_replaces_the_old_after_it_is_ready() -> None:
    async with stage() as it:
        await it.deploy(GREET)
        done = await it.deploy(("greet", "two"))
        await it.until(lambda: name(it) == ["hello/greet@2"])

        assert done.generation == 2
        assert [share.version for share in done.routes[0].shares] == [2]
        assert [version.number for version in it.table.endpoints[0].versions] == [2]


async def test_a_version_that_does_not_start_never_gets_traffic_and_is_removed() -> None:
    async with stage() as it:
        await it.deploy(GREET)
        it.node.outcome = failing

        with pytest.raises(CallError, match="ValueError: nope") as refused:
            await it.deploy(("greet", "two"))

        assert refused.value.code == "start_failed"
        await it.until(lambda: name(it) == ["hello/greet@1"])
        assert it.world.trials == {}
        assert all(
            version.number == 1
            for table in it.gateways.snapshots
            for e in table.endpoints
            for version in e.versions
        )
        assert [one.generation for one in await it.store.deployments()] == [1]


async def test_a_version_that_failed_may_be_deployed_again_at_once() -> None:
    async with stage() as it:
        it.node.outcome = failing
        with pytest.raises(CallError):
            await it.deploy(GREET)
        it.node.outcome = type(it.node)().outcome

        assert (await it.deploy(GREET)).generation == 1


async def test_a_replica_that_is_not_ready_in_time_fails_the_deploy() -> None:
    async with stage() as it:
        it.node.outcome = slow
        failure: list[str] = []

        async def deploy() -> None:
            try:
                await it.deploy(GREET)
            except CallError as error:
                failure.append(error.code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deploy)
            await it.until(lambda: bool(it.node.started))
            for _ in range(60):
                it.clock.advance(14_000_000_000)
                await it.settled()

        assert failure == ["start_timeout"]
        assert await it.store.live() == ()


async def test_a_second_deploy_of_the_same_app_is_told_to_wait() -> None:
    async with stage() as it:
        it.node.outcome = slow
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(it.deploy, GREET)
            await it.until(lambda: bool(it.node.started))
            with pytest.raises(
                CallError, match="another deployment of hello is under way"
            ) as refused:
                await it.deploy(("greet", "two"))
            tasks.cancel_scope.cancel()

        assert refused.value.code == "conflict"


async def test_rollback_goes_to_the_last_generation_that_differs() -> None:
    async with stage() as it:
        await it.deploy(GREET)
        await it.deploy(("greet", "two"))
        await it.deploy(("greet", "two"), policy=Policy(max=2))

        done = await it.deployer.rollback("hello", 0, it.steps.append)

        assert (done.generation, done.rollback_of) == (4, 1)
        assert [share.version for share in done.routes[0].shares] == [1]
        await it.until(lambda: name(it) == ["hello/greet@1"])


async def test_rollback_to_a_generation_that_is_not_there_is_refused() -> None:
    async with stage() as it:
        await it.deploy(GREET)

        for generation in (0, 7):
            with pytest.raises(CallError) as refused:
                await it.deployer.rollback("hello", generation, it.steps.append)
            assert refused.value.code == "version_not_found"
        with pytest.raises(CallError) as refused:
            await it.deployer.rollback("nobody", 0, it.steps.append)
        assert refused.value.code == "not_found"


async def test_stop_drains_everything_and_a_deploy_starts_it_again() -> None:
    async with stage() as it:
        await it.deploy(GREET)

        stopped = await it.deployer.stop("hello")
        await it.until(lambda: not it.node.residencies)
        assert stopped.stopped
        assert it.table.endpoints[0].stopped
        assert await it.deployer.stop("hello") == stopped

        done = await it.deploy(GREET)
        assert (done.generation, done.stopped) == (3, False)
        assert name(it) == ["hello/greet@1"]


async def test_dev_turns_the_running_replica_into_the_new_version() -> None:
    async with stage() as it:
        await it.deploy(GREET)
        await it.deploy(("greet", "two"), dev=True)
        await it.settled()

        assert it.node.swapped == it.node.started
        assert name(it) == ["hello/greet@2"]
        assert it.table.endpoints[0].versions[0].dev


async def test_dev_starts_a_replica_when_what_is_loaded_has_changed() -> None:
    async with stage() as it:
        await it.deploy(GREET)
        await it.deployer.deploy(
            wanted(("greet", "two"), dev=True, load_key="other"), it.steps.append
        )
        await it.until(lambda: name(it) == ["hello/greet@2"])

        assert it.node.swapped == []
        assert len(it.node.started) == 2


@pytest.mark.parametrize("after", range(12))
async def test_a_deploy_that_is_cut_off_anywhere_leaves_old_or_new(after: int) -> None:
    async with stage() as it:
        await it.deploy(GREET, ("count", "one"))
        with anyio.CancelScope() as scope:
            await it.deployer.deploy(wanted(("greet", "two"), ("count", "two")), cut(scope, after))
        await it.settled()

        live = it.world.catalog.live["hello"]
        number = live.generation
        await it.until(
            lambda: sorted(name(it)) == [f"hello/count@{number}", f"hello/greet@{number}"]
        )
        assert (await it.store.live())[0] == live


@pytest.mark.parametrize("after", range(12))
async def test_a_controller_that_dies_in_a_deploy_leaves_old_or_new_to_the_next(after: int) -> None:
    with anyio.CancelScope() as scope:
        async with stage() as it:
            await it.deploy(GREET, ("count", "one"))
            await it.deployer.deploy(wanted(("greet", "two"), ("count", "two")), cut(scope, after))

    async with stage(it.store, it.nodes, it.clock) as again:
        number = again.world.catalog.live["hello"].generation
        expected = [f"hello/count@{number}", f"hello/greet@{number}"]
        await again.until(lambda: sorted(name(again)) == expected)
        assert await again.store.open_intents() == () or again.world.epoch == 2


def cut(scope: anyio.CancelScope, after: int) -> Tell:
    left = after

    def tell(step: Step) -> None:
        nonlocal left
        if left == 0:
            scope.cancel()
        left -= 1

    return tell


def name(it: Stage) -> list[str]:
    return [one.version for one in it.node.residencies.values()]


def said(steps: list[Step], step: str) -> list[str]:
    return [one.state for one in steps if one.step == step]
