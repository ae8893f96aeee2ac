"""Is no device given twice when GPUs are shared, cut in slices and joined to gangs, and machines come and go?"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

import pytest

from glowplug.clock import MILLISECOND, SECOND
from glowplug.spec import Policy
from glowplug_router.plan import plan
from glowplug_router.records.decided import Plan, Start
from glowplug_router.records.devices import DeviceNeeds, DeviceSlot, Part
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Node, Observed, Served
from glowplug_router.simulation.faults import Rates
from glowplug_router.simulation.replay import (
    Endpoint,
    Fleet,
    Outcome,
    Planner,
    Request,
    Scene,
    StartTime,
    replay,
)
from glowplug_router.simulation.replay.scene import ALWAYS_NS

SEEDS = 20
MANY_SEEDS = 300
CONTROL_SEEDS = 10  # a planted fault shows within so many
CALM_NS = 40 * SECOND
LOAD_NS = 60 * SECOND
GIB = 1 << 30

SHAPES = {
    "share": DeviceNeeds(share_permille=300, memory_bytes=10 * GIB),
    "half": DeviceNeeds(share_permille=500, memory_bytes=30 * GIB),
    "slice": DeviceNeeds(profile="3g.40gb"),
    "whole": DeviceNeeds(),
    "pair": DeviceNeeds(count=2, is_gang=True),
    "wide": DeviceNeeds(count=4, over_nodes=True),
}


def machine(random: Random, number: int) -> Node:
    devices: list[DeviceSlot] = []
    for at in range(random.randint(1, 3)):
        whole = DeviceSlot(
            uuid=f"gpu-{number}-{at}", model="NVIDIA H100", memory_bytes=80 * GIB, group="rack"
        )
        part = replace(
            whole, parent=whole.uuid, profile="3g.40gb", share_permille=428, memory_bytes=40 * GIB, group=""
        )  # fmt: skip
        is_cut = random.random() < 0.25
        devices += [
            whole,
            *(replace(part, uuid=f"mig-{number}-{at}-{half}") for half in "ab"[: 2 * is_cut]),
        ]
    memory_bytes = random.choice((16, 64)) * GIB
    return Node(
        id=f"node{number}", cpu_milli=8000, memory_bytes=memory_bytes, devices=tuple(devices),
        seen_ns=ALWAYS_NS,
    )  # fmt: skip


def endpoint(random: Random, name: str) -> Endpoint:
    policy = Policy(
        min=random.choice((0, 0, 0, 1)),
        max=random.randint(1, 3),
        down_after_ns=3 * SECOND,
        zero_after_ns=random.choice((5, 60)) * SECOND,
        priority=random.choice(("standard", "critical")),
    )
    served = Served(
        key=f"app/{name}@1",
        policy=policy,
        permits=random.choice((1, 2)),
        permille=1000,
        needs=(SHAPES[name],),
        memory_bytes=random.choice((0, 4, 8)) * GIB,
        drain_ns=5 * SECOND,
    )
    start = StartTime(500 * MILLISECOND, 3 * SECOND)
    return Endpoint(served=served, start=start, start_fails=random.choice((0.0, 0.0, 0.2)))


def bursts(random: Random) -> Iterator[Request]:
    """Yield calls that come in bursts, to one endpoint after the other."""
    at_ns = 0
    while at_ns < LOAD_NS:
        name = f"app/{random.choice(list(SHAPES))}"
        for _ in range(random.choice((1, 3, 10))):
            at_ns += int(random.expovariate(1.0) * 100 * MILLISECOND)
            yield Request(at_ns, name, random.choice((20, 800)) * MILLISECOND)
        at_ns += int(random.expovariate(1.0) * 2 * SECOND)


def drawn(seed: int) -> Scene:
    random = Random(f"{seed} shared devices")
    rates = Rates(
        late=0.1, twice=0.1, lost=0.05, busy=0.01, sick=0.1, clock_steps=0,
        kills=random.randint(0, 4), agents=0, nodes=random.randint(0, 2), restarts=random.randint(0, 2),
    )  # fmt: skip
    return Scene(
        endpoints=tuple(endpoint(random, name) for name in SHAPES),
        traffic=tuple(bursts(random)),
        fleet=Fleet(nodes=tuple(machine(random, at) for at in range(random.randint(2, 4)))),
        faults=rates,
        calm_ns=CALM_NS,
        audit_every=1,
    )


class Counting:
    """The planner, with what it starts counted by shape, and the gangs that wait for room on several nodes."""

    def __init__(self) -> None:
        self.starts: Counter[str] = Counter()

    def plan(
        self, observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
    ) -> Plan:
        made = plan(observed, demand, memory, now_ns)
        for action in made.actions:
            if isinstance(action, Start):
                self.starts[action.version.removeprefix("app/").removesuffix("@1")] += 1
                self.starts["over nodes"] += bool(action.parts)
        waits = [known for known in made.memory.versions if known.room_parts]
        self.starts["waits over nodes"] += len(waits)
        return made


def violations(outcome: Outcome) -> set[str]:
    return {violation.invariant for violation in outcome.violations}


def check(seeds: int) -> None:
    counting = Counting()
    for seed in range(seeds):
        outcome = replay(drawn(seed), counting.plan, seed)
        assert outcome.violations == (), seed
        assert outcome.codes()["open"] == 0
    assert set(counting.starts) == {*SHAPES, "over nodes", "waits over nodes"}
    assert all(counting.starts.values()), counting.starts


@pytest.mark.timeout(120)
def test_shares_slices_and_gangs_are_never_given_twice() -> None:
    check(SEEDS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_shares_slices_and_gangs_are_never_given_twice_in_many_worlds() -> None:
    check(MANY_SEEDS)


# -- would we notice?


def changed(change: Callable[[Start, Observed], Start]) -> Planner:
    def planner(
        observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
    ) -> Plan:
        made = plan(observed, demand, memory, now_ns)
        actions = tuple(
            change(one, observed) if isinstance(one, Start) else one for one in made.actions
        )
        return replace(made, actions=actions)

    return planner


def to_the_first_share(start: Start, observed: Observed) -> Start:
    """Give all that want a share the same device."""
    return replace(start, gpus=("gpu-0-0",), node="node0") if "half" in start.version else start


def to_the_first_slice(start: Start, observed: Observed) -> Start:
    """Give all that want a slice the same one."""
    mine = next((s for node in observed.nodes for s in node.devices if s.profile), None)
    node = next((node for node in observed.nodes if mine in node.devices), None)
    if mine is None or node is None or "slice" not in start.version:
        return start
    return replace(start, gpus=(mine.uuid,), node=node.id)


def to_a_gpu_that_is_cut(start: Start, observed: Observed) -> Start:
    """Give the GPU in place of its slice."""
    parents = {s.uuid: s.parent for node in observed.nodes for s in node.devices}
    return replace(start, gpus=tuple(parents[uuid] or uuid for uuid in start.gpus))


def elsewhere_as_well(start: Start, observed: Observed) -> Start:
    """Let the parts of a gang on other nodes be any that are there, taken or not."""
    first = {node.id: (node.devices[0].uuid,) for node in observed.nodes}
    return replace(start, parts=tuple(Part(part.node, first[part.node]) for part in start.parts))


@pytest.mark.parametrize(
    "change",
    [to_the_first_share, to_the_first_slice, to_a_gpu_that_is_cut, elsewhere_as_well],
    ids=lambda change: change.__doc__,
)
@pytest.mark.timeout(120)
def test_a_device_that_is_given_twice_is_noticed(
    change: Callable[[Start, Observed], Start],
) -> None:
    for seed in range(CONTROL_SEEDS):
        if "room" in violations(replay(drawn(seed), changed(change), seed)):
            return

    pytest.fail(f"not noticed in {CONTROL_SEEDS} seeds")
