"""What does a gateway do with the dispatcher's effects? Simulated callers and links around the real `step`."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from msgspec import structs

from glowplug.clock import MILLISECOND, SECOND
from glowplug.spec import Class
from glowplug_router.dispatch import (
    Again,
    CallArrived,
    CallCancelled,
    CallEnded,
    CallRefused,
    Cancel,
    DispatchState,
    Effect,
    Event,
    Lost,
    Refuse,
    ReplicaLeaving,
    ReplicaLost,
    ReplicaReady,
    Send,
    Tick,
    VersionGone,
    VersionSet,
    Wake,
)
from glowplug_router.records.observed import Demand
from glowplug_router.simulation.facts import (
    Accepted,
    Answered,
    Fact,
    Freed,
    Linked,
    Sent,
    Stepped,
    Told,
    Unlinked,
)
from glowplug_router.simulation.faults import Post
from glowplug_router.simulation.node import HOP_NS, Rank
from glowplug_router.simulation.scenario import Arrival
from glowplug_router.simulation.world import World

Step = Callable[[DispatchState, Event, int], tuple[Effect, ...]]

REPORT_EVERY_NS = 200 * MILLISECOND  # demand, when it changed
REPEAT_EVERY_NS = SECOND  # demand, also when it did not: the last report may be lost
ANSWER_SLACK_NS = 10 * MILLISECOND


@dataclass(frozen=True, slots=True)
class Dial:
    """A replica that a gateway may link to."""

    replica: str
    version: str


@dataclass(frozen=True, slots=True)
class Routes:
    """What gateways are told: numbered, and repeated."""

    number: int
    versions: tuple[VersionSet, ...]
    live: tuple[tuple[str, str], ...]  # endpoint -> version key
    dials: tuple[Dial, ...]


@dataclass(frozen=True, slots=True)
class DemandReport:
    """What callers asked for."""

    number: int
    rows: tuple[Demand, ...]


@dataclass(slots=True)
class _Call:
    """A call as the gateway sees it."""

    id: int
    version: str
    klass: Class
    deadline_ns: int
    arrival: Arrival | None = None  # what a caller asked for; calls that code makes ask for nothing
    parent: int = 0
    children: list[int] = field(default_factory=list)
    done: Callable[[], None] | None = None  # a parent that waits for the answer
    is_sent: bool = False


class SimGateway:
    """The gateway of a simulated world."""

    def __init__(
        self,
        world: World,
        post: Post,
        step: Step,
        tell: Callable[[Fact], None],
        report: Callable[[DemandReport], None],
        find: Callable[[str], Rank | None],
    ) -> None:
        self._world, self._post, self._step, self._tell, self._report, self._find = (
            world,
            post,
            step,
            tell,
            report,
            find,
        )
        self.state = DispatchState()
        self.open: dict[int, _Call] = {}  # calls not answered yet
        self._links: dict[str, Rank] = {}
        self._dialling: set[str] = set()
        self._live: dict[str, str] = {}
        self._known: dict[str, VersionSet] = {}
        self._routes = 0
        self._serial = 0
        self._reports = 0
        self._counted: dict[str, Demand] = {}
        self._sent: tuple[Demand, ...] = ()
        self._tick_ns: int | None = None
        self._events: deque[Event] = deque()
        self._leaving: set[str] = set()
        self._gone: set[int] = set()  # calls whose caller went away, maybe in the midst of a step
        world.after(0, lambda: self._report_regularly(0))

    # -- callers

    def arrive(self, arrival: Arrival) -> None:
        """Take a call in."""
        version = self._live.get(arrival.endpoint)
        if version is not None:
            deadline_ns = self._world.now_ns + arrival.deadline_ns
            call = self._accept(version, arrival.klass, deadline_ns, arrival)
            if arrival.gives_up_ns:
                self._world.after(arrival.gives_up_ns, partial(self._give_up, call))

    def nested(self, call: int, endpoint: str, done: Callable[[], None]) -> None:
        """Take in a call that running code makes; it inherits the deadline."""
        parent = self.open.get(call)
        version = self._live.get(endpoint)
        if parent is None or version is None:
            self._world.after(HOP_NS, done)
        else:
            self._accept(version, "standard", parent.deadline_ns, None, parent, done)

    def _accept(
        self,
        version: str,
        klass: Class,
        deadline_ns: int,
        arrival: Arrival | None,
        parent: _Call | None = None,
        done: Callable[[], None] | None = None,
    ) -> int:
        self._serial += 1
        id, now_ns = self._serial, self._world.now_ns
        parent_id = parent.id if parent else 0
        call = _Call(id, version, klass, deadline_ns, arrival, parent_id, done=done)
        if parent is not None:
            parent.children.append(id)
        self.open[id] = call
        row = self._counted.get(version, Demand(key=version))
        stamp_ns = self._post.stamped(now_ns)
        self._counted[version] = replace(row, arrivals=row.arrivals + 1, last_arrival_ns=stamp_ns)
        event = CallArrived(id, version, deadline_ns, klass=klass, parent=parent_id)
        if arrival is not None:
            event = structs.replace(
                event,
                tenant=arrival.tenant,
                has_deadline=arrival.has_deadline,
                affinity=arrival.affinity,
                size_bytes=arrival.size_bytes,
            )
        due_ns = max(deadline_ns, now_ns) + ANSWER_SLACK_NS
        self._tell(Accepted(id, version, due_ns, deadline_ns, event.tenant, klass, parent_id != 0))
        self._world.at(deadline_ns + ANSWER_SLACK_NS // 2, partial(self._run_out, id))
        self._take(event)
        return id

    def _give_up(self, id: int) -> None:
        if id in self.open:
            self._gone.add(id)
            self._answer(id, "cancelled")
            self._take(CallCancelled(id))

    def _redraw(self, id: int) -> bool:
        """Take a call in anew whose version left while it waited: it never ran."""
        call = self.open.get(id)
        version = self._live.get(call.version.partition("@")[0]) if call is not None else None
        if call is None or version is None or version == call.version:
            return False
        del self.open[id]
        self._tell(Answered(id, "redrawn"))
        self._world.after(0, partial(self._accept_again, call, version))  # not in a step's midst
        return True

    def _accept_again(self, call: _Call, version: str) -> None:
        parent = self.open.get(call.parent)
        self._accept(version, call.klass, call.deadline_ns, call.arrival, parent, call.done)

    def _run_out(self, id: int) -> None:
        """Answer a call whose deadline passed while it ran; the dispatcher answers those that wait."""
        if id in self.open and self.open[id].is_sent:
            self._answer(id, "deadline")
            self._take(CallCancelled(id))

    def _answer(self, id: int, code: str) -> None:
        call = self.open.pop(id, None)
        self._tell(Answered(id, code))
        if call is None:
            return
        if call.done is not None:
            self._world.after(HOP_NS, call.done)
        for child in call.children:
            self._give_up(child)

    # -- ranks

    def ended(self, call: int, rank: Rank, service_ns: int, is_fault: bool) -> None:
        """Hear that a call ended on a rank."""
        if self._links.get(rank.id) is not rank:
            return
        known = self.open.get(call)
        if known is not None:
            row = self._counted[known.version]
            self._counted[known.version] = replace(
                row,
                completed=row.completed + 1,
                service_ns=row.service_ns + service_ns,
            )
            self._answer(call, "internal" if is_fault else "ok")
        self._tell(Freed(call, rank.id, service_ns))
        self._take(CallEnded(call, rank.id, service_ns, is_fault))

    def refused(self, call: int, rank: Rank, draining: bool, handed_back: bool) -> None:
        """Hear that a rank has no room."""
        if self._links.get(rank.id) is rank:
            if call in self.open:
                self.open[call].is_sent = False
            self._tell(Freed(call, rank.id))
            if draining:
                self._leaving.add(rank.id)
                self._tell(Unlinked(rank.id, is_lost=False))
            self._take(CallRefused(call, rank.id, draining, handed_back))

    def greeted(self, rank: Rank, ahead: int) -> None:
        """Hear how many calls a rank takes ahead from now on."""
        if self._links.get(rank.id) is rank and rank.id not in self._leaving:
            self._tell(Linked(rank.id, rank.permits, ahead))
            version = self.state.replicas[rank.id].version.key
            self._take(ReplicaReady(rank.id, version, rank.permits, ahead))

    def leaving(self, rank: Rank) -> None:
        """Hear that a rank drains."""
        if self._links.get(rank.id) is rank and rank.id not in self._leaving:
            self._leaving.add(rank.id)
            self._tell(Unlinked(rank.id, is_lost=False))
            self._take(ReplicaLeaving(rank.id))

    def lost(self, rank: Rank) -> None:
        """Notice that a link broke."""
        if self._links.pop(rank.id, None) is rank:
            self._leaving.discard(rank.id)
            self._tell(Unlinked(rank.id, is_lost=True))
            self._take(ReplicaLost(rank.id))

    # -- the controller

    def learn(self, routes: Routes) -> None:
        """Take in what is served and by whom, unless it is old."""
        if routes.number <= self._routes:
            return
        self._routes = routes.number
        for version in routes.versions:
            if self._known.get(version.version) != version:
                self._tell(Told(version))
                self._take(version)
        self._live = dict(routes.live)
        self._dial(routes.dials)
        known = {version.version: version for version in routes.versions}
        for key in sorted(self._known.keys() - known.keys()):
            self._take(VersionGone(key))
        self._known = known

    def _dial(self, dials: tuple[Dial, ...]) -> None:
        wanted = {dial.replica for dial in dials}
        for rank in [rank for id, rank in self._links.items() if id not in wanted]:
            self.leaving(rank)
        for dial in dials:
            if dial.replica in self._dialling:
                continue
            if dial.replica not in self._links or dial.replica in self._leaving:
                self._dialling.add(dial.replica)
                self._world.after(2 * HOP_NS, partial(self._link, dial))

    def _link(self, dial: Dial) -> None:
        self._dialling.discard(dial.replica)
        rank = self._find(dial.replica)
        if rank is None or rank.state != "ready":
            return  # the next routes try again
        self._leaving.discard(rank.id)
        if rank.id not in self._links:
            self._links[rank.id] = rank
            rank.links.append(self)
        self._tell(Linked(rank.id, rank.permits, rank.ahead))
        self._take(ReplicaReady(rank.id, dial.version, rank.permits, rank.ahead))

    # -- the dispatcher

    def _take(self, event: Event) -> None:
        """Feed an event in. One that an effect brings about waits until the effects before it are done."""
        self._events.append(event)
        if len(self._events) > 1:
            return
        while self._events:
            for effect in self._step(self.state, self._events[0], self._world.now_ns):
                self._do(effect)
            self._tell(Stepped(self.state))
            self._events.popleft()
        self._keep_time()

    def _do(self, effect: Effect) -> None:
        self._world.record(str(effect))
        match effect:
            case Send(call=call, replica=replica):
                self._send(call, replica)
            case Refuse(call=call, code=code):
                self._refuse(call, code)
            case Lost(call=call) if call in self.open:
                self._answer(call, "replica_lost")
            case Cancel(call=call, replica=replica) if replica in self._links:
                self._world.after(HOP_NS, partial(self._links[replica].cancel, call, self))
            case Again(call=call) if call in self.open:
                self.open[call].is_sent = False
            case Wake():
                self._send_demand()
            case _:
                pass  # its caller or its link is gone already

    def _refuse(self, call: int, code: str) -> None:
        if call not in self._gone and not (code == "version_not_found" and self._redraw(call)):
            self._answer(call, code)

    def _send(self, call: int, replica: str) -> None:
        self._tell(Sent(call, replica))
        known, rank = self.open.get(call), self._links.get(replica)
        if known is not None:
            known.is_sent = True
        if rank is not None:
            self._world.after(HOP_NS, partial(rank.take, call, self))

    def _keep_time(self) -> None:
        due_ns = self.state.next_due_ns
        if due_ns is not None and (self._tick_ns is None or due_ns < self._tick_ns):
            self._tick_ns = due_ns
            self._world.at(due_ns, partial(self._tick, due_ns))

    def _tick(self, due_ns: int) -> None:
        if self._tick_ns == due_ns:
            self._tick_ns = None
            self._take(Tick())

    # -- demand

    def _report_regularly(self, quiet_ns: int) -> None:
        rows = self._demand()
        if rows != self._sent or quiet_ns >= REPEAT_EVERY_NS:
            self._send_demand()
            quiet_ns = 0
        self._world.after(
            REPORT_EVERY_NS, lambda: self._report_regularly(quiet_ns + REPORT_EVERY_NS)
        )

    def _demand(self) -> tuple[Demand, ...]:
        for key, row in self._counted.items():
            present = (self.state.queued(key), self.state.inflight(key))
            if present != (row.queued, row.inflight):
                self._counted[key] = replace(row, queued=present[0], inflight=present[1])
        return tuple(self._counted.values())

    def _send_demand(self) -> None:
        self._reports += 1
        self._sent = self._demand()
        message = DemandReport(self._reports, self._sent)
        self._post.send(lambda: self._report(message))
