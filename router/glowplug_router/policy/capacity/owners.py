"""For which need is each node?"""

from glowplug_router.policy.capacity.quotes import Quotes
from glowplug_router.policy.capacity.view import CapacityView
from glowplug_router.records.capacity import CapacityMemory


def owners(view: CapacityView, memory: CapacityMemory, quotes: Quotes) -> dict[str, str]:
    """Return the need of each node: that it was launched for, else the first that it can hold; none for the rest."""
    known = {node: row.key for row in memory.needs for node in row.nodes}
    needs = sorted(view.needs, key=lambda need: need.key)
    keys = {need.key for need in needs}
    found: dict[str, str] = {}
    for node in view.nodes:
        key = known.get(node.id, "")
        if key not in keys:
            key = next((need.key for need in needs if quotes.units(node, need)), "")
        if key:
            found[node.id] = key
    return found
