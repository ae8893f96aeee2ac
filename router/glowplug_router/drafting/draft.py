"""What is written down while a plan is made: nobody sees it before it is finished."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from glowplug.clock import SECOND
from glowplug_router.drafting.accounts import numbers_of, placed_text
from glowplug_router.policy.backoff import FAILURES_MAX, is_failed
from glowplug_router.policy.capacity.notices import is_leaving
from glowplug_router.policy.eviction import Holders, noted_room
from glowplug_router.policy.naming import replica_id
from glowplug_router.policy.placement import Rooms, parts_held
from glowplug_router.policy.scaling.following import Target
from glowplug_router.policy.wishes import due_ns, told
from glowplug_router.records.capacity import CapacityMemory
from glowplug_router.records.decided import (
    Action,
    Drain,
    Forget,
    Plan,
    Start,
    Swap,
)
from glowplug_router.records.memory import EndpointMemory, Memory
from glowplug_router.records.observed import Demand, Node, Observed, Replica, Served
from glowplug_router.records.stored import Explain

NODE_LOST_NS = 15 * SECOND  # agents report once a second: fifteen in a row did not come


@dataclass(slots=True)
class Draft:
    """A plan in the making. What one step does to replicas and rooms, the next one sees."""

    observed: Observed
    demand: Mapping[str, Demand]
    memory: Memory
    now_ns: int
    actions: list[Action] = field(default_factory=list)
    explained: dict[str, Explain] = field(default_factory=dict)
    dues_ns: list[int] = field(default_factory=list)
    served: dict[str, Served] = field(init=False)
    nodes: tuple[Node, ...] = field(init=False)
    replicas: dict[str, list[Replica]] = field(init=False)
    memories: dict[str, EndpointMemory] = field(init=False)
    swapping: set[str] = field(init=False)
    added: dict[str, int] = field(default_factory=dict)  # starts and swaps of this plan
    rooms: Rooms = field(init=False)
    holders: Holders | None = None  # who could make way; looked for when somebody must
    makes_way: dict[str, str] = field(default_factory=dict)  # version -> for whom, in this plan
    acts: dict[str, list[str]] = field(default_factory=dict)  # version -> what is done, in words
    serial: int = field(init=False)
    kinds: frozenset[str] = field(init=False)  # of devices that there are or could be launched
    departing: set[str] = field(init=False)  # machines that go: who is there counts no more
    capacity: CapacityMemory = field(init=False)
    machines: dict[str, tuple[str, str]] = field(
        default_factory=dict
    )  # version -> its need of machines, and what is said of that
    coming: Counter[str] = field(default_factory=Counter)  # need -> replicas machines come for
    told_of_machines: list[Explain] = field(default_factory=list)
    _working: dict[str, list[Replica]] = field(default_factory=dict)  # as counted last

    def __post_init__(self) -> None:
        self.served = {served.key: served for served in self.observed.served}
        fresh_ns = self.now_ns - NODE_LOST_NS
        self.nodes = tuple(node for node in self.observed.nodes if node.seen_ns > fresh_ns)
        self.dues_ns.extend(node.seen_ns + NODE_LOST_NS for node in self.nodes)
        wishes = (served.wishes for served in self.observed.served if served.wishes.holds)
        edges = (due_ns(those, self.now_ns) for those in wishes)
        self.dues_ns.extend(edge for edge in edges if edge is not None)
        self.replicas = {}
        for replica in self.observed.replicas:
            self.replicas.setdefault(replica.version, []).append(replica)
        self.memories = {
            known.key: known for known in self.memory.versions if known.key in self.served
        }
        self.swapping = {served.swap_from for served in self.observed.served if served.swap_from}
        needs = self.memory.capacity.needs
        hosts = {node: row.key for row in needs for node in row.nodes}
        self.rooms = Rooms(
            self.nodes, self.observed.replicas, self.served, self.observed.offers, hosts
        )
        self.serial = self.memory.serial
        self.capacity = self.memory.capacity
        self.kinds = self.rooms.kinds
        # Who was to go counts no more, until it is said again or taken back: else it would be replaced twice.
        self.departing = {node.id for node in self.nodes if is_leaving(node)}
        self.departing.update(self.memory.capacity.unwanted)

    def finished(self) -> Plan:
        """Return the plan."""
        memory = replace(
            self.memory,
            versions=tuple(
                noted_room(self.memories[served.key], self.rooms.held.get(served.key))
                for served in self.observed.served
            ),
            serial=self.serial,
            capacity=self.capacity,
        )
        due_ns = min((due for due in self.dues_ns if due > self.now_ns), default=None)
        return Plan(
            actions=tuple(self.actions),
            memory=memory,
            explain=(*map(self._row, self.observed.served), *self.told_of_machines),
            wake_ns=due_ns,
        )

    def _row(self, served: Served) -> Explain:
        key = served.key
        numbers = numbers_of(
            served,
            self.demand.get(key),
            self.memories[key],
            self.replicas.get(key, ()),
            self.now_ns,
        )
        row = told(self.explained[key], served, self.now_ns)
        # A constructor takes half of what `replace` takes, and there is one row a version.
        return Explain(
            subject=key,
            rule=row.rule,
            text=row.text,
            replicas_ready=row.replicas_ready,
            replicas_wanted=row.replicas_wanted,
            acts=tuple(self.acts.get(key, ())),
            numbers=numbers,
        )

    @property
    def deadline_ns(self) -> int:
        """Return when an action is too late: by then a node that this plan saw may count as lost."""
        return self.now_ns + NODE_LOST_NS

    # -- what there is

    @property
    def is_blind(self) -> bool:
        """Say whether nothing is known of what runs: where machines are launched, none there means that none is."""
        return not self.nodes and not self.observed.offers

    def sighted(self, replicas: Iterable[Replica]) -> list[Replica]:
        """Return the replicas whose node is there, or all of them while we are blind."""
        if self.is_blind:
            return list(replicas)
        left = self.rooms.left
        # Nearly all replicas are on one node: a call of a function for each shows in large fleets.
        return [
            replica
            for replica in replicas
            if replica.node in left and not (replica.parts and self.is_lost(replica))
        ]

    def is_lost(self, replica: Replica) -> bool:
        """Say whether a node of a replica is not there: a gang that lost one of its parts is lost."""
        left = self.rooms.left
        return replica.node not in left or any(part.node not in left for part in replica.parts)

    def working(self, key: str) -> Sequence[Replica]:
        """Return the version's replicas that count: starting or ready, on a node that is there (or we are blind)."""
        found = self._working.get(key)
        if found is None:
            found = self.sighted(self.replicas.get(key, ()))
            found = [r for r in found if r.state in ("starting", "ready")]
            if self.departing:
                found = [r for r in found if not self.departs(r)]
            self._working[key] = found
        return found

    def _leaves(self, replica: Replica) -> None:
        """Take a replica out of its version's."""
        self.replicas[replica.version].remove(replica)
        self._working.pop(replica.version, None)

    def departs(self, replica: Replica) -> bool:
        """Say whether a machine of a replica goes."""
        return any(node in self.departing for node, _ in parts_held(replica))

    def departing_of(self, key: str) -> list[Replica]:
        """Return the version's replicas on machines that go."""
        if not self.departing:
            return []
        return [r for r in self.sighted(self.replicas.get(key, ())) if self.departs(r)]

    def missing(self, served: Served, target: Target) -> int:
        """Return how many replicas are wanted that neither work nor start in this plan."""
        return target.replicas - len(self.working(served.key)) - self.added.get(served.key, 0)

    def endpoint_of(self, served: Served) -> list[Served]:
        """Return all versions of the endpoint."""
        name = served.key.rpartition("@")[0]
        return [other for key, other in self.served.items() if key.rpartition("@")[0] == name]

    def is_held_back(self, served: Served, target: Target) -> bool:
        """Say whether starting must wait, and explain it."""
        memory = self.memories[served.key]
        if self.is_blind:
            self.explain(
                served, target, "blind", "no agent is connected; nothing is changed until one is"
            )
        elif served.key in self.swapping:
            self.explain(
                served, target, "swap", "its replicas are becoming another version; none is started"
            )
        elif is_failed(memory):
            text = f"{FAILURES_MAX} starts in a row failed; deploy a version that starts"
            self.explain(served, target, "failed", text)
        elif self.now_ns < memory.retry_at_ns:
            self.dues_ns.append(memory.retry_at_ns)
            wait_s = (memory.retry_at_ns - self.now_ns) / SECOND
            text = f"{memory.failures} failed starts, {memory.crashes} crashes; next start in {wait_s:.1f} s"
            self.explain(served, target, "backoff", text)
        else:
            return False
        return True

    # -- what is done

    def start(self, served: Served) -> bool:
        """Start a replica where there is room; False when there is none."""
        spot = self.rooms.place(served)
        if spot is None:
            return False
        self.added[served.key] = self.added.get(served.key, 0) + 1
        self.serial += 1
        replica = replica_id(served.key, self.observed.epoch, self.serial)
        self.actions.append(
            Start(
                id=self._id("start", replica),
                deadline_ns=self.deadline_ns,
                precondition="is_wanted",
                replica=replica,
                version=served.key,
                node=spot.node,
                gpus=spot.gpus,
                parts=spot.parts,
            )
        )
        self._say(served.key, placed_text(replica, served, spot, self.rooms))
        return True

    def close(self, nodes: Iterable[str]) -> None:
        """Let nothing start on these machines, and go on with those that are there: they alone go."""
        self.departing = {node.id for node in self.nodes if is_leaving(node)}
        self._working.clear()
        for node in nodes:
            self.departing.add(node)
            if node in self.rooms.left:
                self.rooms.close(node)

    def swap(self, replica: Replica, served: Served) -> None:
        """Let a replica become this version in place."""
        self._leaves(replica)
        self.added[served.key] = self.added.get(served.key, 0) + 1
        subject = f"{replica.id} {served.key}"
        self.actions.append(
            Swap(
                id=self._id("swap", subject),
                deadline_ns=self.deadline_ns,
                precondition="is_tried_out",
                replica=replica.id,
                version=served.key,
            )
        )
        self._say(served.key, f"{replica.id} becomes it in place, its loaded state kept")

    def drain(self, replica: Replica, drain_ns: int, reason: str) -> None:
        """Let a replica finish and end."""
        # A swap must not pick it any more, and the new count is without it.
        self._leaves(replica)
        self.rooms.drains(replica)
        self.actions.append(
            Drain(
                id=self._id("drain", replica.id),
                deadline_ns=self.deadline_ns,
                replica=replica.id,
                drain_ns=drain_ns,
                reason=reason,
            )
        )
        self._say(replica.version, f"{replica.id} drains: {reason}")

    def forget(self, replica: Replica, reason: str) -> None:
        """Drop a replica that is gone."""
        self.actions.append(
            Forget(
                id=self._id("forget", replica.id),
                deadline_ns=self.deadline_ns,
                replica=replica.id,
                reason=reason,
            )
        )
        self._say(replica.version, f"{replica.id} is gone: {reason}")

    def _say(self, version: str, text: str) -> None:
        self.acts.setdefault(version, []).append(text)

    def _id(self, kind: str, subject: str) -> str:
        return sha256(f"{kind}|{subject}|{self.observed.epoch}".encode()).hexdigest()

    def explain(self, served: Served, target: Target, rule: str, text: str) -> None:
        """Say why a version has what it has; the last word holds."""
        ready = [replica.state for replica in self.replicas.get(served.key, ())].count("ready")
        self.explained[served.key] = Explain(
            subject=served.key,
            rule=rule,
            text=text,
            replicas_ready=ready,
            replicas_wanted=target.replicas,
        )
