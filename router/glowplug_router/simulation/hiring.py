"""Are machines hired as people allow, left when they are gone, and given back when nobody needs them?"""

from collections import Counter
from collections.abc import Iterator, Mapping

from glowplug.clock import SECOND
from glowplug_router.policy.rollout import max_replicas
from glowplug_router.records.capacity import Limits, Offer
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.simulation.facts import Planned
from glowplug_router.simulation.hired import Hired
from glowplug_router.simulation.node import SimNode

GONE_MAX_NS = (
    3 * SECOND
)  # the provider is asked once a second, and what it tells by itself may be two late
IDLE_MAX_NS = (
    30 * SECOND
)  # drains, silence (15 s) and what is launched for others that failed are over by then
# Of what versions may have: what comes on the spot market, and what stands in on demand until it is there.
STAND_IN = 2
Breach = tuple[str, str]  # invariant, what happened


class Hiring:
    """What is to be said of the machines of one run."""

    def __init__(self, hired: Hired) -> None:
        self._hired = hired
        self._idle_ns: dict[str, int] = {}

    def planned(self, fact: Planned, now_ns: int) -> Iterator[Breach]:
        """Check what is launched, and that nothing is counted where there is no machine any more."""
        yield from self._launched(fact)
        for node in fact.observed.nodes:
            gone_ns = self._hired.gone_ns.get(node.id, now_ns)
            if node.state in ("ready", "leaving") and now_ns - gone_ns > GONE_MAX_NS:
                yield "machine_gone", f"{node.id} counts and is gone since {gone_ns / 1e9:.2f} s"

    def _launched(self, fact: Planned) -> Iterator[Breach]:
        launches = [action for action in fact.plan.actions if isinstance(action, Launch)]
        if not launches:
            return
        offers = {offer.id: offer for offer in fact.observed.offers}
        ended = {action.node for action in fact.plan.actions if isinstance(action, Terminate)}
        held = Counter(
            node.offer
            for node in fact.observed.nodes
            if node.offer and node.state != "stopped" and node.id not in ended
        )
        held.update(launch.offer for launch in launches)
        for launch in launches:
            why = forbidden(offers[launch.offer], fact.observed.limits, held)
            if why:
                yield "machines", f"{launch.node} of {launch.offer}: {why}"
        most = STAND_IN * sum(max_replicas(served) for served in fact.observed.served)
        most += sum(row.spare for row in fact.plan.memory.capacity.needs)
        if held.total() > most:
            yield "machines", f"{held.total()} machines, for what needs {most} at most"

    def census(self, nodes: Mapping[str, SimNode], now_ns: int) -> Iterator[Breach]:
        """Check that what is paid for is used, or has not been idle for long."""
        idle = {
            name
            for name, machine in self._hired.market.machines.items()
            if machine.state == "ready" and _is_idle(nodes.get(name))
        }
        self._idle_ns = {name: self._idle_ns.get(name, now_ns) for name in idle}
        for name, since_ns in self._idle_ns.items():
            if now_ns - since_ns > IDLE_MAX_NS:
                yield "machine_idle", f"{name} is idle since {since_ns / 1e9:.2f} s"


def forbidden(offer: Offer, limits: Limits, held: Mapping[str, int]) -> str:
    """Return why a machine of an offer may not be launched, with those that are `held` then; "" = it may."""
    cap = limits.price_cap_micro_usd
    if offer.market not in limits.markets:
        return f"not on {offer.market}"
    if cap and offer.price_micro_usd > cap:
        return f"{offer.price_micro_usd} micro-dollars an hour, the cap is {cap}"
    if offer.quota and held[offer.id] > offer.quota:
        return f"{held[offer.id]} of them, the quota is {offer.quota}"
    is_spent = 0 < limits.budget_micro_usd <= limits.spent_micro_usd
    return "the budget is spent" if is_spent and limits.degrade == "cap" else ""


def _is_idle(node: SimNode | None) -> bool:
    """Say whether nothing runs on a machine, as far as anybody can know: of a silent one, nobody does."""
    if node is None:
        return True
    return node.is_connected and not any(rank.is_alive for rank in node.ranks.values())
