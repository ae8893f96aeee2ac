"""What is written down while a plan is made: nobody sees it before it is finished."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from glowplug.clock import SECOND
from glowplug_router.drafting.accounts import numbers_of, placed_text
from glowplug_router.policy.backoff import FAILURES_MAX, is_failed
from glowplug_router.policy.eviction import Holders, noted_room
from glowplug_router.policy.naming import replica_id
from glowplug_router.policy.placement import Rooms
from glowplug_router.policy.scaling.following import Target
from glowplug_router.policy.wishes import due_ns, told
from glowplug_router.records.decided import Action, Drain, Forget, Plan, Start, Swap
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

    def __post_init__(self) -> None:
        self.served = {served.key: served for served in self.observed.served}
        fresh_ns = self.now_ns - NODE_LOST_NS
        self.nodes = tuple(node for node in self.observed.nodes if node.seen_ns > fresh_ns)
        self.dues_ns.extend(node.seen_ns + NODE_LOST_NS for node in self.nodes)
        edges = (due_ns(served.wishes, self.now_ns) for served in self.observed.served)
        self.dues_ns.extend(edge for edge in edges if edge is not None)
        self.replicas = {}
        for replica in self.observed.replicas:
            self.replicas.setdefault(replica.version, []).append(replica)
        self.memories = {
            known.key: known for known in self.memory.versions if known.key in self.served
        }
        self.swapping = {served.swap_from for served in self.observed.served if served.swap_from}
        self.rooms = Rooms(self.nodes, self.observed.replicas, self.served, self.observed.offers)
        self.serial = self.memory.serial

    def finished(self) -> Plan:
        """Return the plan."""
        memory = replace(
            self.memory,
            versions=tuple(
                noted_room(self.memories[served.key], self.rooms.held.get(served.key))
                for served in self.observed.served
            ),
            serial=self.serial,
        )
        due_ns = min((due for due in self.dues_ns if due > self.now_ns), default=None)
        return Plan(
            actions=tuple(self.actions),
            memory=memory,
            explain=tuple(self._row(served) for served in self.observed.served),
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
        return replace(row, acts=tuple(self.acts.get(key, ())), numbers=numbers)

    @property
    def deadline_ns(self) -> int:
        """Return when an action is too late: by then a node that this plan saw may count as lost."""
        return self.now_ns + NODE_LOST_NS

    # -- what there is

    def sighted(self, replicas: Iterable[Replica]) -> list[Replica]:
        """Return the replicas whose node is there, or all of them while we are blind."""
        left = self.rooms.left
        # Nearly all replicas are on one node: a call of a function for each shows in large fleets.
        return [
            replica
            for replica in replicas
            if not self.nodes
            or (replica.node in left and not (replica.parts and self.is_lost(replica)))
        ]

    def is_lost(self, replica: Replica) -> bool:
        """Say whether a node of a replica is not there: a gang that lost one of its parts is lost."""
        left = self.rooms.left
        return replica.node not in left or any(part.node not in left for part in replica.parts)

    def working(self, key: str) -> list[Replica]:
        """Return the version's replicas that count: starting or ready, on a node that is there (or we are blind)."""
        return [
            r for r in self.sighted(self.replicas.get(key, ())) if r.state in ("starting", "ready")
        ]

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
        if not self.nodes:
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

    def swap(self, replica: Replica, served: Served) -> None:
        """Let a replica become this version in place."""
        self.replicas[replica.version].remove(replica)
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
        self.replicas[replica.version].remove(replica)
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
        ready = sum(replica.state == "ready" for replica in self.replicas.get(served.key, ()))
        self.explained[served.key] = Explain(
            subject=served.key,
            rule=rule,
            text=text,
            replicas_ready=ready,
            replicas_wanted=target.replicas,
        )
