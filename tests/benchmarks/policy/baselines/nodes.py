"""What would others do about nodes? Own code from documented rules, behind the same interface as `capacity_step`.

SpotHedge (SkyServe, skypilot 0.14.1, `sky/serve/autoscalers.py`, `spot_placer.py`; EuroSys'25): a decision every 20 s;
spot = need + e; on-demand = min(need, need + e - ready spot), launched at the same time; the cheapest active zone that
is not in use, else the cheapest active one; a loss or a refused launch makes a zone preempted, a ready node makes it
active again; with fewer than two active zones all are. It does not hear notices.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from glowplug.clock import MINUTE, SECOND
from glowplug_router.policy.capacity.view import CapacityPlan, CapacityView
from glowplug_router.records.capacity import CapacityMemory, Offer
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Node

TICK_NS = 20 * SECOND  # SkyServe's decision interval
RETRY_NS = MINUTE  # of an ASG that could not launch


def launch(offer: Offer, serial: int) -> Launch:
    """Return the launch of a node."""
    node = f"{offer.id}#{serial}"
    return Launch(id=node, node=node, offer=offer.id, deadline_ns=0, reason="baseline")


def terminate(node: Node) -> Terminate:
    """Return the end of a node."""
    return Terminate(id=f"end {node.id}", node=node.id, deadline_ns=0, reason="baseline")


def on_market(view: CapacityView, market: str) -> list[Node]:
    """Return the nodes of a market."""
    offers = {offer.id: offer for offer in view.offers}
    return [node for node in view.nodes if offers[node.offer].market == market]


def cheapest(view: CapacityView) -> Offer:
    """Return the cheapest on-demand offer."""
    found = [offer for offer in view.offers if offer.market == "on_demand"]
    return min(found, key=lambda offer: (offer.price_micro_usd, offer.id))


def planned(
    actions: Sequence[Launch | Terminate], memory: CapacityMemory, due_ns: int | None
) -> CapacityPlan:
    """Return the plan."""
    return CapacityPlan(actions=tuple(actions), memory=memory, explain=(), due_ns=due_ns)


@dataclass(slots=True)
class SpotHedge:
    """SkyServe's policy with `extra` spot nodes above the need."""

    extra: int
    preempted: set[str] = field(default_factory=set)
    seen: dict[str, str] = field(default_factory=dict)  # node -> its offer
    refused: dict[str, int] = field(default_factory=dict)
    tick_ns: int = 0

    def __call__(self, view: CapacityView, memory: CapacityMemory, now_ns: int) -> CapacityPlan:
        """Decide at each tick; between them nothing is done."""
        self._learn(view)
        if now_ns < self.tick_ns:
            return planned((), memory, self.tick_ns)
        self.tick_ns = now_ns + TICK_NS
        need = view.needs[0].units_permille // 1000
        spot, on_demand = on_market(view, "spot"), on_market(view, "on_demand")
        wanted = need + self.extra
        ready = sum(node.state == "ready" for node in spot)
        fallback = min(need, max(0, wanted - ready))
        actions: list[Launch | Terminate] = []
        serial = memory.serial
        for _ in range(wanted - len(spot)):
            serial += 1
            actions.append(launch(self._zone(view, spot, actions), serial))
        for _ in range(fallback - len(on_demand)):
            serial += 1
            actions.append(launch(cheapest(view), serial))
        order = sorted(on_demand, key=lambda node: (node.state == "ready", -node.since_ns))
        actions += [terminate(node) for node in order[: max(0, len(on_demand) - fallback)]]
        order = sorted(spot, key=lambda node: (node.state == "ready", -node.since_ns))
        actions += [terminate(node) for node in order[: max(0, len(spot) - wanted)]]
        is_calm = ready == wanted and not actions
        return planned(actions, replace(memory, serial=serial), None if is_calm else self.tick_ns)

    def _learn(self, view: CapacityView) -> None:
        spot = on_market(view, "spot")
        self.preempted |= {self.seen[gone] for gone in self.seen.keys() - {n.id for n in spot}}
        self.seen = {node.id: node.offer for node in spot}
        for tally in view.tallies:
            if tally.refused > self.refused.get(tally.offer, 0):
                self.preempted.add(tally.offer)
            self.refused[tally.offer] = tally.refused
        self.preempted -= {node.offer for node in spot if node.state == "ready"}

    def _zone(
        self, view: CapacityView, spot: Sequence[Node], actions: Sequence[Launch | Terminate]
    ) -> Offer:
        offers = [offer for offer in view.offers if offer.market == "spot"]
        if sum(offer.id not in self.preempted for offer in offers) < 2:
            self.preempted.clear()
        active = [offer for offer in offers if offer.id not in self.preempted]
        used = Counter(node.offer for node in spot)
        used.update(action.offer for action in actions if isinstance(action, Launch))
        free = [offer for offer in active if not used[offer.id]]
        return min(free or active, key=lambda offer: (offer.price_micro_usd, offer.id))


@dataclass(slots=True)
class Spread:
    """An auto-scaling group: a share of on-demand, the rest evenly over spot zones; no fallback, a retry a minute."""

    on_demand_permille: int
    refused: dict[str, int] = field(default_factory=dict)

    def __call__(self, view: CapacityView, memory: CapacityMemory, now_ns: int) -> CapacityPlan:
        """Fill what is missing: spot in the zone with fewest nodes that did not refuse just now."""
        need = view.needs[0].units_permille // 1000
        base = -(-need * self.on_demand_permille // 1000)
        spot, on_demand = on_market(view, "spot"), on_market(view, "on_demand")
        actions: list[Launch | Terminate] = []
        serial = memory.serial
        for _ in range(base - len(on_demand)):
            serial += 1
            actions.append(launch(cheapest(view), serial))
        used = Counter(node.offer for node in spot)
        missing = need - base - len(spot)
        for _ in range(missing):
            offers = [o for o in view.offers if o.market == "spot" and self._may(view, o, now_ns)]
            if offers:
                best = min(offers, key=lambda offer: (used[offer.id], offer.id))
                used[best.id] += 1
                serial += 1
                actions.append(launch(best, serial))
        due_ns = now_ns + RETRY_NS if missing > 0 else None
        return planned(actions, replace(memory, serial=serial), due_ns)

    def _may(self, view: CapacityView, offer: Offer, now_ns: int) -> bool:
        tally = next(tally for tally in view.tallies if tally.offer == offer.id)
        return not tally.refused or now_ns - tally.last_refused_ns >= RETRY_NS


def on_demand_only(view: CapacityView, memory: CapacityMemory, now_ns: int) -> CapacityPlan:
    """Launch on-demand for all that is needed, and keep it."""
    missing = view.needs[0].units_permille // 1000 - len(view.nodes)
    actions = [launch(cheapest(view), memory.serial + n + 1) for n in range(missing)]
    return planned(actions, replace(memory, serial=memory.serial + max(0, missing)), None)
