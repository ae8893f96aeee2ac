"""The fleet of `planner_scale`, on machines that its plans launched: from three dozen offers."""

from dataclasses import replace

from glowplug.clock import SECOND
from glowplug_router.records.capacity import Market, Offer
from glowplug_router.records.decided import Plan
from glowplug_router.records.observed import Node
from glowplug_router.simulation.checkers import planned_state
from policy.planner_scale import MODELS, Fleet

SIZES = (8, 16)  # GPUs of a machine
ZONES = 3
MARKETS: tuple[Market, ...] = ("spot", "on_demand")
GPU_MICRO_USD = 1_000_000  # an hour of the cheapest; a third of it on the spot market
FIRST_SECONDS = 6  # until all that is wanted is there


def _offers() -> tuple[Offer, ...]:
    return tuple(
        Offer(
            id=f"{model}/{size}/z{zone}/{market}",
            type=f"{model}/{size}",
            zone=f"z{zone}",
            market=market,
            price_micro_usd=size * GPU_MICRO_USD * number // (3 if market == "spot" else 1),
            devices=(("nvidia", size),),
            model=model,
            device_memory_bytes=48 << 30,
            cpu_milli=96_000,
            memory_bytes=768 << 30,
            launch_p50_ns=60 * SECOND,
            launch_p90_ns=90 * SECOND,
        )
        for number, model in enumerate(MODELS, 1)
        for size in SIZES
        for zone in range(ZONES)
        for market in MARKETS
    )


class LentFleet(Fleet):
    """A world whose plans come true at once, machines and all."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__(size, seed)
        self.observed = replace(self.observed, nodes=(), offers=_offers())
        self._offers = {offer.id: offer for offer in self.observed.offers}

    def settle(self) -> None:
        """Let all that is wanted be there."""
        for _ in range(FIRST_SECONDS):
            self.planned()
            self.now_ns += SECOND
            self._all_ready()

    def _carry_out(self, made: Plan) -> None:
        self.memory = made.memory
        self.observed = planned_state(self.observed, made, self.now_ns)

    def _all_ready(self) -> None:
        there = (node for node in self.observed.nodes if node.state != "stopped")
        self.observed = replace(self.observed, nodes=tuple(map(self._come, there)))
        super()._all_ready()

    def _come(self, node: Node) -> Node:
        if node.state != "launching":
            return node
        offer = self._offers[node.offer]
        count = sum(count for _, count in offer.devices)
        return replace(
            node,
            state="ready",
            since_ns=self.now_ns,
            seen_ns=self.now_ns,
            gpus=tuple((f"{node.id}-{number}", offer.model) for number in range(count)),
            cpu_milli=offer.cpu_milli,
            memory_bytes=offer.memory_bytes,
        )
