"""What is known of the offers now, and what does each cost one need?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from glowplug_router.policy.capacity.budget import Allowance, is_allowed
from glowplug_router.policy.capacity.envelope import is_stoppable
from glowplug_router.policy.capacity.hazard import hazard_micro, noted, noticed_permille
from glowplug_router.policy.capacity.offers import (
    Loss,
    expected_short_ns,
    launch_ns,
    miss_micro_usd,
    risk_price,
    unit_price,
    units_of,
)
from glowplug_router.policy.capacity.portfolio import Priced
from glowplug_router.policy.capacity.refusals import refusals_noted
from glowplug_router.policy.capacity.view import CapacityView
from glowplug_router.records.capacity import CapacityMemory, Market, Need, Offer, OfferMemory
from glowplug_router.records.observed import Node

UNBOUNDED = 1 << 30  # nodes of an offer with no known quota


@dataclass(slots=True)
class Quotes:
    """The offers of one step. `held` changes while several needs launch and release."""

    view: CapacityView
    allowed: Allowance
    now_ns: int
    memories: dict[str, OfferMemory]
    offers: dict[str, Offer] = field(init=False)
    held: Counter[str] = field(init=False)
    noticed_permille: int = field(init=False)

    def __post_init__(self) -> None:
        self.offers = {offer.id: offer for offer in self.view.offers}
        # Those that say nothing are paid for until they are given back, and count against the quota.
        there = (*self.view.nodes, *self.view.silent)
        self.held = Counter(node.offer for node in there if node.state != "stopped")
        spot = {offer.id for offer in self.view.offers if offer.market == "spot"}
        self.noticed_permille = noticed_permille(self.view.tallies, spot)

    def hazard(self, offer: Offer) -> int:
        """Return the expected losses of a node in an hour, in millionths."""
        return hazard_micro(self.memories.get(offer.id), offer.market)

    def retry_at_ns(self, offer: Offer) -> int:
        """Return when an offer that refused may be asked again; 0 = at once."""
        memory = self.memories.get(offer.id)
        return memory.retry_at_ns if memory else 0

    def room(self, offer: Offer) -> int:
        """Return how many nodes of an offer may be launched now."""
        is_open = is_allowed(offer, self.view.limits, self.allowed)
        if not is_open or self.retry_at_ns(offer) > self.now_ns:
            return 0
        return max(0, (offer.quota or UNBOUNDED) - self.held[offer.id])

    def units(self, node: Node, need: Need) -> int:
        """Return what a node can hold of a need; nothing when its offer is unknown."""
        offer = self.offers.get(node.offer)
        return units_of(offer, need) if offer else 0

    def loss(self, need: Need, nodes: Sequence[Node]) -> Loss:
        """Return what the loss of a unit costs this need: how long it is missed, and what stands in."""
        fitting = [(offer, units_of(offer, need)) for offer in self.view.offers]
        fitting = [(offer, units) for offer, units in fitting if units]
        standing_in = [pair for pair in fitting if pair[0].market == "on_demand"] or fitting
        prices = [unit_price(offer.price_micro_usd, units) for offer, units in standing_in]
        unit_micro_usd = min(prices, default=0)
        usable = [offer for offer, _ in standing_in if self.room(offer)]
        waits = [launch_ns(offer) for offer in usable or [offer for offer, _ in standing_in]]
        # What can be stopped and is not yet will be by the time it is wanted again. One that still starts is not had
        # yet: its own launch would change what it was launched for.
        held = (self.offers.get(node.offer) for node in nodes if node.state != "launching")
        waits += [offer.restart_p90_ns for offer in held if offer and is_stoppable(offer)]
        return Loss(
            short_ns=expected_short_ns(min(waits, default=0), self.noticed_permille),
            miss_micro_usd=miss_micro_usd(need, unit_micro_usd),
            restart_micro_usd=unit_micro_usd,
            lost_work_ns=need.lost_work_ns,
            replace_ns=min(waits, default=0),
        )

    def priced(self, need: Need, market: Market, loss: Loss) -> list[Priced]:
        """Return the offers of a market that fit, with what they cost this need."""
        found = []
        for offer in self.view.offers:
            units = units_of(offer, need) if offer.market == market else 0
            if units:
                hazard = self.hazard(offer)
                risk = risk_price(offer, units, hazard, loss)
                found.append(
                    Priced(
                        offer=offer,
                        units=units,
                        risk_micro_usd=risk,
                        room=self.room(offer),
                        hazard=hazard,
                    )
                )
        return found


def offers_noted(memory: CapacityMemory, view: CapacityView, now_ns: int) -> dict[str, OfferMemory]:
    """Return what is remembered of each offer that is there or has nodes, with the news of its tally."""
    known = {row.offer: row for row in memory.offers}
    tallies = {tally.offer: tally for tally in view.tallies}
    names = {offer.id for offer in view.offers} & tallies.keys()
    found = {}
    for name in sorted(names):
        before = known.get(name, OfferMemory(offer=name))
        waiting = refusals_noted(before, tallies[name], memory.seed, now_ns)
        found[name] = noted(waiting, tallies[name], now_ns)
    return found
