"""Who makes way for a version that must start now and finds no room?

GPUs are handed out whole, so on a small machine an idle replica can keep everybody else out. Must start now: a
candidate, a version with waiting calls and no replica, one below its `min`. For these, in this order:

1. what drains already: they wait for it (`Rooms.coming`), and nobody is sent away;
2. for a candidate, an idle replica of the version it is to follow;
3. idle, ready replicas of any version above its `min`, those first that are worth the least for each byte they hold:
   expected calls × what it costs to be back / size (`warmth.residency`); of equals, the least recently called;
4. for a candidate, a busy replica of the version it is to follow: it ends its calls, new ones wait in the queue.

Who is sent away by 3 has no waiting calls and keeps its `min`, so it is not one that must start now: it cannot send
anybody away in return. A candidate counts as its own `min`, so the version that it displaced cannot have it displaced.
That is why plans of the same demand come to an end.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from glowplug.clock import SECOND
from glowplug_router.policy.packing.rooms import Room, Use
from glowplug_router.policy.placement import Place, Rooms, parts_held
from glowplug_router.policy.rollout import max_replicas, min_replicas
from glowplug_router.policy.warmth.ladder import WAIT_WORTH
from glowplug_router.policy.warmth.residency import Resident, heat_now, worth
from glowplug_router.records.devices import WHOLE
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Replica, Served

WAITING_MAX = 16  # versions for which room is kept at once: in a storm, the others wait until these have started
SURE_NS = (
    2 * SECOND
)  # gateways tell their demand once a second: who was not heard of by then is idle

DEVICE_BYTES = (
    24 << 30
)  # of one that says no size: an L4 or A10G (NVIDIA); only ratios mean anything
OWN_IDLE, IDLE, OWN_BUSY = range(3)


@dataclass(frozen=True, slots=True)
class Holder:
    """A replica that could make way: the lower its rank, the sooner."""

    replica: Replica
    rank: tuple[int, int, int, bool, int, str]

    @property
    def kind(self) -> int:
        """Return OWN_IDLE, IDLE or OWN_BUSY."""
        return self.rank[0]


@dataclass(frozen=True, slots=True)
class Way:
    """Where room is made, and who makes it."""

    spot: Place
    victims: tuple[Replica, ...]
    kind: int  # of the dearest of them


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
    kept = spot or Place("")
    if (memory.room_node, memory.room_gpus, memory.room_parts) == (
        kept.node,
        kept.gpus,
        kept.parts,
    ):
        return memory
    return replace(memory, room_node=kept.node, room_gpus=kept.gpus, room_parts=kept.parts)


class Holders:
    """All replicas that could make way for anybody: idle, and above the `min` of their version."""

    def __init__(self) -> None:
        self.by_node: dict[str, list[Holder]] = {}
        self.spare: dict[str, int] = {}  # version -> how many of its replicas may go

    def add(self, version: str, spare: int, holders: Iterable[Holder]) -> None:
        """Offer replicas of a version, so many of which may go."""
        self.spare[version] = spare
        for holder in holders:
            for node, _ in parts_held(holder.replica):
                self.by_node.setdefault(node, []).append(holder)

    def gone(self, replica: Replica) -> None:
        """Offer a replica no longer: it drains."""
        was_offered = False
        for node, _ in parts_held(replica):
            there = self.by_node.get(node, [])
            left = [holder for holder in there if holder.replica.id != replica.id]
            was_offered |= len(left) < len(there)
            self.by_node[node] = left
        if was_offered:
            self.spare[replica.version] -= 1


@dataclass(frozen=True, slots=True)
class Crowd:
    """What is known of everybody who could make way."""

    demand: Mapping[str, Demand]
    memories: Mapping[str, EndpointMemory]
    working: Callable[[str], Sequence[Replica]]
    rooms: Rooms
    now_ns: int

    def idle(self, served: Iterable[Served]) -> Holders:
        """Return who could make way for anybody."""
        holders = Holders()
        for version in served:
            if self._is_idle(version.key):
                # What starts was needed a moment ago; it neither goes nor stands in for the `min` before it is ready.
                ready = [one for one in self.working(version.key) if one.state == "ready"]
                spare = len(ready) - min_replicas(version)
                if spare > 0:
                    holders.add(version.key, spare, self._ranked(version, ready))
        return holders

    def _ranked(self, served: Served, ready: Sequence[Replica]) -> Iterator[Holder]:
        row, memory = self.demand.get(served.key), self.memories[served.key]
        last_arrival_ns = row.last_arrival_ns if row else 0
        heat = heat_now(memory.heat, row, self.now_ns) if row else memory.heat
        start_ns = memory.start.p50_ns or served.start_prior_ns
        wake_ns = start_ns * (1 + WAIT_WORTH[served.policy.priority])
        for replica in ready:
            size = _bytes_held(replica, self.rooms)
            resident = Resident(size * len(ready), wake_ns, heat)
            yield _holder(IDLE, replica, worth(resident, self.now_ns), last_arrival_ns)

    def followed(self, candidate: Served, endpoint: Iterable[Served]) -> list[Holder]:
        """Return who could make way for a candidate alone: the versions it is to follow, `min` or not."""
        found: list[Holder] = []
        for version in endpoint:
            kind = OWN_IDLE if self._is_idle(version.key) else OWN_BUSY
            # A candidate that failed once does not interrupt what serves a second time.
            is_spared = kind == OWN_BUSY and self.memories[candidate.key].failures
            if not version.candidate and not is_spared:
                found += [_holder(kind, replica) for replica in self.working(version.key)]
        return found

    def _is_idle(self, key: str) -> bool:
        return is_idle(self.demand.get(key), self.memories[key], self.now_ns)


def way_for(served: Served, rooms: Rooms, others: Holders, own: Sequence[Holder]) -> Way | None:
    """Return who makes way at the least cost, all of them on one node; None when nobody can."""
    mine = {holder.replica.id for holder in own}
    nodes = {*(holder.replica.node for holder in own), *others.by_node}
    best: tuple[tuple[int, int, int, int, str], list[Holder]] | None = None
    for node in sorted(nodes & rooms.coming.keys()):
        there = [h for h in others.by_node.get(node, ()) if h.replica.id not in mine]
        there += [holder for holder in own if holder.replica.node == node]
        chosen = _fewest(served, rooms, rooms.coming[node], there, others.spare)
        if chosen:
            kind, dearest, last_arrival_ns = max(holder.rank[:3] for holder in chosen)
            key = (kind, len(chosen), dearest, last_arrival_ns, node)
            if best is None or key < best[0]:
                best = (key, chosen)
    if best is None:
        return None
    (kind, *_, node), chosen = best
    gpus = _gpus_without(served, rooms, rooms.coming[node], chosen)
    assert gpus is not None, (served.key, chosen)
    return Way(Place(node, gpus), tuple(holder.replica for holder in chosen), kind)


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


def _holder(kind: int, replica: Replica, value: int = 0, last_arrival_ns: int = 0) -> Holder:
    # Of equals, one that starts goes first, then the youngest: they have the least warmth to lose.
    is_ready = replica.state != "starting"
    return Holder(replica, (kind, value, last_arrival_ns, is_ready, -replica.since_ns, replica.id))


def _bytes_held(replica: Replica, rooms: Rooms) -> int:
    """Return the memory of devices that a replica keeps from others; without devices, that of the host."""
    held = sum(
        _bytes_of(use)
        for node, _ in parts_held(replica)
        for use in rooms.uses_of(replica, node).values()
    )
    return held or rooms.memory_of(replica)


def _bytes_of(use: Use) -> int:
    return use.memory_bytes or use.share_permille * DEVICE_BYTES // WHOLE
