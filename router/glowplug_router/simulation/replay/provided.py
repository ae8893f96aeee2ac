"""How does a replay use the simulated provider? Its machines get their devices, and its time is the replay's."""

from dataclasses import replace

from glowplug_router.records.capacity import Offer, OfferTally
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Node
from glowplug_router.simulation.market import provider
from glowplug_router.simulation.replay.scene import ALWAYS_NS


class Provided:
    """The simulated provider as a `Market` of a replay: `Fleet(market=lambda random: Provided(Market(…)))`."""

    def __init__(self, market: provider.Market) -> None:
        self._market = market
        self._offers = {offer.id: offer for offer in market.offers}

    def offers(self, now_ns: int) -> tuple[Offer, ...]:
        """Return what could be asked for."""
        self._market.advance(now_ns)
        return self._market.offers

    def tallies(self, now_ns: int) -> tuple[OfferTally, ...]:
        """Return what became of what was asked for."""
        self._market.advance(now_ns)
        return tuple(self._market.tallies.values())

    def nodes(self, now_ns: int) -> tuple[Node, ...]:
        """Return the machines, with the devices that their offers name."""
        self._market.advance(now_ns)
        return tuple(
            replace(node, gpus=_devices(node.id, self._offers[node.offer]), seen_ns=ALWAYS_NS)
            for node in self._market.nodes()
        )

    def launch(self, action: Launch, now_ns: int) -> None:
        """Take an order; the same one again has no effect."""
        self._market.advance(now_ns)
        known = self._market.machines.get(action.node)
        if known is None or known.state == "stopped":
            self._market.apply(action)

    def terminate(self, action: Terminate, now_ns: int) -> None:
        """Give a machine back, or stop it."""
        self._market.advance(now_ns)
        self._market.apply(action)

    def next_ns(self, now_ns: int) -> int | None:
        """Return when something happens next."""
        self._market.advance(now_ns)
        return self._market.next_ns()

    def cost_micro_usd(self, now_ns: int) -> int:
        """Return what all machines have cost up to now."""
        self._market.advance(now_ns)
        return int(self._market.spent)


def _devices(node: str, offer: Offer) -> tuple[tuple[str, str], ...]:
    count = sum(count for _, count in offer.devices)
    return tuple((f"{node}/{number}", offer.model) for number in range(count))
