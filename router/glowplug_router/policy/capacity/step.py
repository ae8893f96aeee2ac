"""Which nodes are launched, stopped and given back now?

`capacity_step(view, memory, now_ns) -> CapacityPlan` is total and deterministic, and does nothing on the state that it
planned. For each need it goes the same way (`settling`): what is there, what spot should carry (`portfolio`,
`overprovision`), what on-demand fills until spot is ready (`filler`), and what is too much and goes (`surplus`).
"""

from dataclasses import replace

from glowplug_router.policy.capacity.budget import allowance
from glowplug_router.policy.capacity.draft import CapacityDraft
from glowplug_router.policy.capacity.envelope import is_spent, keep_stopped_ns
from glowplug_router.policy.capacity.missing import give_up_the_silent, without_the_late
from glowplug_router.policy.capacity.owners import owners
from glowplug_router.policy.capacity.quotes import Quotes, offers_noted
from glowplug_router.policy.capacity.settling import settle
from glowplug_router.policy.capacity.view import CapacityPlan, CapacityView
from glowplug_router.records.capacity import CapacityMemory


def capacity_step(view: CapacityView, memory: CapacityMemory, now_ns: int) -> CapacityPlan:
    """Return what to do about nodes now, what to remember, why, and when to ask again."""
    allowed = allowance(view.limits, memory.is_strained)
    quotes = Quotes(view, allowed, now_ns, offers_noted(memory, view, now_ns))
    draft = CapacityDraft(view, quotes, now_ns, memory.serial)
    if allowed.text:
        draft.explain("budget", "budget", allowed.text, 0, 0)
    view = draft.view = replace(view, nodes=without_the_late(draft))
    owned = owners(view, memory, quotes)
    give_up_the_silent(draft)
    _release_the_unneeded(
        draft, owned
    )  # before anything is launched: their quota may be what is missing
    spares = {row.key: row.spare for row in memory.needs}
    for need in sorted(view.needs, key=lambda need: need.key):
        nodes = [node for node in view.nodes if owned.get(node.id) == need.key]
        settle(draft, need, nodes, spares.get(need.key, 0))
    return draft.finished(memory.seed, allowed.is_strained)


def _release_the_unneeded(draft: CapacityDraft, owned: dict[str, str]) -> None:
    """Let go of nodes that no need has: an endpoint went to zero, or away, or what they are is offered no more."""
    for node in draft.view.nodes:
        offer = draft.quotes.offers.get(node.offer)
        if node.id in owned or node.state == "leaving" or not draft.quotes.offers:
            continue  # who offers nothing at all just now is not asked to take anything back
        if node.state != "stopped" or offer is None:
            draft.release(node, "no need")
        elif is_spent(node, offer, offer.price_micro_usd, draft.now_ns):
            draft.release(node, "stopped for long enough")
        else:
            draft.dues_ns.append(node.since_ns + keep_stopped_ns(offer, offer.price_micro_usd))
