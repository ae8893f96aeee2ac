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
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from glowplug.clock import SECOND
from glowplug_router.policy.backoff import FAILURES_MAX, is_failed, outcomes_noted
from glowplug_router.policy.placement import Room, place, rooms
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
NAME_MAX = (
    24  # letters of the endpoint in a replica's id: ids become socket paths, which end at 107 bytes
)
_SERIAL_BITS = 24  # starts in one epoch that ids can tell apart: one a second for half a year
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u to misread


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
    swapped: dict[str, int] = field(default_factory=dict)
    left: dict[str, Room] = field(init=False)
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
        self.left = rooms(self.nodes, self.observed.replicas, self.served)
        self.serial = self.memory.serial

    # -- steps, in this order

    def forget_the_lost(self) -> None:
        """Drop what failed, and what was on a node that is silent. Without any node we are blind, and touch nothing."""
        for replica in self.observed.replicas if self.nodes else ():
            if replica.node not in self.left:
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

    def grow(self, served: Served, target: Target) -> None:
        """Start what is missing."""
        missing = target.replicas - len(self.working(served.key)) - self.swapped.get(served.key, 0)
        if missing <= 0 or self._is_held_back(served, target):
            return
        for number in range(missing):
            if not self._start(served):
                self._explain(
                    served, target, "no_room", self._no_room_text(served, missing - number)
                )
                return

    def finished(self) -> Plan:
        """Return the plan."""
        memory = replace(
            self.memory,
            versions=tuple(self.memories[served.key] for served in self.observed.served),
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
        return [replica for replica in replicas if not self.nodes or replica.node in self.left]

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
        spot = place(served, self.left, any(node.gpus for node in self.nodes))
        if spot is None:
            return False
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
        self.swapped[served.key] = self.swapped.get(served.key, 0) + 1
        subject = f"{replica.id} {served.key}"
        self.actions.append(
            Swap(id=self._id("swap", subject), replica=replica.id, version=served.key)
        )

    def _drain(self, replica: Replica, drain_ns: int, reason: str) -> None:
        # A swap must not pick it any more, and the new count is without it.
        self.replicas[replica.version].remove(replica)
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

    def _no_room_text(self, served: Served, missing: int) -> str:
        gpus = (
            f"{served.gpu_count} GPU ({' or '.join(served.gpu_names) or 'any'}), "
            if served.gpu_count
            else ""
        )
        free = "; ".join(
            f"{room.node}: {len(room.gpus)} GPU free, {(room.memory_bytes or 0) >> 20} MiB free"
            for room in list(self.left.values())[:4]
        )
        return f"{missing} more wanted, each with {gpus}{served.memory_bytes >> 20} MiB; {free}"


def replica_id(version: str, epoch: int, serial: int) -> str:
    """Return "hello-3-1g00004": unique for ever, since no two controllers share an epoch."""
    endpoint, _, number = version.rpartition("/")[2].partition("@")
    digits, rest = "", (epoch << _SERIAL_BITS) | serial
    while rest:
        rest, digit = divmod(rest, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return f"{endpoint[:NAME_MAX]}-{number}-{digits}"


def _cheapest_first(replica: Replica) -> tuple[bool, int, str]:
    """Order by what draining costs: starting ones serve nobody yet; of the others the youngest has the least warmth."""
    return (replica.state != "starting", -replica.since_ns, replica.id)
