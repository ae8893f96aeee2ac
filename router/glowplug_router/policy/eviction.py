"""Who makes way for a version that must start now and finds no room?

GPUs are handed out whole, so on a small machine an idle replica can keep everybody else out. Must start now: a
candidate, a version with waiting calls and no replica, one below its `min`. For these, in this order:

1. what drains already: they wait for it (`Rooms.coming`), and nobody is sent away;
2. for a candidate, an idle replica of the version it is to follow;
3. idle, ready replicas of any version above its `min`, the least recently called first;
4. for a candidate, a busy replica of the version it is to follow: it ends its calls, new ones wait in the queue.

Who is sent away by 3 has no waiting calls and keeps its `min`, so it is not one that must start now: it cannot send
anybody away in return. A candidate counts as its own `min`, so the version that it displaced cannot have it displaced.
That is why plans of the same demand come to an end.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from glowplug.clock import SECOND
from glowplug_router.policy.packing.rooms import Room
from glowplug_router.policy.placement import Place, Rooms
from glowplug_router.policy.rollout import max_replicas, min_replicas
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Replica, Served

WAITING_MAX = 16  # versions for which room is kept at once: in a storm, the others wait until these have started
SURE_NS = (
    2 * SECOND
)  # gateways tell their demand once a second: who was not heard of by then is idle

OWN_IDLE, IDLE, OWN_BUSY = range(3)


@dataclass(frozen=True, slots=True)
class Holder:
    """A replica that could make way: the lower its rank, the sooner."""

    replica: Replica
    rank: tuple[int, int, bool, int, str]

    @property
    def kind(self) -> int:
        """Return OWN_IDLE, IDLE or OWN_BUSY."""
        return self.rank[0]


@dataclass(frozen=True, slots=True)
class Way:
    """Where room is made, and who makes it."""

    spot: Place
    victims: tuple[Replica, ...]


def needed_now(served: Served, demand: Demand | None, working: int) -> int:
    """Return how many replicas cannot be waited for."""
    is_called = bool(demand and demand.queued and not working and max_replicas(served))
    return max(min_replicas(served) - working, int(is_called))


def is_idle(demand: Demand | None, memory: EndpointMemory, now_ns: int) -> bool:
    """Say whether no call of a version waits or runs. Of a version just met, silence says nothing yet."""
    if demand is None:
        return now_ns >= memory.first_seen_ns + SURE_NS
    return demand.queued + demand.inflight == 0


def noted_room(memory: EndpointMemory, spot: Place | None) -> EndpointMemory:
    """Return the memory with the room that is kept for the version, if any."""
    node, gpus = ("", ()) if spot is None else (spot.node, spot.gpus)
    if (memory.room_node, memory.room_gpus) == (node, gpus):
        return memory
    return replace(memory, room_node=node, room_gpus=gpus)


class Holders:
    """All replicas that could make way for anybody: idle, and above the `min` of their version."""

    def __init__(self) -> None:
        self.by_node: dict[str, list[Holder]] = {}
        self.spare: dict[str, int] = {}  # version -> how many of its replicas may go

    def add(self, served: Served, replicas: Sequence[Replica], last_arrival_ns: int) -> None:
        """Offer the ready replicas of an idle version, as far as its `min` allows."""
        # What starts was needed a moment ago; it neither goes nor stands in for the `min` before it is ready.
        ready = [replica for replica in replicas if replica.state == "ready"]
        spare = len(ready) - min_replicas(served)
        if spare > 0:
            self.spare[served.key] = spare
            for replica in ready:
                self.by_node.setdefault(replica.node, []).append(
                    _holder(IDLE, last_arrival_ns, replica)
                )

    def gone(self, replica: Replica) -> None:
        """Offer a replica no longer: it drains."""
        there = self.by_node.get(replica.node, [])
        left = [holder for holder in there if holder.replica.id != replica.id]
        if len(left) < len(there):
            self.by_node[replica.node] = left
            self.spare[replica.version] -= 1


@dataclass(frozen=True, slots=True)
class Crowd:
    """What is known of everybody who could make way."""

    demand: Mapping[str, Demand]
    memories: Mapping[str, EndpointMemory]
    working: Callable[[str], Sequence[Replica]]
    now_ns: int

    def idle(self, served: Iterable[Served]) -> Holders:
        """Return who could make way for anybody."""
        holders = Holders()
        for version in served:
            if self._is_idle(version.key):
                row = self.demand.get(version.key)
                holders.add(version, self.working(version.key), row.last_arrival_ns if row else 0)
        return holders

    def followed(self, candidate: Served, endpoint: Iterable[Served]) -> list[Holder]:
        """Return who could make way for a candidate alone: the versions it is to follow, `min` or not."""
        found: list[Holder] = []
        for version in endpoint:
            kind = OWN_IDLE if self._is_idle(version.key) else OWN_BUSY
            # A candidate that failed once does not interrupt what serves a second time.
            is_spared = kind == OWN_BUSY and self.memories[candidate.key].failures
            if not version.candidate and not is_spared:
                found += [_holder(kind, 0, replica) for replica in self.working(version.key)]
        return found

    def _is_idle(self, key: str) -> bool:
        return is_idle(self.demand.get(key), self.memories[key], self.now_ns)


def way_for(served: Served, rooms: Rooms, others: Holders, own: Sequence[Holder]) -> Way | None:
    """Return who makes way at the least cost, all of them on one node; None when nobody can."""
    mine = {holder.replica.id for holder in own}
    nodes = {*(holder.replica.node for holder in own), *others.by_node}
    best: tuple[tuple[int, int, int, str], list[Holder]] | None = None
    for node in sorted(nodes & rooms.coming.keys()):
        there = [h for h in others.by_node.get(node, ()) if h.replica.id not in mine]
        there += [holder for holder in own if holder.replica.node == node]
        chosen = _fewest(served, rooms, rooms.coming[node], there, others.spare)
        if chosen:
            kind, last_arrival_ns = max(holder.rank[:2] for holder in chosen)
            key = (kind, len(chosen), last_arrival_ns, node)
            if best is None or key < best[0]:
                best = (key, chosen)
    if best is None:
        return None
    (*_, node), chosen = best
    gpus = _gpus_without(served, rooms, rooms.coming[node], chosen)
    assert gpus is not None, (served.key, chosen)
    return Way(Place(node, gpus), tuple(holder.replica for holder in chosen))


def _fewest(
    served: Served,
    rooms: Rooms,
    room: Room,
    there: Sequence[Holder],
    spare: Mapping[str, int],
) -> list[Holder]:
    """Return holders whose end makes a version fit in a room, and none too many; [] when it would not fit."""
    chosen: list[Holder] = []
    used: dict[str, int] = {}
    for holder in sorted(there, key=lambda holder: holder.rank):
        version = holder.replica.version
        used[version] = used.get(version, 0) + 1
        if holder.kind == IDLE and used[version] > spare[version]:
            continue
        chosen.append(holder)
        if _gpus_without(served, rooms, room, chosen) is not None:
            break
    else:
        return []
    # The last one was what made it fit. Of those before, the dearest are left out first.
    for holder in chosen[-2::-1]:
        fewer = [other for other in chosen if other is not holder]
        if _gpus_without(served, rooms, room, fewer) is not None:
            chosen = fewer
    return chosen


def _gpus_without(
    served: Served, rooms: Rooms, room: Room, holders: Iterable[Holder]
) -> tuple[str, ...] | None:
    """Return the GPUs a version would get in a room that these have left, None when it would not fit."""
    trial = room.copy()
    for holder in holders:
        held = rooms.uses_of(holder.replica, room.node)
        trial.give(rooms.memory_of(holder.replica), held)
    return rooms.would_get(served, trial)


def _holder(kind: int, last_arrival_ns: int, replica: Replica) -> Holder:
    # Of equals, one that starts goes first, then the youngest: they have the least warmth to lose.
    rank = (kind, last_arrival_ns, replica.state != "starting", -replica.since_ns, replica.id)
    return Holder(replica, rank)
