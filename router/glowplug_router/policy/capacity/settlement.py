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
    staying: list[Node] = field(init=False)  # ready or will be, and without notice
    firm: set[str] = field(init=False)  # of the staying those that are ready
    risks: dict[str, int] = field(init=False)  # offer -> an hour of one unit, with its risk

    def __post_init__(self) -> None:
        self.firm = {node.id for node in self.nodes if is_firm(node)}
        self.staying = [node for node in self.nodes if node.id in self.firm or is_coming(node)]
        self.risks = {priced.offer.id: priced.risk_micro_usd for priced in self.spot}
        self.risks |= {priced.offer.id: priced.risk_micro_usd for priced in self.on_demand}

    def offer(self, node: Node) -> Offer:
        """Return the offer of a node."""
        return self.draft.quotes.offers[node.offer]

    def sum(self, nodes: Iterable[Node]) -> int:
        """Return the capacity of nodes."""
        return sum(self.units[node.id] for node in nodes)

    def on_spot(self, nodes: Iterable[Node]) -> list[Node]:
        """Return those of the spot market."""
        offers = self.draft.quotes.offers
        return [node for node in nodes if offers[node.offer].market == "spot"]

    def by_zone(self, nodes: Iterable[Node]) -> Counter[str]:
        """Return the capacity in each zone."""
        zones: Counter[str] = Counter()
        offers, units = self.draft.quotes.offers, self.units
        for node in nodes:
            zones[offers[node.offer].zone] += units[node.id]
        return zones

    def risk(self, node: Node) -> int:
        """Return what an hour of one unit of a node costs, with its risk."""
        return self.risks[node.offer]


def after_the_worst(zones: Counter[str]) -> int:
    """Return what is left when the zone with most is lost."""
    return zones.total() - max(zones.values(), default=0)
