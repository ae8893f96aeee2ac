"""What can be counted on, and for how long?

A node with notice serves until it goes, yet is replaced from the moment of the notice. The replacement is a race: what
is stopped or asleep elsewhere, on-demand and spot of another pool all start at once; the first that is ready wins, and
who still starts then is cancelled (`filler`). No call begins there that would end after the node does.
"""

from collections.abc import Iterable

from glowplug_router.records.observed import Node


def is_leaving(node: Node) -> bool:
    """Say whether a node has been given notice, or is being given back."""
    return node.state == "leaving" or node.leaves_ns > 0


def is_firm(node: Node) -> bool:
    """Say whether a node is ready and stays."""
    return node.state == "ready" and not is_leaving(node)


def is_coming(node: Node) -> bool:
    """Say whether a node is being launched."""
    return node.state == "launching" and not is_leaving(node)


def expected_ns(node: Node, launch_ns: int, now_ns: int) -> int:
    """Return when a node that is launched should be ready; one that is late is expected ever later."""
    due_ns = node.expected_ns or node.since_ns + launch_ns
    # Late by x, it is expected after another x: what takes long goes on taking long.
    return due_ns if due_ns > now_ns else now_ns + (now_ns - due_ns)


def call_limits(nodes: Iterable[Node]) -> tuple[tuple[str, int], ...]:
    """Return the nodes past whose end no call may last, with that end."""
    return tuple((node.id, node.leaves_ns) for node in nodes if node.leaves_ns > 0)
