"""Does what happens keep what we promise? Every fact of a run passes through here.

Each invariant has a name; `tests/simulation` plants a fault for each and sees it reported.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from glowplug.clock import SECOND
from glowplug_router.dispatch import DispatchState
from glowplug_router.dispatch.flight import whose_turn
from glowplug_router.policy.rollout import max_replicas, min_replicas
from glowplug_router.records.decided import Drain, Forget, Launch, Plan, Start, Swap, Terminate
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Node, Observed, Replica, Served
from glowplug_router.simulation.controller import Planner
from glowplug_router.simulation.facts import (
    Accepted,
    Answered,
    Commanded,
    Fact,
    Freed,
    Linked,
    Planned,
    RankDone,
    RankRuns,
    Sent,
    Stepped,
    Told,
    Unlinked,
)
from glowplug_router.simulation.hiring import Hiring
from glowplug_router.simulation.node import SimNode
from glowplug_router.simulation.overcommitted import overcommitted
from glowplug_router.simulation.sharing import Sharing
from glowplug_router.simulation.world import World

INVARIANTS = (
    "answered_once",  # every accepted call is answered exactly once, by its deadline
    "one_owner",  # no call is at two replicas
    "permits",  # no replica is sent more than its permits and what it takes ahead, or runs more than its permits
    "ahead",  # nothing that has a parent is sent ahead
    "expired",  # no call is sent after its deadline
    "run_once",  # no call that may have run is sent again, unless its version says that this is harmless
    "tenant_share",  # of the tenants that wait in one class, none gets far more device time than another
    "class_share",  # a class that waits gets its reserved share
    "no_dispatch_to_leaving",  # a replica that is leaving or lost is sent nothing
    "conservation",  # every open call is queued or in flight in the dispatcher, and nowhere else
    "no_idle_permit",  # no call waits where a permit is free that it may use
    "max",  # never more than max starting and ready, planned or real, beside who is on a machine that goes
    "makes_way",  # no candidate stands before its own predecessor; who waits for room gets it soon
    "room",  # no GPU given twice, no memory given that is not there
    # A plan of the planned state has no actions; where machines are launched, the plan `FOLLOW_UPS` later has none:
    # what is wanted of them depends on who is on one that goes, who waits for one and what has room, and what a plan
    # does changes that once it was asked. Who launches and gives back in turns never gets there.
    "idempotence",
    "epoch",  # no agent obeys an older controller than it already has
    "reaches_zero",  # an idle endpoint ends at its min
    "machines",  # no machine is launched that limits, quotas or what is wanted do not allow
    "machine_gone",  # nothing counts on a machine that is gone
    "machine_idle",  # a machine that nobody needs is given back
    "unowned",  # at the end every process is one the controller wants
)
ROOM_MAX_NS = 12 * SECOND  # drains take 5 s at most, and messages may be late or lost on the way
NEWS_MAX_NS = 3 * SECOND  # of a node that is silent, it is not known what has ended there
OVER_MAX_NS = 10 * SECOND  # real ranks above max that a late message or a restart explains
FOLLOW_UPS = (
    2  # a machine that goes takes who waits for it along; with fewer wanted, another one may go
)
QUIET_PLANS = 8  # of plans without actions, one in so many is made again
KEPT_MAX = 50  # violations written down; more of them say nothing new


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    invariant: str
    at_ns: int
    text: str


class Checkers:
    """All invariants of one run."""

    def __init__(
        self,
        world: World,
        planner: Planner,
        *,
        room_max_ns: int = ROOM_MAX_NS,
        hiring: Hiring | None = None,
    ) -> None:
        self._room_max_ns = room_max_ns
        self._hiring = hiring
        self.violations: list[Violation] = []
        self.answered = 0
        self._plans = 0
        self._world, self._planner = world, planner
        self._open: dict[int, int] = {}  # call -> when it must be answered
        self._over: set[int] = set()
        self._owner: dict[int, str] = {}  # call -> replica
        self._at: dict[str, set[int]] = {}  # replica -> calls there
        self._permits: dict[
            str, tuple[int, int]
        ] = {}  # replicas that may be sent calls; permits and ahead
        self._asked: dict[int, Accepted] = {}  # all that came
        self._has_run: set[int] = set()
        self._retry_safe: set[str] = set()
        self._sharing = Sharing()
        self._running: dict[int, str] = {}  # call -> rank that runs it
        self._epochs: dict[str, int] = {}
        self._over_max_ns: dict[str, int] = {}
        self._waits_ns: dict[str, int] = {}  # version -> since when room is kept for it
        self.codes: Counter[str] = Counter()

    def observe(self, fact: Fact) -> None:  # noqa: C901 one case a fact, nothing else
        """Check one fact."""
        match fact:
            case Stepped(state=state):
                self._sharing.stepped()
                self._step(state)
            case Sent(call=call, replica=replica):
                self._send(call, replica)
            case Freed():
                self._end(fact)
            case RankRuns():
                self._rank_runs(fact)
            case RankDone(call=call):
                self._running.pop(call, None)
            case Accepted():
                self._accept(fact)
            case Answered():
                self._answer(fact)
            case Linked(replica=replica, permits=permits, ahead=ahead):
                self._permits[replica] = (permits, ahead)
            case Told(version=version):
                (self._retry_safe.add if version.retry_safe else self._retry_safe.discard)(
                    version.version
                )
            case Unlinked(replica=replica, is_lost=is_lost):
                self._unlink(replica, is_lost)
            case Planned():
                self._plan(fact)
            case Commanded(node=node, epoch=epoch):
                highest = self._epochs.get(node, 0)
                self._expect(
                    epoch >= highest, "epoch", f"{node} obeyed epoch {epoch} after {highest}"
                )
                self._epochs[node] = max(epoch, highest)

    def _expect(self, holds: bool, invariant: str, text: str) -> None:
        if not holds and len(self.violations) < KEPT_MAX:
            self.violations.append(Violation(invariant, self._world.now_ns, text))

    # -- calls

    def _accept(self, fact: Accepted) -> None:
        self._open[fact.call] = fact.due_ns
        self._asked[fact.call] = fact
        self._sharing.accepted(fact)

    def _answer(self, fact: Answered) -> None:
        call = fact.call
        self.codes[fact.code] += 1
        self._sharing.answered(call)
        self.answered += 1
        known = self._open.pop(call, None) is not None
        self._expect(
            known and call not in self._over, "answered_once", f"call {call} was answered again"
        )
        self._over.add(call)

    def _send(self, call: int, replica: str) -> None:
        owner = self._owner.get(call)
        self._expect(owner is None, "one_owner", f"call {call} sent to {replica} while at {owner}")
        grant = self._permits.get(replica)
        self._expect(grant is not None, "no_dispatch_to_leaving", f"call {call} sent to {replica}")
        there = self._at.setdefault(replica, set())
        there.add(call)
        permits, ahead = grant or (len(there), 0)
        self._expect(
            len(there) <= permits + ahead, "permits", f"{replica}: {len(there)} of {permits}"
        )
        asked = self._asked[call]
        is_ahead = len(there) > permits
        self._expect(
            not (is_ahead and asked.is_nested), "ahead", f"nested call {call} ahead at {replica}"
        )
        self._expect(
            self._world.now_ns < asked.deadline_ns, "expired", f"call {call} sent to {replica}"
        )
        self._expect(
            call not in self._has_run or asked.version in self._retry_safe,
            "run_once",
            f"call {call} sent to {replica}",
        )
        self._owner[call] = replica
        self._sharing.sent(call)

    def _end(self, fact: Freed) -> None:
        asked = self._asked.get(fact.call)
        for invariant, text in self._sharing.freed(fact.call, asked, fact.service_ns):
            self._expect(False, invariant, text)
        self._free(fact.call, fact.replica)

    def _free(self, call: int, replica: str) -> None:
        if self._owner.get(call) == replica:
            del self._owner[call]
        self._at.get(replica, set()).discard(call)

    def _unlink(self, replica: str, is_lost: bool) -> None:
        self._permits.pop(replica, None)
        if is_lost:
            for call in tuple(self._at.get(replica, ())):
                self._end(Freed(call, replica))

    def _rank_runs(self, fact: RankRuns) -> None:
        other = self._running.get(fact.call)
        self._expect(
            other is None, "one_owner", f"call {fact.call} runs on {other} and {fact.replica}"
        )
        self._running[fact.call] = fact.replica
        self._has_run.add(fact.call)
        self._expect(fact.running <= fact.permits, "permits", f"{fact.replica} runs {fact.running}")

    def _step(self, state: DispatchState) -> None:
        lost = self._open.keys() - state.calls.keys()
        self._expect(
            not lost, "conservation", f"open calls unknown to the dispatcher: {sorted(lost)[:5]}"
        )
        queued = running = 0
        for version in state.versions.values():
            queued += version.waiting.count
            running += version.running
            if version.waiting.count and version.pool.is_free:
                is_held = whose_turn(version, self._world.now_ns) is None
                text = f"{version.waiting.count} calls of {version.key} wait"
                self._expect(is_held, "no_idle_permit", text)
        self._expect(
            running == len(self._owner) and queued + running == len(state.calls),
            "conservation",
            f"{len(state.calls)} calls: {queued} queued, {running} in flight, {len(self._owner)} at replicas",
        )

    # -- plans

    def _plan(self, fact: Planned) -> None:
        observed, plan = fact.observed, fact.plan
        for breach in self._hiring.planned(fact, self._world.now_ns) if self._hiring else ():
            self._expect(False, *breach)
        planned = planned_state(observed, plan, self._world.now_ns)
        served = {version.key: version for version in observed.served}
        if plan.memory.versions and self._sees_nodes(observed):
            going = {node.id for node in planned.nodes if node.leaves_ns or node.state == "leaving"}
            going.update(plan.memory.capacity.unwanted)
            staying = (replica for replica in planned.replicas if replica.node not in going)
            for key, count in working(staying).items():
                highest = max_replicas(served[key]) if key in served else 0
                self._expect(count <= highest, "max", f"{count} of {key} planned, max {highest}")
        self._check_room(planned, served)
        self._check_ways(planned, plan)
        self._plans += 1
        if not plan.actions and self._plans % QUIET_PLANS:
            return
        again = self._again(planned, fact, plan.memory)
        for _ in range(FOLLOW_UPS if observed.offers and again.actions else 0):
            planned = planned_state(planned, again, self._world.now_ns)
            again = self._again(planned, fact, again.memory)
        self._expect(
            not again.actions,
            "idempotence",
            f"a plan of the planned state wants {again.actions[:2]}",
        )

    def _again(self, planned: Observed, fact: Planned, memory: Memory) -> Plan:
        return self._planner(planned, fact.demand, memory, self._world.now_ns)

    def _sees_nodes(self, observed: Observed) -> bool:
        return any(self._world.now_ns - node.seen_ns < OVER_MAX_NS for node in observed.nodes)

    def _check_room(self, planned: Observed, served: dict[str, Served]) -> None:
        for flaw in overcommitted(planned.nodes, planned.replicas, served):
            self._expect(False, "room", flaw)

    def _check_ways(self, planned: Observed, plan: Plan) -> None:
        rules = {row.subject: row.rule for row in plan.explain}
        heard = {n.id for n in planned.nodes if self._world.now_ns - n.seen_ns < NEWS_MAX_NS}
        there = working(r for r in planned.replicas if r.node in heard and r.gpus)
        failed = {known.key for known in plan.memory.versions if known.failures}
        for version in planned.served:
            # Candidates need what their predecessor needs, so that its room would do; one failure ends the privilege.
            is_privileged = version.candidate and version.key not in failed
            if is_privileged and rules[version.key] == "no_room":
                name = version.key.partition("@")[0]
                before = [key for key in there if key.partition("@")[0] == name]
                self._expect(not before, "makes_way", f"{before} stand before {version.key}")
        waits = {known.key for known in plan.memory.versions if known.room_node in heard}
        self._waits_ns = {key: self._waits_ns.get(key, self._world.now_ns) for key in waits}
        for key, since_ns in self._waits_ns.items():
            waited_ns = self._world.now_ns - since_ns
            self._expect(
                waited_ns <= self._room_max_ns, "makes_way", f"{key} waits for room too long"
            )

    # -- the real thing

    def census(self, nodes: Mapping[str, SimNode], served: dict[str, Served]) -> None:
        """Look at the machines and processes themselves, and at calls that should be answered by now."""
        now_ns = self._world.now_ns
        for breach in self._hiring.census(nodes, now_ns) if self._hiring else ():
            self._expect(False, *breach)
        late = [call for call, due_ns in self._open.items() if due_ns < now_ns]
        self._expect(
            not late, "answered_once", f"calls past their deadline without an answer: {late[:5]}"
        )
        counts: dict[str, int] = {}
        for node in nodes.values():
            for rank in node.ranks.values() if node.is_connected else ():
                if rank.state in ("starting", "ready"):
                    counts[rank.version] = counts.get(rank.version, 0) + 1
        over = {
            k: n for k, n in counts.items() if n > (max_replicas(served[k]) if k in served else 0)
        }
        self._over_max_ns = {key: self._over_max_ns.get(key, now_ns) for key in over}
        for key, since_ns in self._over_max_ns.items():
            self._expect(
                now_ns - since_ns <= OVER_MAX_NS, "max", f"{over[key]} of {key} really run"
            )

    def end(self, nodes: Iterable[SimNode], wanted: set[str], served: dict[str, Served]) -> None:
        """Check what is left when nothing has happened for long."""
        self._expect(not self._open, "answered_once", f"never answered: {sorted(self._open)[:5]}")
        counts: dict[str, int] = {}
        for node in nodes:
            for rank in node.ranks.values():
                if rank.is_alive:
                    counts[rank.version] = counts.get(rank.version, 0) + 1
                    is_owned = rank.id in wanted and rank.id in node.wanted
                    self._expect(
                        is_owned, "unowned", f"{rank.id} is {rank.state} on {node.machine.id}"
                    )
        for key in sorted(counts.keys() | served.keys()):
            lowest = min_replicas(served[key]) if key in served else 0
            count = counts.get(key, 0)
            self._expect(count <= lowest, "reaches_zero", f"{count} of {key} left, min {lowest}")


def planned_state(observed: Observed, plan: Plan, now_ns: int = 0) -> Observed:
    """Return what would be observed if the plan had been carried out this moment."""
    nodes = {node.id: node for node in observed.nodes}
    replicas = {replica.id: replica for replica in observed.replicas}
    for action in plan.actions:
        match action:
            case Start(replica=id, version=version, node=node, gpus=gpus, parts=parts):
                replicas[id] = Replica(
                    id=id, version=version, node=node, state="starting", gpus=gpus, parts=parts
                )
            case Drain(replica=id):
                replicas[id] = replace(replicas[id], state="draining")
            case Forget(replica=id):
                replicas.pop(id, None)
            case Swap(replica=id, version=version):
                replicas[id] = replace(replicas[id], version=version, state="starting")
            case Launch() | Terminate():
                _order(nodes, action, now_ns)
    return replace(observed, replicas=tuple(replicas.values()), nodes=tuple(nodes.values()))


def _order(nodes: dict[str, Node], action: Launch | Terminate, now_ns: int) -> None:
    """Have a machine as it is right after an order."""
    node = nodes.get(action.node, Node(id=action.node, cpu_milli=0, memory_bytes=0))
    node = replace(node, since_ns=now_ns, seen_ns=max(node.seen_ns, now_ns))
    if isinstance(action, Launch):
        nodes[node.id] = replace(node, offer=action.offer, state="launching")
    elif action.stop:
        nodes[node.id] = replace(node, state="stopped")
    else:
        del nodes[node.id]


def working(replicas: Iterable[Replica]) -> dict[str, int]:
    """Return how many replicas of each version start or are ready."""
    counts: dict[str, int] = {}
    for replica in replicas:
        if replica.state in ("starting", "ready"):
            counts[replica.version] = counts.get(replica.version, 0) + 1
    return counts
