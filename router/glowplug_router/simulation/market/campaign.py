"""What does a planner of nodes come to on a market: how available, at which price, against what nobody could beat?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from random import Random
from typing import Protocol

from glowplug.clock import HOUR, MINUTE
from glowplug_router.policy.capacity.view import CapacityPlan, CapacityView
from glowplug_router.records.capacity import CapacityMemory, Limits, Need, Offer
from glowplug_router.simulation.market.provider import Market, Outage
from glowplug_router.simulation.market.series import Series

REPLANS_MAX = 32  # after refusals, at one moment: each offer is refused once, then it waits


class NodePlanner(Protocol):
    """`capacity_step`, or another one that it is compared with."""

    def __call__(self, view: CapacityView, memory: CapacityMemory, now_ns: int, /) -> CapacityPlan:
        """Return what to do about nodes now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A market and what is needed of it."""

    name: str
    offers: tuple[Offer, ...]
    series: Mapping[str, Series]
    need: Need
    until_ns: int
    notice_permille: int = 1000
    outages: tuple[Outage, ...] = ()
    limits: Limits = field(default_factory=Limits)
    warm_up_ns: int = 30 * MINUTE  # not metered: everybody begins with nothing


@dataclass(slots=True)
class Outcome:
    """What a planner came to; the time it was metered is `metered_ns`."""

    metered_ns: int = 0
    full_ns: int = 0  # all that is needed was ready
    critical_ns: int = 0  # less than the critical reservation was ready
    short_replica_ns: int = 0
    micro_usd: float = 0.0
    bound_micro_usd: float = 0.0
    losses: int = 0
    steps: int = 0
    launches: int = 0
    not_idempotent: int = 0
    timeline: list[tuple[int, int]] = field(default_factory=list)  # when how many were ready

    @property
    def availability(self) -> float:
        """Return the share of time in which all that is needed was ready."""
        return self.full_ns / max(1, self.metered_ns)

    @property
    def cost_ratio(self) -> float:
        """Return the cost in multiples of the lower bound."""
        return self.micro_usd / max(1.0, self.bound_micro_usd)


def run(campaign: Campaign, planner: NodePlanner, seed: int, *, check: bool = False) -> Outcome:
    """Let a planner work on a market until the campaign ends; `check` plans each planned state again."""
    market = Market(
        campaign.offers,
        campaign.series,
        Random(seed),
        campaign.notice_permille,
        campaign.outages,
    )
    memory, outcome, now_ns = CapacityMemory(seed=seed), Outcome(), 0
    while now_ns < campaign.until_ns:
        market.advance(now_ns)
        memory, due_ns = _settled(campaign, market, planner, memory, outcome)
        if check and planner(_view(campaign, market), memory, now_ns).actions:
            outcome.not_idempotent += 1
        moments = (campaign.until_ns, campaign.warm_up_ns, market.next_ns(), due_ns)
        until_ns = min(moment for moment in moments if moment is not None and moment > now_ns)
        _meter(campaign, market, outcome, now_ns, until_ns)
        now_ns = until_ns
    outcome.losses = sum(at_ns >= campaign.warm_up_ns for at_ns in market.lost_at)
    return outcome


def _view(campaign: Campaign, market: Market) -> CapacityView:
    return CapacityView(
        epoch=1,
        needs=(campaign.need,),
        offers=campaign.offers,
        nodes=market.nodes(),
        tallies=tuple(market.tallies.values()),
        limits=campaign.limits,
    )


def _settled(
    campaign: Campaign,
    market: Market,
    planner: NodePlanner,
    memory: CapacityMemory,
    outcome: Outcome,
) -> tuple[CapacityMemory, int | None]:
    """Plan and act until nothing is refused any more; return the memory and when to plan again."""
    due_ns: int | None = None
    for _ in range(REPLANS_MAX):
        plan = planner(_view(campaign, market), memory, market.now_ns)
        outcome.steps += 1
        memory, due_ns = plan.memory, plan.due_ns
        outcome.launches += len(plan.actions)
        refused = [action for action in plan.actions if not market.apply(action)]
        if not refused:
            break
    return memory, due_ns


def _meter(
    campaign: Campaign, market: Market, outcome: Outcome, from_ns: int, until_ns: int
) -> None:
    ready = market.ready() * 1000
    if not outcome.timeline or outcome.timeline[-1][1] != ready:
        outcome.timeline.append((from_ns, ready))
    spent = market.spent
    market.hold(until_ns)
    passed = until_ns - max(from_ns, campaign.warm_up_ns)
    if passed <= 0:
        return
    need = campaign.need
    outcome.metered_ns += passed
    outcome.full_ns += passed * (ready >= need.units_permille)
    outcome.critical_ns += passed * (ready < need.critical_permille)
    outcome.short_replica_ns += passed * max(0, need.units_permille - ready) // 1000
    outcome.micro_usd += market.spent - spent
    outcome.bound_micro_usd += _bound_rate(campaign, from_ns) * passed / HOUR


def _bound_rate(campaign: Campaign, now_ns: int) -> int:
    """Return what the cheapest nodes to be had at this moment cost an hour: no start takes time, nothing is lost."""
    left, rate = campaign.need.units_permille // 1000, 0
    for offer in sorted(campaign.offers, key=attrgetter("price_micro_usd")):
        if not left:
            break
        count = left if offer.market == "on_demand" else campaign.series[offer.id].at(now_ns)
        rate += offer.price_micro_usd * min(left, count)
        left -= min(left, count)
    return rate


def on_demand_cost(campaign: Campaign, metered_ns: int) -> float:
    """Return what on-demand alone would cost, with nothing lost and no start."""
    prices: Sequence[int] = [o.price_micro_usd for o in campaign.offers if o.market == "on_demand"]
    return min(prices) * (campaign.need.units_permille // 1000) * metered_ns / HOUR
