"""Which nodes are too much, and may go now?

Nothing goes whose going leaves fewer ready than are needed, or takes from what must be left when a zone is lost. What
stays is kept as sums by zone, that follow each node that goes: to look at a node takes as long as there are zones.
"""

from collections import Counter
from dataclasses import dataclass, field

from glowplug_router.policy.capacity.envelope import is_spent, keep_stopped_ns
from glowplug_router.policy.capacity.filler import SURE_NS, is_paid_off, is_sure, paid_off_ns
from glowplug_router.policy.capacity.settlement import Settlement, after_the_worst
from glowplug_router.records.observed import Node


@dataclass(slots=True)
class Kept:
    """What stays, as long as nothing more goes."""

    it: Settlement
    nodes: dict[str, Node] = field(init=False)
    firm: int = field(init=False)  # what is ready
    spot: Counter[str] = field(init=False)  # zone -> capacity of the spot market
    early: Counter[str] = field(init=False)  # zone -> what is ready, or was launched to be so soon

    def __post_init__(self) -> None:
        it = self.it
        self.nodes = {node.id: node for node in it.staying}
        self.firm = sum(it.units[node] for node in it.firm)
        self.spot = it.by_zone(it.on_spot(it.staying))
        self.early = it.by_zone(node for node in it.staying if self._is_early(node))

    def without(self, node: Node, reason: str) -> None:
        """Release a node."""
        self.it.draft.release(node, reason)
        zone, units = self.it.offer(node).zone, self.it.units[node.id]
        del self.nodes[node.id]
        self.firm -= units if node.id in self.it.firm else 0
        self.spot[zone] -= units if self.is_spot(node) else 0
        self.early[zone] -= units if self._is_early(node) else 0

    def is_spot(self, node: Node) -> bool:
        """Say whether a node is of the spot market."""
        return self.it.offer(node).market == "spot"

    def may_go(self, node: Node) -> bool:
        """Say whether enough is ready without a node, and enough left when a zone is lost."""
        if node.id in self.it.firm and self.firm - self.it.units[node.id] < self.it.filled:
            return False
        return not self._is_early(node) or self._keeps_reserve(node, self.early)

    def is_spread_without(self, node: Node) -> bool:
        """Say whether spot alone is spread as well without a node of it: stand-ins leave again."""
        return self._keeps_reserve(node, self.spot)

    def _keeps_reserve(self, node: Node, zones: Counter[str]) -> bool:
        """Say whether enough is left when a zone is lost, or at least as much as before."""
        reserve = min(self.it.critical, after_the_worst(zones))
        rest = zones - Counter({self.it.offer(node).zone: self.it.units[node.id]})
        return after_the_worst(rest) >= reserve

    def _is_early(self, node: Node) -> bool:
        return node.id in self.it.firm or not self.is_spot(node)


def release_surplus(it: Settlement) -> None:
    """Release spot above what it should carry, on-demand that spot has taken over from, and stopped nodes in time."""
    kept = Kept(it)
    _release_spot(it, kept)
    _cancel_losers(it, kept)
    _release_fillers(it, kept)
    _release_replaced(it, kept)
    _release_stopped(it)


def _release_spot(it: Settlement, kept: Kept) -> None:
    """Let go of spot that is too much: what still starts first, then the riskiest."""
    excess = kept.spot.total() - it.spot_total
    if excess <= 0:
        return
    spot = it.on_spot(it.staying)
    for node in sorted(spot, key=lambda n: (n.id in it.firm, -it.risk(n), n.id)):
        if it.units[node.id] <= excess and kept.is_spread_without(node) and kept.may_go(node):
            kept.without(node, "more spot than is needed")
            excess -= it.units[node.id]


def _cancel_losers(it: Settlement, kept: Kept) -> None:
    """End the race where enough is ready: on-demand that still starts has lost."""
    if kept.firm < it.filled:
        return
    for node in [n for n in kept.nodes.values() if n.id not in it.firm and not kept.is_spot(n)]:
        if kept.may_go(node):
            kept.without(node, "another one was ready first")


def _release_fillers(it: Settlement, kept: Kept) -> None:
    """Let go of on-demand whose place spot has taken for long enough."""
    now_ns = it.draft.now_ns
    firm = [node for node in kept.nodes.values() if node.id in it.firm]
    spot = [node for node in firm if kept.is_spot(node)]
    ready = it.sum(spot)
    sure = it.sum(node for node in spot if is_sure(node, now_ns))
    fillers = [node for node in firm if not kept.is_spot(node)]
    left = it.sum(fillers)
    for node in sorted(fillers, key=lambda n: (-it.risk(n), -n.since_ns, n.id)):
        trusted = ready if is_paid_off(node, it.offer(node), now_ns) else sure
        is_needed = trusted + left - it.units[node.id] < it.filled
        if is_needed or not kept.may_go(node):
            it.draft.dues_ns.append(paid_off_ns(node, it.offer(node)))
            continue
        kept.without(node, "spot has taken over")
        left -= it.units[node.id]
    if left:
        it.draft.dues_ns.extend(node.since_ns + SURE_NS for node in spot)


def _release_replaced(it: Settlement, kept: Kept) -> None:
    """Let go of nodes with notice as soon as others are ready in their place."""
    if kept.firm >= it.filled:
        for node in it.nodes:
            if node.leaves_ns and node.state == "ready":
                it.draft.release(node, "replaced before it is taken away")


def _release_stopped(it: Settlement) -> None:
    """Give back what has been stopped for as long as it pays."""
    for node in it.nodes:
        if node.state == "stopped" and node.id not in it.launched:
            offer = it.offer(node)
            miss = it.loss.miss_micro_usd * it.units[node.id] // 1000
            if is_spent(node, offer, miss, it.draft.now_ns):
                it.draft.release(node, "stopped for long enough")
            else:
                it.draft.dues_ns.append(node.since_ns + keep_stopped_ns(offer, miss))
