"""Could this version ever run here? Whether a node would hold one replica of it if nothing else were there."""

from collections.abc import Sequence

from glowplug_router.policy.placement import best_place, is_model, rooms
from glowplug_router.policy.reasons import needs_text, no_room_text
from glowplug_router.records import Node, Served


def never_fits(served: Served, nodes: Sequence[Node]) -> str:
    """Return why no node could hold a replica even when empty, "" when one could or when no node is known."""
    empty = rooms(nodes, (), {})
    has_gpus = any(node.gpus for node in nodes)
    if not nodes or best_place(served, empty, has_gpus) is not None:
        return ""
    if served.gpu_count and not has_gpus:
        return 'no node here has a GPU; device="auto" runs without one'
    if served.gpu_count and not any(_count(node, served) >= served.gpu_count for node in nodes):
        models = sorted({model for node in nodes for _, model in node.gpus})
        return f"it needs {needs_text(served)}, and no node has that: there is {', '.join(models)}"
    return f"no node is big enough, even when empty: {no_room_text(served, 1, empty.values())}"


def _count(node: Node, served: Served) -> int:
    """Return how many GPUs of one model that will do a node has."""
    models = [model for _, model in node.gpus]
    return max(
        (
            sum(one == model for one in models)
            for model in models
            if any(is_model(model, name) for name in served.gpu_names or ("",))
        ),
        default=0,
    )
