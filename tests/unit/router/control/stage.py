"""A controller with everything real but the node and the store's disk: what the tests of this folder play on."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.lowlevel import checkpoint

from control_records import bundle, digest_of, spec
from glowplug.artifact import Bundle
from glowplug.clock import ManualClock
from glowplug.node.messages import Desired, Inventory, LogQuery, Report, Residency, Want
from glowplug.spec import EndpointSpec, Policy
from glowplug_router.app import load_world
from glowplug_router.control.deploy import Deployer
from glowplug_router.control.digest import version_digest
from glowplug_router.control.gateways import Gateways
from glowplug_router.control.request import Wanted
from glowplug_router.control.steps import Step
from glowplug_router.control.world import World
from glowplug_router.controller import Controller
from glowplug_router.plan import plan
from glowplug_router.ports import NodeLink, Provider
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Machines
from glowplug_router.records.published import Snapshot
from glowplug_router.records.stored import Deployment, Version
from glowplug_router.store.memory import MemoryStore

TURNS_MAX = 2_000  # of the event loop, before something that should have happened is said not to


class Node:
    """A node that does at once what it is told. `outcome` says what becomes of a replica that is started."""

    def __init__(self, name: str = "n1") -> None:
        self.node = name
        self.residencies: dict[str, Residency] = {}
        self.outcome: Callable[[Want], Residency] = ready
        self.told: list[Desired] = []
        self.started: list[str] = []
        self.swapped: list[str] = []
        self.number = 0

    def tell(self, desired: Desired) -> None:
        self.told.append(desired)
        wanted = {want.replica: want for want in desired.wants}
        for replica in [*self.residencies]:
            if replica not in wanted or wanted[replica].draining:
                del self.residencies[replica]
        for want in wanted.values():
            self._have(want)

    def _have(self, want: Want) -> None:
        known = self.residencies.get(want.replica)
        if want.draining or (known is not None and known.version == want.version):
            return
        if known is not None:
            self.swapped.append(want.replica)
        else:
            self.started.append(want.replica)
        self.residencies[want.replica] = self.outcome(want)

    def logs(self, query: LogQuery) -> AsyncIterator[bytes]:
        raise NotImplementedError

    def report(self) -> Report:
        self.number += 1
        return Report(
            node=self.node,
            number=self.number,
            desired_number=self.told[-1].number if self.told else 0,
            inventory=Inventory(node=self.node, boot_id="b", cpu_milli=4000, memory_bytes=1 << 33),
            residencies=tuple(self.residencies.values()),
        )


def ready(want: Want) -> Residency:
    address = f"unix:/run/{want.replica}"
    return Residency(
        replica=want.replica, version=want.version, state="ready", pid=7, permits=1, address=address
    )


def failing(want: Want) -> Residency:
    text = "Traceback (most recent call last):\nValueError: nope"
    return Residency(
        replica=want.replica, version=want.version, state="failed", code="start_failed", detail=text
    )


def slow(want: Want) -> Residency:
    return Residency(replica=want.replica, version=want.version, state="loading")


class Nodes:
    """The Provider port over such nodes."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = list(nodes)
        self._changed = anyio.Event()

    async def links(self) -> tuple[NodeLink, ...]:
        return tuple(self.nodes)

    async def report(self, node: str) -> Report | None:
        return next((one.report() for one in self.nodes if one.node == node), None)

    async def machines(self) -> Machines:
        return Machines()

    async def launch(self, order: Launch) -> None:
        raise AssertionError(order)

    async def terminate(self, order: Terminate) -> None:
        raise AssertionError(order)

    async def changed(self) -> None:
        # A node here has always something to say; what is no news is found out by whoever asks.
        await checkpoint()


class Published(Gateways):
    """Gateways that remember instead of sending."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.snapshots: list[Snapshot] = []

    def publish(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)


@dataclass
class Stage:
    """A running controller and its surroundings."""

    store: MemoryStore
    nodes: Nodes
    clock: ManualClock
    world: World
    gateways: Published
    deployer: Deployer
    controller: Controller
    steps: list[Step] = field(default_factory=list)

    @property
    def node(self) -> Node:
        return self.nodes.nodes[0]

    @property
    def table(self) -> Snapshot:
        return self.gateways.snapshots[-1]

    async def deploy(
        self, *codes: tuple[str, str], policy: Policy | None = None, dev: bool = False
    ) -> Deployment:
        return await self.deployer.deploy(wanted(*codes, policy=policy, dev=dev), self.steps.append)

    async def until(self, claim: Callable[[], bool]) -> None:
        for _ in range(TURNS_MAX):
            if claim():
                return
            await checkpoint()
        raise AssertionError("it did not come about")

    async def settled(self) -> None:
        """Let everything that follows from the last change happen."""
        for _ in range(60):
            await checkpoint()


@asynccontextmanager
async def stage(
    store: MemoryStore | None = None,
    nodes: Nodes | None = None,
    clock: ManualClock | None = None,
    provider: Provider | None = None,
) -> AsyncIterator[Stage]:
    """Start a controller; leaving the block is its sudden end."""
    store, nodes, clock = (
        store or MemoryStore(),
        nodes or Nodes(Node()),
        clock or ManualClock(1_000_000_000),
    )
    world = await load_world(store)
    gateways = Published(world)
    controller = Controller(world, store, provider or nodes, gateways, clock, plan)
    async with anyio.create_task_group() as tasks:
        await tasks.start(controller.run)
        yield Stage(store, nodes, clock, world, gateways, Deployer(world, clock), controller)
        tasks.cancel_scope.cancel()


def wanted(
    *codes: tuple[str, str], policy: Policy | None = None, dev: bool = False, load_key: str = ""
) -> Wanted:
    """Return a checked release: (endpoint, its code) pairs."""
    drafts = tuple(
        draft(spec(endpoint, load_key=load_key or "k"), bundle(code), code)
        for endpoint, code in codes
    )
    policies = tuple((endpoint, policy or Policy()) for endpoint, _ in codes)
    return Wanted(app="hello", drafts=drafts, policies=policies, dev=dev)


def draft(one: EndpointSpec, parts: Bundle, code: str) -> tuple[Version, Bundle]:
    version = Version(
        app=one.app,
        endpoint=one.name,
        number=0,
        digest=version_digest(one, parts),
        spec=one,
        bundle_digest=digest_of(f"bundle {code}"),
        created_wall_ns=1,
    )
    return version, parts
