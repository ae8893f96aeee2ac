"""Which replicas are gone, or belong to nobody?"""

from glowplug.clock import SECOND
from glowplug_router.drafting.draft import Draft

ORPHAN_DRAIN_NS = 30 * SECOND  # for replicas of versions nobody knows any more


def forget_the_lost(draft: Draft) -> None:
    """Drop what failed, and what was on a node that is silent. Without any node we are blind, and touch nothing."""
    there = draft.rooms.left
    for replica in () if draft.is_blind else draft.observed.replicas:
        if replica.node not in there or (replica.parts and draft.is_lost(replica)):
            draft.forget(replica, "node_lost")
        elif replica.state == "failed":
            draft.forget(replica, replica.code or "start_failed")


def drain_the_unserved(draft: Draft) -> None:
    """Let go of replicas whose version is known to nobody, so that no process stays without an owner."""
    for key, replicas in draft.replicas.items():
        if key not in draft.served and not draft.is_blind:
            for replica in draft.sighted(replicas):
                if replica.state in ("starting", "ready"):
                    draft.drain(replica, ORPHAN_DRAIN_NS, "unserved")
