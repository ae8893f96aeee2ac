"""What should be started, drained or forgotten now, and why?

`plan(observed, demand, memory, now_ns) -> Plan` is total and deterministic: same arguments, same answer, for ever.

What the controller owes it:

- `observed.replicas` holds what agents report *and* what is intended but not reported yet: a `Start` as state
  "starting" (with its gpus), a `Drain` as "draining", a `Swap` as "starting" of the new version; a `Forget` takes the
  replica out. Then a plan of the planned state has no actions, and nothing is started twice.
- `demand` has at most one row a version; no row means that nothing was ever asked of it.
- `plan.memory` is given to the next plan. When it is lost, nothing is drained for a full `zero_after`.
- Actions may be carried out twice: their id is the hash of kind, subject and epoch, and that of a replica is used once.

Starting and ready replicas count against `max`; draining ones do not, but hold their room on the node until they end.
What must start now and finds no room has others make way (`policy.eviction`); the room is kept for it meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from glowplug.clock import SECOND
from glowplug_router.policy.backoff import FAILURES_MAX, is_failed, outcomes_noted
from glowplug_router.policy.eviction import (
    SURE_NS,
    WAITING_MAX,
    Crowd,
    Holders,
    Way,
    needed_now,
    noted_room,
    way_for,
)
from glowplug_router.policy.naming import replica_id
from glowplug_router.policy.placement import Place, Rooms
from glowplug_router.policy.reasons import needs_text, no_room_text, waits_text
from glowplug_router.policy.rollout import fixed_replicas, swappable
from glowplug_router.policy.scale import Target, demand_noted, desired_replicas
from glowplug_router.records import (
    Action,
    Demand,
    Drain,
    EndpointMemory,
    Explain,
    Forget,
    Memory,
    Node,
    Observed,
    Plan,
    Replica,
    Served,
    Start,
    Swap,
)

NODE_LOST_NS = 15 * SECOND  # agents report once a second: fifteen in a row did not come
ORPHAN_DRAIN_NS = 30 * SECOND  # for replicas of versions nobody knows any more


def plan(observed: Observed, demand: Sequence[Demand], memory: Memory, now_ns: int) -> Plan:
    """Return what to do now, what to remember, why, and when to ask again at the latest."""
    draft = _Draft(observed, {row.key: row for row in demand}, memory, now_ns)
    draft.forget_the_lost()
    draft.drain_the_unserved()
    targets = [(served, draft.target(served)) for served in observed.served]
    for served, target in targets:
        draft.swap(served, target)
    for served, target in targets:
        draft.shrink(served, target)
    draft.make_room(targets)
    # Whoever has nothing comes first; a candidate before that, since a deployment waits for it.
    targets.sort(key=lambda pair: (not pair[0].candidate, len(draft.working(pair[0].key)) > 0))
    for served, target in targets:
        draft.grow(served, target)
    return draft.finished()


@dataclass(slots=True)
class _Draft:
    """A plan in the making: what is written down here is only seen when it is finished."""

    observed: Observed
    demand: Mapping[str, Demand]
    memory: Memory
    now_ns: int
    actions: list[Action] = field(default_factory=list)
    explain: dict[str, Explain] = field(default_factory=dict)
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
    serial: int = field(init=False)

    def __post_init__(self) -> None:
        self.served = {served.key: served for served in self.observed.served}
        fresh_ns = self.now_ns - NODE_LOST_NS
        self.nodes = tuple(node for node in self.observed.nodes if node.seen_ns > fresh_ns)
        self.dues_ns.extend(node.seen_ns + NODE_LOST_NS for node in self.nodes)
        self.replicas = {}
        for replica in self.observed.replicas:
            self.replicas.setdefault(replica.version, []).append(replica)
        self.memories = {
            known.key: known for known in self.memory.versions if known.key in self.served
        }
        self.swapping = {served.swap_from for served in self.observed.served if served.swap_from}
        self.rooms = Rooms(self.nodes, self.observed.replicas, self.served)
        self.serial = self.memory.serial

    # -- steps, in this order

    def forget_the_lost(self) -> None:
        """Drop what failed, and what was on a node that is silent. Without any node we are blind, and touch nothing."""
        for replica in self.observed.replicas if self.nodes else ():
            if replica.node not in self.rooms.left:
                self._forget(replica, "node_lost")
            elif replica.state == "failed":
                self._forget(replica, replica.code or "start_failed")

    def drain_the_unserved(self) -> None:
        """Let go of replicas whose version is known to nobody, so that no process stays without an owner."""
        for key, replicas in self.replicas.items():
            if key not in self.served and self.nodes:
                for replica in self._sighted(replicas):
                    if replica.state in ("starting", "ready"):
                        self._drain(replica, ORPHAN_DRAIN_NS, "unserved")

    def target(self, served: Served) -> Target:
        """Return how many replicas the version should have, and remember what led there."""
        replicas = self.replicas.get(served.key, ())
        memory = outcomes_noted(
            self.memories.get(served.key, EndpointMemory(key=served.key)), replicas, self.now_ns
        )
        demand = self.demand.get(served.key, Demand(key=served.key))
        memory = demand_noted(memory, demand, self.now_ns)
        fixed = fixed_replicas(served)
        if fixed is not None:
            # A candidate that becomes live has its patience before it.
            memory = replace(memory, busy_ns=self.now_ns if fixed else memory.busy_ns)
            text = (
                "one replica, to be tried out"
                if fixed
                else "traffic has moved on; all replicas drain"
            )
            target = Target(fixed, "candidate" if fixed else "leaving", text, memory)
        else:
            states = [replica.state for replica in self.working(served.key)]
            ready = states.count("ready")
            target = desired_replicas(
                served, demand, memory, ready, len(states) - ready, self.now_ns
            )
        self.memories[served.key] = target.memory
        if target.due_ns is not None:
            self.dues_ns.append(target.due_ns)
        return target

    def swap(self, served: Served, target: Target) -> None:
        """Let replicas of the version before become this one, before anybody drains them."""
        self._explain(served, target, target.rule, target.text)
        for _ in range(target.replicas - len(self.working(served.key)) if self.nodes else 0):
            other = swappable(served, self.replicas)
            if other is None:
                return
            self._swap(other, served)

    def shrink(self, served: Served, target: Target) -> None:
        """Drain what is too much."""
        have = self.working(served.key)
        if self.nodes:
            for replica in sorted(have, key=_cheapest_first)[: max(0, len(have) - target.replicas)]:
                self._drain(replica, served.drain_ns, target.rule)

    def make_room(self, targets: Sequence[tuple[Served, Target]]) -> None:
        """Start what must start now, and where it finds no room, keep or make some for it."""
        urgent = [served for served, _ in self._urgent(targets)]
        tried = {served.key.rpartition("@")[0] for served in urgent if served.candidate}
        for served in urgent:
            # What was kept for a version that now has a candidate is the candidate's, if it wants it.
            if served.candidate or served.key.rpartition("@")[0] not in tried:
                known = self.memories[served.key]
                self.rooms.keep(served, Place(known.room_node, known.room_gpus))
        # Room that is made or given back may do for another one: a second plan must find nothing left to do.
        has_changed = True
        while has_changed:
            has_changed = False
            for served, needed in self._urgent(targets):
                has_changed |= self._settle(served, needed)
        self._explain_room(targets)

    def _explain_room(self, targets: Sequence[tuple[Served, Target]]) -> None:
        for served, target in targets:
            if served.key in self.makes_way:
                self._explain(served, target, "makes_way", self.makes_way[served.key])
            if served.key in self.rooms.held:
                self._explain(served, target, "waits_for_room", waits_text(served, self.rooms))

    def grow(self, served: Served, target: Target) -> None:
        """Start what is missing."""
        missing = self._missing(served, target)
        if missing <= 0 or self._is_held_back(served, target) or served.key in self.rooms.held:
            return
        for number in range(missing):
            if not self._start(served):
                self._explain_no_room(served, target, missing - number)
                return

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
            explain=tuple(self.explain[served.key] for served in self.observed.served),
            wake_ns=due_ns,
        )

    # -- how

    def working(self, key: str) -> list[Replica]:
        """Return the version's replicas that count: starting or ready, on a node that is there (or we are blind)."""
        return [
            r for r in self._sighted(self.replicas.get(key, ())) if r.state in ("starting", "ready")
        ]

    def _sighted(self, replicas: Iterable[Replica]) -> list[Replica]:
        return [
            replica for replica in replicas if not self.nodes or replica.node in self.rooms.left
        ]

    def _missing(self, served: Served, target: Target) -> int:
        return target.replicas - len(self.working(served.key)) - self.added.get(served.key, 0)

    def _urgent(self, targets: Sequence[tuple[Served, Target]]) -> list[tuple[Served, int]]:
        """Return who cannot wait, with how many: candidates first, then whoever has nothing."""
        found: list[tuple[bool, bool, Served, int]] = []
        for served, target in targets:
            missing = self._missing(served, target)
            if missing > 0:
                working = target.replicas - missing
                needed = needed_now(served, self.demand.get(served.key), working)
                if needed > 0 and not self._is_held_back(served, target):
                    rank = (not served.candidate, working > 0)
                    found.append((*rank, served, min(needed, missing)))
        return [(served, needed) for _, _, served, needed in sorted(found, key=lambda f: f[:2])]

    def _settle(self, served: Served, needed: int) -> bool:
        """Start a version or keep room for it; say whether that changed what others find."""
        spot = self.rooms.release(served)
        started = 0
        while started < needed and self._start(served):
            started += 1
        if started == needed:
            return True
        if spot is not None and self.rooms.keep(served, spot):
            return started > 0
        spot = self._room_to_come(served)
        return (spot is not None and self.rooms.keep(served, spot)) or started > 0

    def _room_to_come(self, served: Served) -> Place | None:
        """Return the room a version can wait for: what drains already, or else what is made for it."""
        if len(self.rooms.held) >= WAITING_MAX:
            return None
        if spot := self.rooms.place_to_come(served):
            return spot
        crowd = Crowd(self.demand, self.memories, self.working, self.now_ns)
        if self.holders is None:
            self.holders = crowd.idle(self.observed.served)
            self.dues_ns.extend(known.first_seen_ns + SURE_NS for known in self.memories.values())
        own = crowd.followed(served, self._endpoint_of(served)) if served.candidate else ()
        way = way_for(served, self.rooms, self.holders, own)
        return None if way is None else self._made(served, way)

    def _made(self, served: Served, way: Way) -> Place:
        assert self.holders is not None, way
        for replica in way.victims:
            self.holders.gone(replica)
            self._drain(replica, self.served[replica.version].drain_ns, "makes_way")
            text = f"{replica.id} drains: {served.key} must start and needs {needs_text(served)}"
            self.makes_way[replica.version] = text
        return way.spot

    def _endpoint_of(self, served: Served) -> list[Served]:
        """Return all versions of the endpoint."""
        name = served.key.rpartition("@")[0]
        return [other for key, other in self.served.items() if key.rpartition("@")[0] == name]

    def _is_held_back(self, served: Served, target: Target) -> bool:
        """Say whether starting must wait, and explain it."""
        memory = self.memories[served.key]
        if not self.nodes:
            self._explain(
                served, target, "blind", "no agent is connected; nothing is changed until one is"
            )
        elif served.key in self.swapping:
            self._explain(
                served, target, "swap", "its replicas are becoming another version; none is started"
            )
        elif is_failed(memory):
            text = f"{FAILURES_MAX} starts in a row failed; deploy a version that starts"
            self._explain(served, target, "failed", text)
        elif self.now_ns < memory.retry_at_ns:
            self.dues_ns.append(memory.retry_at_ns)
            wait_s = (memory.retry_at_ns - self.now_ns) / SECOND
            text = f"{memory.failures} failed starts, {memory.crashes} crashes; next start in {wait_s:.1f} s"
            self._explain(served, target, "backoff", text)
        else:
            return False
        return True

    def _start(self, served: Served) -> bool:
        spot = self.rooms.place(served)
        if spot is None:
            return False
        self.added[served.key] = self.added.get(served.key, 0) + 1
        self.serial += 1
        replica = replica_id(served.key, self.observed.epoch, self.serial)
        self.actions.append(
            Start(
                id=self._id("start", replica),
                replica=replica,
                version=served.key,
                node=spot.node,
                gpus=spot.gpus,
            )
        )
        return True

    def _swap(self, replica: Replica, served: Served) -> None:
        self.replicas[replica.version].remove(replica)
        self.added[served.key] = self.added.get(served.key, 0) + 1
        subject = f"{replica.id} {served.key}"
        self.actions.append(
            Swap(id=self._id("swap", subject), replica=replica.id, version=served.key)
        )

    def _drain(self, replica: Replica, drain_ns: int, reason: str) -> None:
        # A swap must not pick it any more, and the new count is without it.
        self.replicas[replica.version].remove(replica)
        self.rooms.drains(replica)
        self.actions.append(
            Drain(
                id=self._id("drain", replica.id),
                replica=replica.id,
                drain_ns=drain_ns,
                reason=reason,
            )
        )

    def _forget(self, replica: Replica, reason: str) -> None:
        self.actions.append(
            Forget(id=self._id("forget", replica.id), replica=replica.id, reason=reason)
        )

    def _id(self, kind: str, subject: str) -> str:
        return sha256(f"{kind}|{subject}|{self.observed.epoch}".encode()).hexdigest()

    def _explain(self, served: Served, target: Target, rule: str, text: str) -> None:
        ready = sum(replica.state == "ready" for replica in self.replicas.get(served.key, ()))
        self.explain[served.key] = Explain(
            subject=served.key,
            rule=rule,
            text=text,
            replicas_ready=ready,
            replicas_wanted=target.replicas,
        )

    def _explain_no_room(self, served: Served, target: Target, missing: int) -> None:
        if served.key in self.makes_way:
            return  # this has been said already, and for whom
        text = no_room_text(served, missing, self.rooms.left.values())
        winner = "" if served.candidate else self._winner(served)
        text = f"{winner} has its room; {text}" if winner else text
        self._explain(served, target, "makes_way" if winner else "no_room", text)

    def _winner(self, served: Served) -> str:
        """Return the candidate that is tried out in this version's place, or who waits for what it leaves; else ""."""
        tried = [other.key for other in self._endpoint_of(served) if other.candidate]
        draining = [r for r in self.replicas.get(served.key, ()) if r.state == "draining"]
        nodes = {replica.node for replica in draining}
        waiting = [key for key, spot in self.rooms.held.items() if spot.node in nodes]
        return next(iter(tried + waiting), "")


def _cheapest_first(replica: Replica) -> tuple[bool, int, str]:
    """Order by what draining costs: starting ones serve nobody yet; of the others the youngest has the least warmth."""
    return (replica.state != "starting", -replica.since_ns, replica.id)
