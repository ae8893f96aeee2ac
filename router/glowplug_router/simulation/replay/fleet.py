"""What do the machines of a replay do? They start replicas, drain them, and go away with what ran on them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random

from glowplug.clock import HOUR
from glowplug_router.policy.placement import parts_held
from glowplug_router.records.capacity import Limits, Offer, OfferTally
from glowplug_router.records.decided import Launch, Start, Terminate
from glowplug_router.records.observed import Node, Replica
from glowplug_router.simulation.faults import Post
from glowplug_router.simulation.replay.api import Api
from glowplug_router.simulation.replay.audit import Audit
from glowplug_router.simulation.replay.gateway import Gateway
from glowplug_router.simulation.replay.meters import Meters
from glowplug_router.simulation.replay.ranks import Rank
from glowplug_router.simulation.replay.scene import ALWAYS_NS, Scene
from glowplug_router.simulation.world import World

MONTH_NS = 30 * 24 * HOUR  # of a budget


class SimFleet:
    """All machines and replicas of a replay."""

    def __init__(
        self,
        world: World,
        scene: Scene,
        gateway: Gateway,
        meters: Meters,
        audit: Audit,
        post: Post | None,
        changed: Callable[[], None],
    ) -> None:
        self._world, self._gateway, self._meters = world, gateway, meters
        self._post, self._changed = post, changed
        self._fleet = scene.fleet
        self._begin_ns = world.now_ns + scene.lead_ns
        self._endpoints = {endpoint.served.key: endpoint for endpoint in scene.endpoints}
        self._speeds = dict(scene.fleet.speeds)
        # Of its own, so that a planner that starts more does not change what others draw.
        self.random = Random(world.random.getrandbits(64))
        market = scene.fleet.market
        self.market = market(Random(world.random.getrandbits(64))) if market else None
        self._api = Api(world, audit, post)
        self._there = {node.id: node for node in scene.fleet.nodes}
        self._nodes: tuple[Node, ...] | None = None
        self._had: dict[str, Node] = {}  # of the market, when last looked at
        self._market_ns: int | None = None
        self._micro_usd_ns = 0  # device time on machines that are simply there, times their price
        self.ranks: dict[str, Rank] = {}
        self._replicas: tuple[Replica, ...] | None = None
        self._look_at_market()

    # -- what is seen

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Return the machines as reported."""
        if self._nodes is None:
            self._nodes = (*self._there.values(), *self._had.values())
        return self._nodes

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """Return the replicas as reported."""
        if self._replicas is None:
            self._replicas = tuple(rank.record for rank in self.ranks.values())
        return self._replicas

    def market_seen(self) -> tuple[tuple[Offer, ...], tuple[OfferTally, ...]]:
        """Return what could be had now and what became of what was asked for."""
        if self.market is None:
            return (), ()
        self._look_at_market()
        return self.market.offers(self._world.now_ns), self.market.tallies(self._world.now_ns)

    def limits(self) -> Limits:
        """Return what is allowed on the market, and what of it is used: the month begins with the replay."""
        now_ns = self._world.now_ns
        if self.market is None:
            return self._fleet.limits
        return replace(
            self._fleet.limits,
            spent_micro_usd=self.market.cost_micro_usd(now_ns),
            month_passed_permille=min(1000, 1000 * now_ns // MONTH_NS),
        )

    def cost_micro_usd(self) -> int:
        """Return what all machines and devices have cost up to now."""
        now_ns = self._world.now_ns
        market_micro_usd = self.market.cost_micro_usd(now_ns) if self.market else 0
        return self._micro_usd_ns // HOUR + market_micro_usd

    # -- replicas

    def intend(self, action: Start) -> None:
        """Note a replica that is to start: from now on it counts, and costs."""
        endpoint, now_ns = self._endpoints[action.version], self._world.now_ns
        record = Replica(
            id=action.replica,
            version=action.version,
            node=action.node,
            state="starting",
            permits=endpoint.served.permits,
            since_ns=now_ns,
            gpus=action.gpus,
            parts=action.parts,
        )
        self.ranks[action.replica] = Rank(
            record, endpoint, now_ns, self._speeds.get(action.node, 1000)
        )
        self._meters.uses[endpoint.name].starts += 1
        self._meters.timeline.at(now_ns).starts += 1
        self._meters.replicas(0, 1, now_ns)
        self._replicas = None

    def start(self, replica: str) -> None:
        """Begin to start a replica, if it is still wanted."""
        rank = self.ranks.get(replica)
        if rank is None or rank.record.state != "starting":
            return
        fails = self.random.random() < rank.endpoint.start_fails
        start_ns = rank.endpoint.start.drawn(self.random)
        self._world.after(start_ns, partial(self._started, rank, fails))

    def _started(self, rank: Rank, fails: bool) -> None:
        if self.ranks.get(rank.id) is not rank or rank.record.state != "starting":
            return
        if fails:
            self.fail(rank, "start_failed")
            return
        rank.is_sick = self._post is not None and self._post.is_sick()
        self._enter(rank, "ready")
        self._gateway.link(rank)

    def drain(self, replica: str, drain_ns: int) -> None:
        """Let a replica finish what it has, for so long at most."""
        rank = self.ranks.get(replica)
        if rank is None:
            return
        if rank.record.state == "starting":
            self.end(rank)
        elif rank.record.state == "ready":
            self._gateway.leave(rank)
            self._enter(rank, "draining")
            if rank.running or rank.early:
                rank.gone = partial(self.end, rank)
                self._world.after(drain_ns, partial(self.end, rank))
            else:
                self.end(rank)
        self._meters.uses[rank.endpoint.name].drains += 1
        self._meters.timeline.at(self._world.now_ns).drains += 1

    def fail(self, rank: Rank, code: str) -> None:
        """Let a replica die where nobody meant it to."""
        if rank.is_alive:
            self._gateway.lose(rank)
            self._enter(rank, "failed", code)

    def end(self, rank: Rank) -> None:
        """End a replica and forget it."""
        if self.ranks.pop(rank.id, None) is not rank:
            return
        rank.gone = None
        self._gateway.lose(rank)
        self._count(rank, "failed")
        self.bill(rank, self._world.now_ns)
        self._replicas = None
        self._changed()

    def bill(self, rank: Rank, until_ns: int) -> None:
        """Meter what a replica held, up to a time."""
        held_ns = max(0, until_ns - max(rank.ordered_ns, self._begin_ns))
        use = self._meters.uses[rank.endpoint.name]
        use.replica_ns += held_ns
        use.device_ns += held_ns * rank.devices
        if rank.record.node in self._there:
            self._micro_usd_ns += held_ns * rank.devices * self._fleet.price_micro_usd

    def _enter(self, rank: Rank, state: str, code: str = "") -> None:
        self._count(rank, state)
        rank.enter(state, self._world.now_ns, code)  # type: ignore[arg-type]  # one of its states
        self._replicas = None
        self._changed()

    def _count(self, rank: Rank, state: str) -> None:
        before = rank.record.state
        ready = (state == "ready") - (before == "ready")
        starting = (state == "starting") - (before == "starting")
        if ready or starting:
            self._meters.replicas(ready, starting, self._world.now_ns)

    # -- machines

    def power_off(self, node: str, for_ns: int) -> None:
        """Lose a machine that was simply there, for a while, and all that ran on it for good."""
        self._there[node] = replace(self._there[node], seen_ns=self._world.now_ns)
        self._nodes = None
        self._lose_all_on(node)
        self._world.after(for_ns, partial(self._power_on, node))
        self._changed()

    def _power_on(self, node: str) -> None:
        self._there[node] = replace(self._there[node], seen_ns=ALWAYS_NS)
        self._nodes = None
        self._changed()

    def _lose_all_on(self, node: str) -> None:
        held = [(rank, dict(parts_held(rank.record))) for rank in self.ranks.values()]
        for rank in [rank for rank, nodes in held if node in nodes]:
            self.fail(rank, "node_lost")

    def launch(self, action: Launch) -> None:
        """Ask for a machine."""
        assert self.market is not None, action
        self._order(action.id, partial(self.market.launch, action))

    def terminate(self, action: Terminate) -> None:
        """Give a machine back, or stop it."""
        assert self.market is not None, action
        self._order(action.id, partial(self.market.terminate, action))

    def _order(self, id: str, act: Callable[[int], None]) -> None:
        """Give an order, if the provider takes any; else the plan says it again when it may."""
        if self._api.is_open:
            if self._api.takes(id):
                act(self._world.now_ns)
                self._look_at_market()
            else:
                self._world.at(self._api.until_ns, self._changed)

    def _look_at_market(self) -> None:
        """See what machines came, changed or went, and look again when that changes by itself."""
        if self.market is None:
            return
        now_ns = self._world.now_ns
        found = {node.id: node for node in self.market.nodes(now_ns)}
        if found != self._had:
            lost = [id for id in self._had if id not in found or found[id].state == "stopped"]
            self._had, self._nodes = found, None
            self._learn_speeds()
            for id in lost:
                self._lose_all_on(id)
            self._changed()
        due_ns = self.market.next_ns(now_ns)
        if due_ns is not None and (self._market_ns is None or due_ns < self._market_ns):
            self._market_ns = due_ns
            self._world.at(due_ns, partial(self._market_is_due, due_ns))

    def _market_is_due(self, due_ns: int) -> None:
        if self._market_ns == due_ns:
            self._market_ns = None
            self._look_at_market()
            self._changed()

    def _learn_speeds(self) -> None:
        assert self.market is not None
        offers = {offer.id: offer for offer in self.market.offers(self._world.now_ns)}
        for node in self._had.values():
            if node.offer in offers:
                self._speeds[node.id] = offers[node.offer].speed_permille
