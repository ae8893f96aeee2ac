"""What does a provider do with launches while its capacity comes and goes?

Every offer of the spot market has a series of capacity. When it falls below what is held, nodes are taken away: with a
probability each was told two minutes before. A launch is refused at once where there is no capacity, or none in the
two minutes to come. On-demand has room always, except in a zone that is lost.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from random import Random

from glowplug.clock import HOUR, SECOND
from glowplug_router.records.capacity import NodeState, Offer, OfferTally
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Node
from glowplug_router.simulation.market.series import Series

NOTICE_NS = 120 * SECOND  # EC2
JITTER = (
    0.84,
    1.16,
)  # a start takes its median, a sixth more or less: p90 of the offer is 1.13 of it [I]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A zone that is lost with all that is there."""

    zone: str
    from_ns: int
    until_ns: int


@dataclass(slots=True)
class Machine:
    """A node as the provider has it."""

    id: str
    offer: Offer
    state: NodeState
    since_ns: int
    launched_ns: int
    ready_ns: int = 0
    leaves_ns: int = 0


@dataclass(slots=True)
class Market:
    """A provider in virtual time. `now_ns` goes only forward."""

    offers: tuple[Offer, ...]
    series: Mapping[str, Series]  # spot offer -> its capacity
    random: Random
    notice_permille: int = 1000
    outages: Sequence[Outage] = ()
    notice_ns: int = NOTICE_NS
    now_ns: int = 0
    spent: float = 0.0  # micro-dollars x ns / hour, exact enough
    machines: dict[str, Machine] = field(default_factory=dict)
    _counts: dict[str, OfferTally] = field(init=False)
    _held_ns: Counter[str] = field(default_factory=Counter)
    lost_at: list[int] = field(default_factory=list)
    _events: list[tuple[int, int, str, int]] = field(init=False)

    def __post_init__(self) -> None:
        self._counts = {offer.id: OfferTally(offer=offer.id) for offer in self.offers}
        self._events = [
            event for name, known in self.series.items() for event in self._changes(name, known)
        ]
        self._events += [(outage.from_ns, 2, outage.zone, 0) for outage in self.outages]
        heapify(self._events)

    def _changes(self, name: str, known: Series) -> Iterator[tuple[int, int, str, int]]:
        for at_ns, count in known.drops():
            yield max(0, at_ns - self.notice_ns), 1, name, at_ns
            yield at_ns, 3, name, count

    # -- time

    def next_ns(self) -> int | None:
        """Return when something happens next."""
        return self._events[0][0] if self._events else None

    def advance(self, now_ns: int) -> None:
        """Let time pass, with all that happens up to then."""
        while self._events and self._events[0][0] <= now_ns:
            at_ns, kind, name, value = heappop(self._events)
            self.hold(at_ns)
            if kind == 0:
                self._ready(name, value)
            elif kind == 1:
                self._notice(name, value)
            elif kind == 2:
                self._lose_zone(name)
            else:
                self._reclaim(name, value)
        self.hold(now_ns)

    def hold(self, now_ns: int) -> None:
        """Let time pass in which nothing happens: machines that are held cost money."""
        passed = now_ns - self.now_ns
        if passed > 0:
            for machine in self.machines.values():
                self._bill_one(machine, passed)
            self.now_ns = now_ns

    def _bill_one(self, machine: Machine, passed: int) -> None:
        offer = machine.offer
        if machine.state == "stopped":
            self.spent += offer.stopped_micro_usd * passed / HOUR
        else:
            self.spent += offer.price_micro_usd * passed / HOUR
            self._held_ns[offer.id] += passed

    # -- what happens to machines

    def _ready(self, name: str, ready_ns: int) -> None:
        machine = self.machines.get(name)
        if machine and machine.state == "launching" and machine.ready_ns == ready_ns:
            machine.state, machine.since_ns = "ready", ready_ns

    def _held(self, offer: str) -> list[Machine]:
        return [m for m in self.machines.values() if m.offer.id == offer and m.state != "stopped"]

    def _notice(self, offer: str, leaves_ns: int) -> None:
        held = self._held(offer)
        self.random.shuffle(held)
        for machine in held[: max(0, len(held) - self.series[offer].at(leaves_ns))]:
            is_told = self.random.random() * 1000 < self.notice_permille
            if is_told and not machine.leaves_ns:
                machine.leaves_ns = leaves_ns
                self._count(offer, noticed=1)

    def _reclaim(self, offer: str, count: int) -> None:
        held = self._held(offer)
        self.random.shuffle(held)
        # Those that were told go, and then as many others as there are too many.
        held.sort(key=lambda m: m.leaves_ns == 0 or m.leaves_ns > self.now_ns)
        told = sum(0 < m.leaves_ns <= self.now_ns for m in held)
        for machine in held[: max(told, len(held) - count)]:
            self._lose(machine)

    def _lose_zone(self, zone: str) -> None:
        for machine in [m for m in self.machines.values() if m.offer.zone == zone]:
            self._lose(machine)

    def _lose(self, machine: Machine) -> None:
        del self.machines[machine.id]
        self._count(machine.offer.id, lost=1)
        tally = self._counts[machine.offer.id]
        self._counts[machine.offer.id] = replace(tally, last_lost_ns=self.now_ns)
        self.lost_at.append(self.now_ns)

    def _count(self, offer: str, *, lost: int = 0, noticed: int = 0, launched: int = 0) -> None:
        tally = self._counts[offer]
        self._counts[offer] = replace(
            tally,
            lost=tally.lost + lost,
            noticed=tally.noticed + noticed,
            launched=tally.launched + launched,
        )

    # -- what is asked of it

    def apply(self, action: Launch | Terminate) -> bool:
        """Carry an action out; False when there was no capacity."""
        if isinstance(action, Launch):
            return self._launch(action)
        machine = self.machines.get(action.node)
        if machine is not None:
            self._end(machine, action.stop)
        return True

    def _end(self, machine: Machine, stop: bool) -> None:
        short_ns = machine.offer.min_billed_ns - (self.now_ns - machine.launched_ns)
        if machine.state != "stopped":
            self.spent += machine.offer.price_micro_usd * max(0, short_ns) / HOUR
        if stop:
            machine.state, machine.since_ns = "stopped", self.now_ns
        else:
            del self.machines[machine.id]

    def _launch(self, action: Launch) -> bool:
        offer = next(offer for offer in self.offers if offer.id == action.offer)
        if self._capacity(offer) <= len(self._held(offer.id)):
            tally = self._counts[offer.id]
            self._counts[offer.id] = replace(
                tally, refused=tally.refused + 1, last_refused_ns=self.now_ns
            )
            return False
        stopped = action.node in self.machines
        median_ns = offer.restart_p90_ns if stopped else offer.launch_p50_ns
        ready_ns = self.now_ns + int(median_ns * self.random.uniform(*JITTER))
        self.machines[action.node] = Machine(
            action.node, offer, "launching", self.now_ns, self.now_ns, ready_ns
        )
        heappush(self._events, (ready_ns, 0, action.node, ready_ns))
        self._count(offer.id, launched=1)
        return True

    def _capacity(self, offer: Offer) -> int:
        if any(
            o.zone == offer.zone and o.from_ns <= self.now_ns < o.until_ns for o in self.outages
        ):
            return 0
        if offer.market == "on_demand":
            return 1 << 30
        return self.series[offer.id].least(self.now_ns, self.now_ns + self.notice_ns)

    # -- what is seen

    def nodes(self) -> tuple[Node, ...]:
        """Return what agents and the provider's API would tell. The start time is a guess, as it is in life."""
        return tuple(self._node(machine) for machine in self.machines.values())

    def _node(self, machine: Machine) -> Node:
        return Node(
            id=machine.id,
            cpu_milli=machine.offer.cpu_milli,
            memory_bytes=machine.offer.memory_bytes,
            seen_ns=self.now_ns,
            offer=machine.offer.id,
            zone=machine.offer.zone,
            state=machine.state,
            since_ns=machine.since_ns,
            expected_ns=machine.launched_ns + machine.offer.launch_p50_ns
            if machine.state == "launching"
            else 0,
            leaves_ns=machine.leaves_ns,
        )

    @property
    def tallies(self) -> dict[str, OfferTally]:
        """Return what became of the nodes of each offer, up to now."""
        held_ns = self._held_ns
        return {name: replace(known, held_ns=held_ns[name]) for name, known in self._counts.items()}

    def ready(self) -> int:
        """Return how many nodes can serve: those with notice still do."""
        return sum(machine.state == "ready" for machine in self.machines.values())
