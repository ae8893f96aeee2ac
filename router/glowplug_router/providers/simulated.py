"""Which nodes are there, when a simulated market lends them? The Provider port over `simulation.market`.

Its machines come, get notice and go as a market's do, in the time of the clock; what runs on them is simulated too: an
agent that has at once what it is told. So the controller's whole way from a call to a launched machine and back can be
gone without an account.
"""

from collections.abc import AsyncIterator, Callable

import anyio

from glowplug.clock import SECOND, Clock
from glowplug.errors import call_error
from glowplug.node.messages import Desired, Gpu, Inventory, LogQuery, Report, Residency, Want
from glowplug_router.control.signal import Signal
from glowplug_router.ports import NodeLink
from glowplug_router.records.capacity import Limits, Offer
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Machines
from glowplug_router.simulation.market.provider import Machine, Market

REPORT_EVERY_NS = SECOND  # as agents do


def ready(want: Want) -> Residency:
    """Return a replica that is ready as soon as it is wanted."""
    address = f"unix:/run/{want.replica}"
    return Residency(
        replica=want.replica, version=want.version, state="ready", pid=7, permits=1, address=address
    )


class SimulatedAgent:
    """An agent that does at once what it is told. `outcome` says what becomes of a replica that is started."""

    def __init__(self, name: str, inventory: Inventory, news: Callable[[], None]) -> None:
        self.residencies: dict[str, Residency] = {}
        self.outcome: Callable[[Want], Residency] = ready
        self._name, self._inventory, self._news = name, inventory, news
        self._number = self._desired_number = 0

    @property
    def node(self) -> str:
        return self._name

    def tell(self, desired: Desired) -> None:
        self._desired_number = desired.number
        wants = {want.replica: want for want in desired.wants if not want.draining}
        kept = {name: one for name, one in self.residencies.items() if name in wants}
        for want in wants.values():
            known = kept.get(want.replica)
            if known is None or known.version != want.version:
                kept[want.replica] = self.outcome(want)
        self.residencies = kept
        self._news()

    async def logs(self, query: LogQuery) -> AsyncIterator[bytes]:
        lines: tuple[bytes, ...] = ()  # what is simulated says nothing
        for line in lines:
            yield line

    def report(self) -> Report:
        """Return what it has."""
        self._number += 1
        return Report(
            node=self._name,
            number=self._number,
            desired_number=self._desired_number,
            inventory=self._inventory,
            residencies=tuple(self.residencies.values()),
        )


class SimulatedProvider:
    """The Provider port over a simulated market."""

    def __init__(self, market: Market, clock: Clock, limits: Limits | None = None) -> None:
        self._market, self._clock = market, clock
        self._limits = limits or Limits()
        self._signal = Signal()
        self._seen = 0
        self.agents: dict[str, SimulatedAgent] = {}

    async def links(self) -> tuple[NodeLink, ...]:
        self._advance()
        return tuple(self.agents.values())

    async def report(self, node: str) -> Report | None:
        self._advance()
        return self.agents[node].report() if node in self.agents else None

    async def changed(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._wake)
            self._seen = await self._signal.after(self._seen)
            tasks.cancel_scope.cancel()

    async def machines(self) -> Machines:
        self._advance()
        return Machines(
            offers=self._market.offers,
            nodes=self._market.nodes(),
            tallies=tuple(self._market.tallies.values()),
            limits=self._limits,
        )

    async def launch(self, order: Launch) -> None:
        self._advance()
        if order.offer not in {offer.id for offer in self._market.offers}:
            raise call_error("not_found", f"there is no offer {order.offer}")
        known = self._market.machines.get(order.node)
        if known is None or known.state == "stopped":
            self._market.apply(order)
            self._signal.fire()

    async def terminate(self, order: Terminate) -> None:
        self._advance()
        self._market.apply(order)
        self._advance()
        self._signal.fire()

    # -- time

    async def _wake(self) -> None:
        """Fire when agents report, as they do once a second, or when the market changes by itself."""
        now_ns = self._clock.now_ns()
        due_ns = min(now_ns + REPORT_EVERY_NS, self._market.next_ns() or now_ns + REPORT_EVERY_NS)
        await self._clock.sleep(max(0, due_ns - now_ns) / SECOND)
        self._advance()
        self._signal.fire()

    def _advance(self) -> None:
        """Let the market's time be the clock's; agents are on the machines that are ready."""
        self._market.advance(self._clock.now_ns())
        up = {name: one for name, one in self._market.machines.items() if one.state == "ready"}
        if up.keys() != self.agents.keys():
            self.agents = {name: self.agents.get(name) or self._agent(up[name]) for name in up}
            self._signal.fire()

    def _agent(self, machine: Machine) -> SimulatedAgent:
        inventory = _inventory(machine.id, machine.offer)
        return SimulatedAgent(machine.id, inventory, self._signal.fire)


def _inventory(node: str, offer: Offer) -> Inventory:
    return Inventory(
        node=node,
        boot_id=node,
        cpu_milli=offer.cpu_milli,
        memory_bytes=offer.memory_bytes,
        gpus=tuple(
            Gpu(uuid=f"{node}/{number}", name=offer.model, memory_bytes=offer.device_memory_bytes)
            for number in range(dict(offer.devices).get("nvidia", 0))
        ),
    )
