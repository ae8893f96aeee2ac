"""What does one need have, and what should it have? Counts are in thousandths of a replica."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from glowplug_router.policy.capacity.draft import CapacityDraft
from glowplug_router.policy.capacity.notices import is_coming, is_firm
from glowplug_router.policy.capacity.offers import Loss
from glowplug_router.policy.capacity.portfolio import Priced
from glowplug_router.records.capacity import Need, Offer
from glowplug_router.records.observed import Node

UNCAPPED = 1 << 60


@dataclass(slots=True)
class Settlement:
    """One need in the making: what was found, then what was decided."""

    draft: CapacityDraft
    need: Need
    nodes: Sequence[Node]
    units: dict[str, int]  # node -> what it can hold
    loss: Loss
    spot: list[Priced]
    on_demand: list[Priced]
    critical: int = 0  # what must be left when a zone is lost
    total: int = 0  # what must be ready, with what the loss of a zone may take
    spot_total: int = 0  # the same, with the spare
    filled: int = 0  # for how much of it on-demand may stand in
    soon: int = 0  # launched in this step, and ready as soon as a stand-in would be
    cap: int = UNCAPPED  # what one zone may hold
    launched: list[str] = field(default_factory=list)

    def offer(self, node: Node) -> Offer:
        """Return the offer of a node."""
        return self.draft.quotes.offers[node.offer]

    def sum(self, nodes: Iterable[Node]) -> int:
        """Return the capacity of nodes."""
        return sum(self.units[node.id] for node in nodes)

    def staying(self) -> list[Node]:
        """Return the nodes that are ready or will be, and have no notice."""
        return [node for node in self.nodes if is_firm(node) or is_coming(node)]

    def on_spot(self, nodes: Iterable[Node]) -> list[Node]:
        """Return those of the spot market."""
        return [node for node in nodes if self.offer(node).market == "spot"]

    def by_zone(self, nodes: Iterable[Node]) -> Counter[str]:
        """Return the capacity in each zone."""
        zones: Counter[str] = Counter()
        for node in nodes:
            zones[self.offer(node).zone] += self.units[node.id]
        return zones

    def after_the_worst_zone(self, nodes: Iterable[Node]) -> int:
        """Return what is left when the zone with most of these nodes is lost."""
        zones = self.by_zone(nodes)
        return zones.total() - max(zones.values(), default=0)

    def risk(self, node: Node) -> int:
        """Return what an hour of one unit of a node costs, with its risk."""
        return next(
            p.risk_micro_usd for p in self.spot + self.on_demand if p.offer.id == node.offer
        )
