"""What does a controller do with a plan? A simulated loop around the real `plan`: observe, plan, order, publish."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.control.machines import MachineBook
from glowplug_router.dispatch import VersionSet
from glowplug_router.policy.backoff import is_failed
from glowplug_router.records.decided import (
    Action,
    Drain,
    Forget,
    Launch,
    Plan,
    Start,
    Swap,
    Terminate,
)
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Node, Observed, Replica, ReplicaState, Served
from glowplug_router.simulation.facts import Fact, Planned
from glowplug_router.simulation.faults import Post
from glowplug_router.simulation.gateway import DemandReport, Dial, Routes
from glowplug_router.simulation.hired import Hired
from glowplug_router.simulation.node import NodeReport, Order, SimNode, Wanted
from glowplug_router.simulation.scenario import Endpoint
from glowplug_router.simulation.world import World

Planner = Callable[[Observed, tuple[Demand, ...], Memory, int], Plan]

PLAN_EVERY_NS = 100 * MILLISECOND
REPEAT_EVERY_NS = SECOND  # orders and routes, for those that were lost
SETTLE_NS = 3 * SECOND // 2  # after a restart: agents dial in before anything is decided
LINGER_MAX_NS = 4 * SECOND
TRIAL_MAX_NS = 15 * SECOND  # a candidate that is not ready by then is taken back
NUMBERS = 1_000_000  # orders and routes of an epoch; numbers go on growing from epoch to epoch


@dataclass(slots=True)
class Store:
    """What survives the controller."""

    served: dict[str, Served]
    epoch: int = 0
    trial_since_ns: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Intended:
    """A replica as the controller wants it, and since which order."""

    want: Wanted
    node: str
    number: int
    since_ns: int


def heard(row: Demand, known: Demand | None, now_ns: int) -> Demand:
    """Return a row as a controller must take it whose gateway's clock may be off: a call came when it heard of it.

    The router's own controller hears only gateways of its own host, whose monotonic clock is its own.
    """
    if known is not None and row.arrivals <= known.arrivals:
        return replace(row, last_arrival_ns=known.last_arrival_ns)
    return replace(row, last_arrival_ns=min(row.last_arrival_ns, now_ns))


class SimController:
    """The controller of a simulated world."""

    def __init__(
        self,
        world: World,
        post: Post,
        planner: Planner,
        tell: Callable[[Fact], None],
        store: Store,
        endpoints: Mapping[str, Endpoint],
        book: type[MachineBook] = MachineBook,
        hired: Hired | None = None,
    ) -> None:
        self._world, self._post, self._planner, self._tell = world, post, planner, tell
        self._endpoints = endpoints
        self._new_book, self._hired = book, hired
        self.store = store
        self.nodes: dict[str, SimNode] = {}
        self._last: dict[str, Order] = {}
        self.publish: Callable[[Routes], None] = lambda _: None
        self.restart()
        world.after(0, self._repeat)

    def restart(self) -> None:
        """Die, and come back with nothing but the store and a new epoch. Of the old one, the last orders come again."""
        for id, order in self._last.items():
            self._world.after(
                self._world.random.randrange(LINGER_MAX_NS), partial(self.nodes[id].obey, order)
            )
        self.store.epoch += 1
        self._world.record(f"epoch {self.store.epoch}")
        self._memory = Memory()
        self._book = self._new_book()
        self._reports: dict[str, tuple[int, NodeReport]] = {}  # node -> received at, report
        self._intended: dict[str, _Intended] = {}
        self._ordered: set[str] = set()  # nodes that were given an order in this epoch
        self._demand: tuple[Demand, ...] = ()
        self._demand_number = 0
        self._number = self.store.epoch * NUMBERS
        self._plan_at_ns: int | None = None
        self._planned_ns = 0
        # The first controller has nobody to wait for.
        self._settled_ns = self._world.now_ns + (SETTLE_NS if self.store.epoch > 1 else 0)
        self._world.after(0, self.look)
        self._soon()

    @property
    def wanted(self) -> set[str]:
        """Return the replicas that it wants."""
        return set(self._intended)

    # -- what comes in

    def hear(self, report: NodeReport) -> None:
        """Take in what a node has."""
        seen_ns, known = self._reports.get(report.node.id, (0, None))
        if known is not None and known.number >= report.number:
            return
        self._reports[report.node.id] = (self._world.now_ns, report)
        self._reconcile(report)
        was_silent = self._world.now_ns - seen_ns > 2 * REPEAT_EVERY_NS
        if (
            known is None
            or was_silent
            or (known.residents, known.order) != (report.residents, report.order)
        ):
            self._soon()

    def look(self) -> None:
        """Ask the provider, if there is one, what there is."""
        if self._hired is not None and self._book.take(self._hired.said(), self._world.now_ns):
            self._soon()

    def count(self, report: DemandReport) -> None:
        """Take in what callers asked for."""
        if report.number > self._demand_number:
            known = {row.key: row for row in self._demand}
            rows = tuple(heard(row, known.get(row.key), self._world.now_ns) for row in report.rows)
            has_news = rows != self._demand
            self._demand_number, self._demand = report.number, rows
            if has_news:
                self._soon()

    def deploy(self, endpoint: str) -> None:
        """Bring a candidate of the next version, unless one is being tried."""
        versions = [
            served for key, served in self.store.served.items() if key.partition("@")[0] == endpoint
        ]
        if any(served.candidate for served in versions):
            return
        newest = max(versions, key=lambda served: int(served.key.partition("@")[2]))
        key = f"{endpoint}@{int(newest.key.partition('@')[2]) + 1}"
        live = next(served for served in versions if not served.leaving)
        self.store.served[key] = replace(live, key=key, permille=0, candidate=True)
        self.store.trial_since_ns[key] = self._world.now_ns
        self._soon()

    def set_limits(self, endpoint: str, low: int, high: int) -> None:
        """Change a policy; nothing restarts."""
        for key, served in self.store.served.items():
            if key.partition("@")[0] == endpoint:
                policy = replace(served.policy, min=min(low, high), max=high)
                self.store.served[key] = replace(served, policy=policy)
        self._soon()

    # -- observe

    def _reconcile(self, report: NodeReport) -> None:
        """Drop what has ended; adopt what an earlier controller had started."""
        node = report.node.id
        residents = {resident.replica: resident for resident in report.residents}
        for id, intended in list(self._intended.items()):
            if intended.node == node and id not in residents and report.order >= intended.number:
                del self._intended[id]
        if node in self._ordered:
            return
        for resident in report.residents:
            want = Wanted(
                resident.replica, resident.version, resident.gpus, resident.state == "draining"
            )
            self._intended.setdefault(
                resident.replica, _Intended(want, node, report.order, self._world.now_ns)
            )

    def observed(self) -> Observed:
        """Return the world as reported, and as intended where no report can know yet."""
        residents = {r.replica: r for _, report in self._reports.values() for r in report.residents}
        replicas = []
        for id, intended in self._intended.items():
            resident = residents.get(id)
            state: ReplicaState = "starting"
            if resident is not None and resident.state != "stopped":
                state = resident.state
            if intended.want.draining and state != "failed":
                state = "draining"
            replicas.append(
                Replica(
                    id=id,
                    version=intended.want.version,
                    node=intended.node,
                    state=state,
                    permits=resident.permits if resident else 1,
                    since_ns=resident.since_ns if resident else intended.since_ns,
                    gpus=intended.want.gpus,
                )
            )
        nodes = tuple(
            Node(
                id=id,
                cpu_milli=8000,
                memory_bytes=report.node.memory_bytes,
                gpus=report.node.gpus,
                seen_ns=seen_ns,
            )
            for id, (seen_ns, report) in self._reports.items()
        )
        return Observed(
            epoch=self.store.epoch,
            served=tuple(self.store.served.values()),
            nodes=self._book.nodes(nodes, self._world.now_ns),
            replicas=tuple(replicas),
            offers=self._book.said.offers,
            tallies=self._book.said.tallies,
            limits=self._book.said.limits,
        )

    # -- plan

    def _soon(self) -> None:
        self._plan_by(max(self._world.now_ns, self._planned_ns + PLAN_EVERY_NS, self._settled_ns))

    def _plan_by(self, due_ns: int) -> None:
        if self._plan_at_ns is None or due_ns < self._plan_at_ns:
            self._plan_at_ns = due_ns
            epoch = self.store.epoch
            self._world.at(due_ns, lambda: self._plan(due_ns, epoch))

    def _plan(self, due_ns: int, epoch: int) -> None:
        if self._plan_at_ns != due_ns or epoch != self.store.epoch:
            return
        self._plan_at_ns = None
        self._planned_ns = self._world.now_ns
        observed = self.observed()
        plan = self._planner(observed, self._demand, self._memory, self._world.now_ns)
        self._tell(Planned(observed, self._demand, plan))
        self._memory = plan.memory
        for action in plan.actions:
            self._world.record(str(action))
            self._carry_out(action)
        rolled = self._roll_out(observed)
        if plan.actions or rolled:
            self._order_all()
        self._publish()
        if rolled:
            self._soon()
        if plan.wake_ns is not None:
            self._plan_by(max(plan.wake_ns, self._planned_ns + PLAN_EVERY_NS))

    def _carry_out(self, action: Action) -> None:
        number = self._number + 1
        match action:
            case Start(replica=replica, version=version, node=node, gpus=gpus):
                want = Wanted(replica, version, gpus)
                self._intended[replica] = _Intended(want, node, number, self._world.now_ns)
            case Drain(replica=replica, drain_ns=drain_ns):
                intended = self._intended[replica]
                intended.want = replace(intended.want, draining=True, drain_ns=drain_ns)
            case Forget(replica=replica):
                self._intended.pop(replica, None)
            case Launch() | Terminate() if self._hired is not None:
                if not self._hired.order(action):
                    self._plan_by(self._world.now_ns + REPEAT_EVERY_NS)
                self._book.take(self._hired.said(), self._world.now_ns)
            case Swap() | Launch() | Terminate():
                pass  # a developer's machine is in no scenario

    def _roll_out(self, observed: Observed) -> bool:
        """Make candidates that are ready live, take back those that fail, drop versions that have left."""
        ready = {replica.version for replica in observed.replicas if replica.state == "ready"}
        present = {intended.want.version for intended in self._intended.values()}
        failed = {memory.key for memory in self._memory.versions if is_failed(memory)}
        before = dict(self.store.served)
        for key, served in before.items():
            if served.candidate and key in ready:
                self._go_live(key)
            elif served.candidate and (key in failed or self._trial_is_over(key)):
                self.store.served[key] = replace(served, candidate=False, leaving=True)
            elif served.leaving and key not in present:
                del self.store.served[key]
        return before != self.store.served

    def _go_live(self, key: str) -> None:
        endpoint = key.partition("@")[0]
        for other, served in list(self.store.served.items()):
            if other == key:
                self.store.served[key] = replace(served, candidate=False, permille=1000)
            elif other.partition("@")[0] == endpoint:
                self.store.served[other] = replace(served, permille=0, leaving=True)

    def _trial_is_over(self, key: str) -> bool:
        return self._world.now_ns - self.store.trial_since_ns[key] > TRIAL_MAX_NS

    # -- what goes out

    def _repeat(self) -> None:
        if self._world.now_ns >= self._settled_ns:
            self.look()
            self._order_all()
            self._publish()
        self._world.after(REPEAT_EVERY_NS, self._repeat)

    def _order_all(self) -> None:
        self._number += 1
        for (
            id
        ) in self._reports:  # a node that has not reported is not told: what it has is not known
            self._ordered.add(id)
            wants = tuple(
                intended.want for intended in self._intended.values() if intended.node == id
            )
            order = Order(self.store.epoch, self._number, wants)
            self._last[id] = order
            self._post.send(partial(self.nodes[id].obey, order))

    def _publish(self) -> None:
        self._number += 1
        failed = {memory.key for memory in self._memory.versions if is_failed(memory)}
        versions = tuple(
            self._limits(served, served.key in failed) for served in self.store.served.values()
        )
        live = tuple(
            (key.partition("@")[0], key)
            for key, served in self.store.served.items()
            if served.permille
        )
        dials = tuple(Dial(r.id, r.version) for r in self.observed().replicas if r.state == "ready")
        routes = Routes(self._number, versions, live, dials)
        self._post.send(lambda: self.publish(routes))

    def _limits(self, served: Served, has_failed: bool) -> VersionSet:
        endpoint = self._endpoints[served.key.partition("@")[0]]
        return VersionSet(
            version=served.key,
            hold=served.policy.hold,
            queue_ns=endpoint.queue_ns,
            start_ns=endpoint.start_limit_ns,
            max_permits=served.policy.max * served.permits,
            failed="cannot start" if has_failed else "",
            retry_safe=endpoint.retry_safe,
        )
