"""Which nodes are too much, and may go now?

Nothing goes whose going leaves fewer ready than are needed, or takes from what must be left when a zone is lost.
"""

from collections.abc import Sequence

from glowplug_router.policy.capacity.envelope import is_spent, keep_stopped_ns
from glowplug_router.policy.capacity.filler import SURE_NS, is_paid_off, is_sure, paid_off_ns
from glowplug_router.policy.capacity.notices import is_coming, is_firm
from glowplug_router.policy.capacity.settlement import Settlement
from glowplug_router.records.observed import Node


def release_surplus(it: Settlement) -> None:
    """Release spot above what it should carry, on-demand that spot has taken over from, and stopped nodes in time."""
    staying = _release_spot(it)
    staying = _cancel_losers(it, staying)
    _release_fillers(it, staying)
    _release_replaced(it, staying)
    _release_stopped(it)


def _release_spot(it: Settlement) -> list[Node]:
    """Let go of spot that is too much: what still starts first, then the riskiest. Return what stays."""
    staying = it.staying()
    excess = it.sum(it.on_spot(staying)) - it.spot_total
    for node in sorted(it.on_spot(staying), key=lambda n: (is_firm(n), -it.risk(n), n.id)):
        rest = [other for other in staying if other is not node]
        # Stand-ins leave again: spot alone must be spread.
        is_spread = _keeps_reserve(it, it.on_spot(staying), it.on_spot(rest))
        if it.units[node.id] <= excess and is_spread and _may_go(it, node, staying, rest):
            it.draft.release(node, "more spot than is needed")
            excess -= it.units[node.id]
            staying = rest
    return staying


def _may_go(it: Settlement, node: Node, before: Sequence[Node], rest: Sequence[Node]) -> bool:
    if is_firm(node) and it.sum(n for n in rest if is_firm(n)) < it.filled:
        return False
    return _keeps_reserve(it, _early(it, before), _early(it, rest))


def _early(it: Settlement, nodes: Sequence[Node]) -> list[Node]:
    """Return what is ready or was launched to be so soon."""
    return [node for node in nodes if is_firm(node) or it.offer(node).market == "on_demand"]


def _keeps_reserve(it: Settlement, before: Sequence[Node], rest: Sequence[Node]) -> bool:
    """Say whether enough is left when a zone is lost, or at least as much as before."""
    reserve = min(it.critical, it.after_the_worst_zone(before))
    return it.after_the_worst_zone(rest) >= reserve


def _cancel_losers(it: Settlement, staying: list[Node]) -> list[Node]:
    """End the race where enough is ready: on-demand that still starts has lost. Return what stays."""
    for node in [n for n in staying if is_coming(n) and it.offer(n).market == "on_demand"]:
        rest = [other for other in staying if other is not node]
        is_enough = it.sum(n for n in staying if is_firm(n)) >= it.filled
        if is_enough and _may_go(it, node, staying, rest):
            it.draft.release(node, "another one was ready first")
            staying = rest
    return staying


def _release_fillers(it: Settlement, staying: list[Node]) -> None:
    """Let go of on-demand whose place spot has taken for long enough."""
    now_ns = it.draft.now_ns
    spot = [node for node in it.on_spot(staying) if is_firm(node)]
    ready = it.sum(spot)
    sure = it.sum(node for node in spot if is_sure(node, now_ns))
    fillers = [n for n in staying if is_firm(n) and it.offer(n).market == "on_demand"]
    left = it.sum(fillers)
    for node in sorted(fillers, key=lambda n: (-it.risk(n), -n.since_ns, n.id)):
        rest = [other for other in staying if other is not node]
        trusted = ready if is_paid_off(node, it.offer(node), now_ns) else sure
        is_needed = trusted + left - it.units[node.id] < it.filled
        if is_needed or not _may_go(it, node, staying, rest):
            it.draft.dues_ns.append(paid_off_ns(node, it.offer(node)))
            continue
        it.draft.release(node, "spot has taken over")
        left -= it.units[node.id]
        staying = rest
    if left:
        it.draft.dues_ns.extend(node.since_ns + SURE_NS for node in spot)


def _release_replaced(it: Settlement, staying: list[Node]) -> None:
    """Let go of nodes with notice as soon as others are ready in their place."""
    if it.sum(n for n in staying if is_firm(n)) >= it.filled:
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
