"""What does one need get, and what does it let go?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from glowplug.clock import MINUTE, SECOND
from glowplug_router.policy.capacity.budget import on_demand_allowed, units_allowed
from glowplug_router.policy.capacity.draft import CapacityDraft
from glowplug_router.policy.capacity.filler import pays_to_fill, pays_to_switch
from glowplug_router.policy.capacity.notices import expected_ns
from glowplug_router.policy.capacity.offers import launch_ns, unit_price, units_of
from glowplug_router.policy.capacity.overprovision import spare_nodes
from glowplug_router.policy.capacity.portfolio import (
    Priced,
    chosen,
    total_needed,
    usable_zones,
    zone_cap,
)
from glowplug_router.policy.capacity.settlement import (
    UNCAPPED,
    Settlement,
    after_the_worst,
)
from glowplug_router.policy.capacity.surplus import release_surplus
from glowplug_router.records.capacity import Need, NeedMemory, Offer
from glowplug_router.records.observed import Node

MARKET_NS = 60 * SECOND  # router.md §5.1: prices and hazards are looked at once a minute ...
CALM_NS = 5 * MINUTE  # ... and more seldom where all that is wanted is there [I]


def settle(draft: CapacityDraft, need: Need, nodes: Sequence[Node], now_spare: int) -> None:
    """Launch what the need misses, release what it has too much of, and say why."""
    quotes = draft.quotes
    one_of_each = {node.offer: node for node in nodes}
    known = {offer: quotes.units(node, need) for offer, node in one_of_each.items()}
    nodes = [node for node in nodes if known[node.offer]]
    units = {node.id: known[node.offer] for node in nodes}
    loss = quotes.loss(need, nodes)
    spot, on_demand = (quotes.priced(need, market, loss) for market in ("spot", "on_demand"))
    it = Settlement(draft, need, nodes, units, loss, spot, on_demand)
    _aim(it)
    spare, missing = _launch_spot(it, now_spare)
    short = _fill(it)
    release_surplus(it)
    _note(it, spare, missing, short)


def _aim(it: Settlement) -> None:
    """Decide how much must be ready, and how much of it one zone may hold."""
    wanted = units_allowed(it.need, it.draft.quotes.allowed)
    it.critical = min(it.need.critical_permille, wanted)
    held = it.by_zone(it.staying)
    it.total = total_needed(wanted, it.critical, usable_zones(it.spot + it.on_demand, held))
    it.filled = on_demand_allowed(it.total, it.critical, it.draft.quotes.allowed)
    if it.critical:
        largest = max((priced.units for priced in it.spot + it.on_demand), default=0)
        it.cap = zone_cap(it.total, it.critical, largest)


def _launch_spot(it: Settlement, now_spare: int) -> tuple[int, int]:
    """Launch what spot should carry and does not; return the nodes to spare, and what cannot be had."""
    bar = min(it.on_demand, key=lambda priced: priced.risk_micro_usd, default=None)
    offers = [priced for priced in it.spot if bar is None or _is_better(priced, bar)]
    spot = it.on_spot(it.staying)
    zones = it.by_zone(spot)
    it.spot_total = it.total
    wanted = max(it.total - it.sum(spot), _unreserved(it, it.staying))
    found, missing = chosen(offers, wanted, zones, it.cap)
    spare, bought = 0, -1
    # What is bought to spare changes what can be lost: asked again until it is the answer to itself.
    while spare > bought:
        bought = spare
        it.spot_total = it.total + spare * max((p.units for p in it.spot), default=0)
        have = it.sum(spot) + sum(units_of(offer, it.need) for offer in found)
        found += chosen(_left(offers, found), it.spot_total - have, zones, it.cap)[0]
        spare = _spare(it, spot, found, max(spare, now_spare))
    for offer in found:
        it.launched.append(it.draft.launch(offer, "spot"))
        it.soon += units_of(offer, it.need) if _is_timely(it, offer, launch_ns(offer)) else 0
    return bought, missing


def _spare(it: Settlement, spot: Sequence[Node], launched: Sequence[Offer], now_spare: int) -> int:
    cheapest = min(it.spot, key=lambda priced: priced.risk_micro_usd, default=None)
    if cheapest is None or not it.total:
        return 0
    hazards = {priced.offer.pool: priced.hazard for priced in it.spot}
    pools = Counter(it.offer(node).pool for node in spot)
    pools.update(offer.pool for offer in launched)
    return spare_nodes(
        [(nodes, hazards[pool]) for pool, nodes in pools.items()],
        short_ns=it.loss.short_ns,
        miss_micro_usd=it.loss.miss_micro_usd * cheapest.units // 1000,
        price_micro_usd=cheapest.offer.price_micro_usd,
        now_spare=now_spare,
    )


def _is_better(spot: Priced, on_demand: Priced) -> bool:
    return spot.risk_micro_usd < on_demand.risk_micro_usd and pays_to_switch(
        spot.offer,
        hazard=spot.hazard,
        spot_unit_micro_usd=unit_price(spot.offer.price_micro_usd, spot.units),
        filler_unit_micro_usd=unit_price(on_demand.offer.price_micro_usd, on_demand.units),
    )


def _unreserved(it: Settlement, nodes: Sequence[Node]) -> int:
    """Return how much is missing of what must be left when a zone is lost."""
    return it.critical - after_the_worst(it.by_zone(nodes))


def _fill(it: Settlement) -> int:
    """Have on-demand nodes stand in for what is not ready in time; return what cannot be had."""
    timely = [node for node in it.staying if node.id in it.firm or _comes_in_time(it, node)]
    short = it.filled - it.sum(timely) - it.soon
    taken: list[Offer] = []
    for node in it.nodes:
        if node.state == "stopped" and short > 0 and it.draft.quotes.room(it.offer(node)):
            taken.append(it.offer(node))
            it.launched.append(it.draft.launch(it.offer(node), "filler", node.id))
            short -= it.units[node.id]
    reserve = _unreserved(it, timely) if it.critical else 0
    held = it.by_zone(it.staying)
    found, _ = chosen(_left(it.on_demand, taken), max(short, reserve), held, it.cap)
    short -= sum(units_of(offer, it.need) for offer in found)
    # Better in a zone that is too full than nowhere.
    rest, missing = chosen(_left(it.on_demand, taken + found), short, held, UNCAPPED)
    for offer in found + rest:
        it.launched.append(it.draft.launch(offer, "filler"))
    return missing


def _left(offers: Sequence[Priced], taken: Sequence[Offer]) -> list[Priced]:
    taken_of = Counter(offer.id for offer in taken)
    return [replace(p, room=p.room - taken_of[p.offer.id]) for p in offers]


def _comes_in_time(it: Settlement, node: Node) -> bool:
    offer, now_ns = it.offer(node), it.draft.now_ns
    ready_ns = expected_ns(node, launch_ns(offer), now_ns)
    return _is_timely(it, offer, ready_ns - now_ns)


def _is_timely(it: Settlement, offer: Offer, wait_ns: int) -> bool:
    """Say whether a node that is ready after so long needs no stand-in until then; nothing stands in for a stand-in."""
    return offer.market == "on_demand" or not pays_to_fill(
        max(0, wait_ns - it.loss.replace_ns),
        miss_micro_usd=it.loss.miss_micro_usd,
        price_micro_usd=it.loss.restart_micro_usd,
        min_billed_ns=max((p.offer.min_billed_ns for p in it.on_demand), default=0),
    )


def _note(it: Settlement, spare: int, missing: int, short: int) -> None:
    """Remember whose nodes they are, say why, and when to look again."""
    draft, need = it.draft, it.need
    nodes = (*(node.id for node in it.nodes), *it.launched)
    names = tuple(sorted(set(nodes)))
    draft.needs.append(NeedMemory(key=need.key, nodes=names, spare=spare))
    if missing > 0 or short > 0:
        retries = [draft.quotes.retry_at_ns(p.offer) for p in it.spot + it.on_demand]
        draft.dues_ns.extend(retries)
    if it.nodes or it.launched:
        is_calm = not missing and not short and len(it.firm) == len(it.nodes)
        draft.dues_ns.append(draft.now_ns + (CALM_NS if is_calm else MARKET_NS))
    spot = it.sum(it.on_spot(it.staying))
    text = (
        f"{spot / 1000:g} on spot, {(it.sum(it.staying) - spot) / 1000:g} on demand, "
        f"{len(it.launched)} nodes launched; {spare} to spare"
    )
    if missing:
        text += f"; no spot capacity for {missing / 1000:g}, asked again later"
    rule = "no_capacity" if short > 0 else "fallback" if missing > 0 else "spot"
    ready = sum(it.units[node] for node in it.firm) // 1000
    draft.explain(f"capacity/{need.key}", rule, text, ready, it.total // 1000)
