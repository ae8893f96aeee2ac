"""Which machines are given up, because they never came or say nothing any more?"""

from collections.abc import Iterable

from glowplug.clock import MINUTE
from glowplug_router.policy.capacity.draft import CapacityDraft
from glowplug_router.policy.capacity.offers import launch_ns
from glowplug_router.records.capacity import Offer
from glowplug_router.records.observed import Node

LATE_FACTOR = 4  # what takes four times as long as the slowest tenth does not come any more [I]
SILENT_MAX_NS = (
    5 * MINUTE
)  # Kubernetes moves pods off an unreachable node after so long (tolerationSeconds 300)


def longest_launch_ns(offers: Iterable[Offer]) -> int:
    """Return after how long the slowest of these launches would be given up."""
    return LATE_FACTOR * max(map(launch_ns, offers), default=0)


def without_the_late(draft: CapacityDraft) -> tuple[Node, ...]:
    """Give up what has been launched for too long; return the others."""
    kept = []
    for node in draft.view.nodes:
        offer = draft.quotes.offers.get(node.offer)
        if offer is None or node.state != "launching":
            kept.append(node)
            continue
        late_ns = node.since_ns + LATE_FACTOR * launch_ns(offer)
        if draft.now_ns >= late_ns > node.since_ns:
            draft.release(node, "it never came")
        else:
            draft.dues_ns.append(late_ns)
            kept.append(node)
    return tuple(kept)


def give_up_the_silent(draft: CapacityDraft) -> None:
    """Give back machines whose agent says nothing: they are replaced at once, and paid for until they go."""
    for node in draft.view.silent:
        gone_ns = node.seen_ns + SILENT_MAX_NS
        if draft.now_ns >= gone_ns:
            draft.release(node, "it says nothing any more")
        else:
            draft.dues_ns.append(gone_ns)
