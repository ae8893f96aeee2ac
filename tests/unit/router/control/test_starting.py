"""Do gateways hear how far the start has come that their calls wait for?"""

import pytest

from glowplug.node.messages import Residency, Want
from glowplug.spec import Policy
from glowplug_router.control.snapshots import NO_ROOM, PHASES, snapshot
from glowplug_router.records.stored import Explain
from unit.router.control.stage import Stage, stage

GREET = ("greet", "one")
KEY = "hello/greet@1"


def starting(it: Stage) -> str:
    return it.table.endpoints[0].versions[0].starting


@pytest.mark.parametrize("state", PHASES)
async def test_the_state_that_the_node_reports_is_told_as_a_phase(state: str) -> None:
    def on_its_way(want: Want) -> Residency:
        return Residency(replica=want.replica, version=want.version, state=state)  # type: ignore[arg-type]  # one of them

    async with stage() as it:
        await it.deploy(GREET, policy=Policy(min=1))
        assert starting(it) == ""
        it.node.outcome = on_its_way
        it.node.residencies.clear()

        await it.until(lambda: starting(it) == PHASES[state])


@pytest.mark.parametrize(
    ("rule", "phase"), [*((rule, "capacity") for rule in sorted(NO_ROOM)), ("idle", "")]
)
async def test_a_version_that_finds_no_room_says_so(rule: str, phase: str) -> None:
    async with stage() as it:
        await it.deploy(GREET)
        it.world.explained[KEY] = Explain(subject=KEY, rule=rule, text="")
        fleet, now_ns = it.world.fleet, it.clock.now_ns()
        for replica in fleet.replicas(now_ns):
            fleet.forget(replica.id)
        it.node.residencies.clear()
        fleet.take_report(it.node.report(), now_ns)
        table = snapshot(it.world, 1, now_ns)

        assert table.endpoints[0].versions[0].starting == phase
