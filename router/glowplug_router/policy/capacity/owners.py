"""For which need is each node?"""

from glowplug_router.policy.capacity.quotes import Quotes
from glowplug_router.policy.capacity.view import CapacityView
from glowplug_router.records.capacity import CapacityMemory


def owners(view: CapacityView, memory: CapacityMemory, quotes: Quotes) -> dict[str, str]:
    """Return the need of each node: that it was launched for, else that of who runs there, else the first it can hold.

    The rest have none, nor have those that are offered no more.
    """
    known = {node: row.key for row in memory.needs for node in row.nodes}
    needs = sorted(view.needs, key=lambda need: need.key)
    keys = {need.key for need in needs}
    found: dict[str, str] = {}
    for node in view.nodes:
        if node.offer not in quotes.offers:
            continue  # nobody knows what it can hold
        key = known.get(node.id, "")
        if key not in keys:
            key = view.tenants.get(node.id, "")
        if key not in keys:
            key = next((need.key for need in needs if quotes.units(node, need)), "")
        if key:
            found[node.id] = key
    return found
