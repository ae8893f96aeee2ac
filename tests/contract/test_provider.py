"""What does every provider of machines promise? One suite: where nothing can be launched, and on a simulated market."""

from dataclasses import dataclass
from random import Random

import anyio
import anyio.lowlevel
import pytest

from glowplug.clock import MINUTE, SECOND, ManualClock
from glowplug.errors import CallError
from glowplug_router.objects.memory import MemoryObjects
from glowplug_router.ports import Provider
from glowplug_router.providers.local import LocalProvider
from glowplug_router.providers.simulated import SimulatedProvider
from glowplug_router.records.capacity import Offer
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.simulation.market.provider import Market
from glowplug_router.simulation.market.series import series

OFFERS = (
    Offer(
        id="g6/z/od",
        type="g6",
        zone="z",
        market="on_demand",
        price_micro_usd=1_000_000,
        devices=(("nvidia", 1),),
        model="NVIDIA L4",
        launch_p50_ns=60 * SECOND,
        launch_p90_ns=90 * SECOND,
    ),
    Offer(
        id="g6/z/spot",
        type="g6",
        zone="z",
        market="spot",
        price_micro_usd=300_000,
        devices=(("nvidia", 1),),
        model="NVIDIA L4",
        launch_p50_ns=60 * SECOND,
    ),
)


class NoSecrets:
    """The SecretStore port where nobody has any."""

    async def names(self) -> tuple[str, ...]:
        return ()

    async def set(self, name: str, value: str) -> None:
        raise AssertionError(name)

    async def remove(self, name: str) -> bool:
        return False

    async def values(self, names: object) -> dict[str, str]:
        return {}


@dataclass
class Case:
    provider: Provider
    clock: ManualClock
    launches: bool


def local(clock: ManualClock) -> Case:
    return Case(LocalProvider(MemoryObjects(), NoSecrets()), clock, launches=False)


def simulated(clock: ManualClock) -> Case:
    market = Market(OFFERS, {"g6/z/spot": series([(0, 0)])}, Random(1))
    return Case(SimulatedProvider(market, clock), clock, launches=True)


@pytest.fixture(params=[local, simulated])
async def case(request: pytest.FixtureRequest) -> Case:
    made: Case = request.param(ManualClock(1_000 * SECOND))
    return made


@pytest.fixture(params=[simulated])
async def market(request: pytest.FixtureRequest) -> Case:
    """A provider that launches: every one but that of machines that are simply there."""
    made: Case = request.param(ManualClock(1_000 * SECOND))
    return made


def launch(node: str = "m1", offer: str = "g6/z/od") -> Launch:
    return Launch(id=f"launch {node}", node=node, offer=offer, reason="test")


async def test_what_was_not_launched_is_not_there(case: Case) -> None:
    said = await case.provider.machines()

    assert (said.nodes, await case.provider.links()) == ((), ())
    assert bool(said.offers) == case.launches
    assert await case.provider.report("m1") is None


async def test_an_offer_that_nobody_makes_is_an_error(case: Case) -> None:
    with pytest.raises(CallError) as caught:
        await case.provider.launch(launch(offer="x9.huge"))

    assert caught.value.code == "not_found"
    assert (await case.provider.machines()).nodes == ()


async def test_giving_back_what_is_not_there_is_no_error(case: Case) -> None:
    await case.provider.terminate(Terminate(id="t", node="m9", reason="test"))

    assert (await case.provider.machines()).nodes == ()


async def test_a_machine_is_there_from_its_order_until_it_is_given_back(market: Case) -> None:
    await market.provider.launch(launch())
    await market.provider.launch(launch())  # heard twice, done once
    (coming,) = (await market.provider.machines()).nodes
    assert (coming.id, coming.offer, coming.state) == ("m1", "g6/z/od", "launching")
    assert await market.provider.links() == ()

    market.clock.advance(2 * MINUTE)
    (there,) = (await market.provider.machines()).nodes
    assert (there.state, [link.node for link in await market.provider.links()]) == ("ready", ["m1"])
    report = await market.provider.report("m1")
    assert report is not None
    assert [gpu.name for gpu in report.inventory.gpus] == ["NVIDIA L4"]

    await market.provider.terminate(Terminate(id="t", node="m1", reason="test"))
    assert (await market.provider.machines()).nodes == ()
    assert await market.provider.links() == ()


async def test_a_refusal_is_counted_and_raises_nothing(market: Case) -> None:
    await market.provider.launch(launch(offer="g6/z/spot"))
    said = await market.provider.machines()

    assert said.nodes == ()
    assert {tally.offer: tally.refused for tally in said.tallies}["g6/z/spot"] == 1


async def test_who_waits_hears_of_a_machine_that_comes(market: Case) -> None:
    await market.provider.launch(launch())
    await market.provider.changed()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(market.provider.changed)
        await anyio.lowlevel.checkpoint()
        market.clock.advance(2 * MINUTE)

    assert [link.node for link in await market.provider.links()] == ["m1"]
