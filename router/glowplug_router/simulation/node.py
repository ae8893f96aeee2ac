"""What does a node do with what it is told? A simulated agent and its ranks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.simulation.facts import Commanded, Fact, RankDone, RankRuns
from glowplug_router.simulation.faults import Post
from glowplug_router.simulation.scenario import Endpoint, Machine
from glowplug_router.simulation.world import World

LEASE_NS = 30 * SECOND  # a rank without an agent ends by itself
REPORT_EVERY_NS = SECOND
PATIENCE_NS = 5 * MILLISECOND  # what was taken ahead and has not begun by then is handed back
HOP_NS = MILLISECOND // 2  # between gateway and rank; one value, so that a link keeps its order

RankState = Literal["starting", "ready", "draining", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One replica a node should have."""

    replica: str
    version: str
    gpus: tuple[str, ...] = ()
    draining: bool = False
    drain_ns: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """All that a node should have. Numbers go on growing from epoch to epoch."""

    epoch: int
    number: int
    wants: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class Resident:
    """One replica as an agent reports it."""

    replica: str
    version: str
    state: RankState
    permits: int
    since_ns: int
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeReport:
    """All that a node has."""

    node: Machine
    number: int
    order: int  # number of the last order it takes into account
    residents: tuple[Resident, ...]


class Caller(Protocol):
    """What a rank needs of the gateway at the other end of its data socket."""

    def ended(self, call: int, rank: "Rank", service_ns: int, is_fault: bool) -> None:
        """Hear that a call ended on a rank."""
        ...

    def refused(self, call: int, rank: "Rank", draining: bool, handed_back: bool) -> None:
        """Hear that a rank has no room."""
        ...

    def greeted(self, rank: "Rank", ahead: int) -> None:
        """Hear how many calls a rank takes ahead from now on."""
        ...

    def leaving(self, rank: "Rank") -> None:
        """Hear that a rank drains."""
        ...

    def lost(self, rank: "Rank") -> None:
        """Notice that the link broke."""
        ...

    def nested(self, call: int, endpoint: str, done: Callable[[], None]) -> None:
        """Take in a call that running code makes."""
        ...


@dataclass(slots=True, eq=False)
class Rank:
    """A process that runs calls."""

    id: str
    version: str
    endpoint: Endpoint
    gpus: tuple[str, ...]
    world: World
    post: Post
    tell: Callable[[Fact], None]
    state: RankState = "starting"
    since_ns: int = 0
    running: dict[int, int] = field(default_factory=dict)  # call -> since when
    early: dict[int, Caller] = field(default_factory=dict)  # taken ahead, in order
    ahead: int = 0
    is_sick: bool = False
    links: list[Caller] = field(default_factory=list)

    @property
    def permits(self) -> int:
        """Return how many calls it runs at once."""
        return self.endpoint.served.permits

    @property
    def is_alive(self) -> bool:
        """Say whether there is a process."""
        return self.state in ("starting", "ready", "draining")

    def enter(self, state: RankState) -> None:
        """Change state."""
        self.state = state
        self.since_ns = self.world.now_ns
        self.world.record(f"rank {self.id} {state}")

    def take(self, call: int, link: Caller) -> None:
        """Run a call, or refuse it."""
        if not self.is_alive:
            return  # the broken link tells
        if self.state == "draining":
            self._say(partial(link.refused, call, self, True, False))
        elif self.post.is_busy():
            self._say(partial(link.refused, call, self, False, False))
        elif len(self.running) < self.permits and not self.early:
            self._begin(call, link)
        elif len(self.early) < self.ahead:
            self.early[call] = link
            self.world.after(PATIENCE_NS, partial(self._hand_back_if_stuck, call))
        else:
            # Calls were on their way when it said that it takes none ahead any more.
            self._say(partial(link.refused, call, self, False, self.endpoint.ahead > 0))

    def _begin(self, call: int, link: Caller) -> None:
        self.running[call] = self.world.now_ns
        self.tell(RankRuns(self.id, call, len(self.running), self.permits))
        self._run(call, link)

    def _hand_back_if_stuck(self, call: int) -> None:
        """Give back what was taken ahead when the calls before take long."""
        if call not in self.early:
            return
        self.ahead = 0
        for link in self.links:
            self._say(partial(link.greeted, self, 0))
        for early, link in self.early.items():
            self._say(partial(link.refused, early, self, False, True))
        self.early.clear()
        self.world.after(10 * PATIENCE_NS, self._take_ahead_again)

    def _take_ahead_again(self) -> None:
        if self.state == "ready":
            self.ahead = self.endpoint.ahead
            for link in self.links:
                self._say(partial(link.greeted, self, self.ahead))

    def cancel(self, call: int, link: Caller) -> None:
        """Stop a call that nobody waits for."""
        if call in self.early:
            del self.early[call]
            self._say(partial(link.ended, call, self, 0, False))
        self._finish(call, link)

    def drain(self, drain_ns: int) -> None:
        """Take no more calls; end when the last is done or the time is over."""
        if self.state == "ready":
            self.enter("draining")
            for link in self.links:
                self._say(partial(link.leaving, self))
            for call, link in self.early.items():
                self._say(partial(link.refused, call, self, True, False))
            self.early.clear()
            self.world.after(drain_ns, self.die)
            self._end_if_drained()
        elif self.state == "starting":
            self.die()

    def die(self, state: RankState = "stopped") -> None:
        """End at once, whatever runs."""
        if self.is_alive:
            self.enter(state)
            for call in self.running:
                self.tell(RankDone(self.id, call))
            self.running.clear()
            self.early.clear()
            for link in self.links:
                self._say(partial(link.lost, self))

    def _run(self, call: int, link: Caller) -> None:
        random = self.world.random
        first_ns = int(random.expovariate(1.0) * self.endpoint.service_ns)
        if self.endpoint.calls and random.random() < 0.5:
            finish = partial(self._finish, call, link)
            self.world.after(first_ns, lambda: self._nest(call, link, finish))
        else:
            self.world.after(first_ns, partial(self._finish, call, link))

    def _nest(self, call: int, link: Caller, done: Callable[[], None]) -> None:
        if call in self.running:
            link.nested(call, self.endpoint.calls, done)

    def _finish(self, call: int, link: Caller) -> None:
        if call in self.running:
            service_ns = max(1, self.world.now_ns - self.running.pop(call))
            self.tell(RankDone(self.id, call))
            is_fault = self.is_sick and self.post.is_fault()
            self._say(partial(link.ended, call, self, service_ns, is_fault))
            if self.early:
                first = next(iter(self.early))
                self._begin(first, self.early.pop(first))
            self._end_if_drained()

    def _end_if_drained(self) -> None:
        if self.state == "draining" and not self.running:
            self.die()

    def _say(self, message: Callable[[], None]) -> None:
        self.world.after(HOP_NS, message)


class SimNode:
    """An agent and its ranks."""

    def __init__(
        self,
        world: World,
        post: Post,
        machine: Machine,
        endpoints: dict[str, Endpoint],
        tell: Callable[[Fact], None],
        report: Callable[[NodeReport], None],
    ) -> None:
        self.machine = machine
        self.ranks: dict[str, Rank] = {}
        self.wanted: set[str] = set()
        self.is_connected = True
        self._has_ended = False
        self._world, self._post, self._endpoints, self._tell, self._report = (
            world,
            post,
            endpoints,
            tell,
            report,
        )
        self._epoch = 0
        self._order = 0
        self._reports = 0
        self._silence = 0
        world.after(0, self._report_regularly)

    def obey(self, order: Order) -> None:
        """Make what is equal to what should be, unless the order is stale."""
        if not self.is_connected or self.is_stale(order):
            return
        self._tell(Commanded(self.machine.id, order.epoch))
        self._epoch, self._order = order.epoch, order.number
        self.wanted = {want.replica for want in order.wants}
        for want in order.wants:
            rank = self.ranks.get(want.replica)
            if rank is None:
                if not want.draining:
                    self._start(want)
            elif want.draining:
                rank.drain(want.drain_ns)
        for rank in [rank for rank in self.ranks.values() if rank.id not in self.wanted]:
            self.end_unwanted(rank)
        self.report()

    def is_stale(self, order: Order) -> bool:
        """Say whether a newer order was obeyed, or one of a newer controller."""
        return (order.epoch, order.number) < (self._epoch, self._order)

    def end_unwanted(self, rank: Rank) -> None:
        """End what nobody wants."""
        rank.die()
        del self.ranks[rank.id]

    def report(self) -> None:
        """Tell the controller what there is."""
        if not self.is_connected:
            return
        self._reports += 1
        gone = [rank.id for rank in self.ranks.values() if rank.state == "stopped"]
        for id in gone:
            del self.ranks[id]
        residents = tuple(
            Resident(rank.id, rank.version, rank.state, rank.permits, rank.since_ns, rank.gpus)
            for rank in self.ranks.values()
        )
        message = NodeReport(self.machine, self._reports, self._order, residents)
        self._post.send(partial(self._deliver, message))

    def _deliver(self, message: NodeReport) -> None:
        if not self._has_ended:  # else the connection broke
            self._report(message)

    def disconnect(self, for_ns: int) -> None:
        """Lose the agent for a while; ranks go on until their lease runs out."""
        self.is_connected = False
        self._silence += 1
        silence = self._silence
        self._world.after(for_ns, self._reconnect)
        self._world.after(LEASE_NS, lambda: self._end_leases(silence))

    def power_off(self, for_ns: int) -> None:
        """Lose the machine for a while, and all that ran there for good."""
        for rank in list(self.ranks.values()):
            rank.die()
        self.ranks.clear()
        self.disconnect(for_ns)

    def _end_leases(self, silence: int) -> None:
        if not self.is_connected and silence == self._silence:
            for rank in list(self.ranks.values()):
                rank.die()

    def end(self) -> None:
        """Lose the machine, until somebody has it begin again."""
        self._has_ended = True
        self.is_connected = False
        for rank in list(self.ranks.values()):
            rank.die()
        self.ranks.clear()

    def begin(self) -> None:
        """Have the machine back, with nothing on it."""
        self._has_ended = False
        self._reconnect()

    def _reconnect(self) -> None:
        if not (self.is_connected or self._has_ended):
            self.is_connected = True
            self.report()

    def _report_regularly(self) -> None:
        self.report()
        self._world.after(REPORT_EVERY_NS, self._report_regularly)

    def _start(self, want: Wanted) -> None:
        endpoint = self._endpoints[want.version.partition("@")[0]]
        rank = Rank(
            want.replica, want.version, endpoint, want.gpus, self._world, self._post, self._tell
        )
        rank.enter("starting")
        self.ranks[rank.id] = rank
        start_ns = int(endpoint.start_ns * (0.5 + self._world.random.random()))
        fails = self._world.random.random() < endpoint.start_fails
        self._world.after(start_ns, lambda: self._started(rank, fails))

    def _started(self, rank: Rank, fails: bool) -> None:
        if rank.state == "starting":
            if fails:
                rank.die("failed")
            else:
                rank.ahead = rank.endpoint.ahead
                rank.is_sick = rank.post.is_sick()
                rank.enter("ready")
            self.report()
