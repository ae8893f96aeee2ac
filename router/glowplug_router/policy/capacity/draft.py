"""What is written down while nodes are planned: nobody sees it before it is finished."""

from dataclasses import dataclass, field
from hashlib import sha256

from glowplug.clock import SECOND
from glowplug_router.policy.capacity.envelope import is_stoppable
from glowplug_router.policy.capacity.notices import call_limits
from glowplug_router.policy.capacity.quotes import Quotes
from glowplug_router.policy.capacity.view import CapacityPlan, CapacityView
from glowplug_router.records.capacity import CapacityMemory, NeedMemory, Offer
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Node
from glowplug_router.records.stored import Explain

BEGUN_WITHIN_NS = 15 * SECOND  # an order is not given on a view of the world that is older [I]


@dataclass(slots=True)
class CapacityDraft:
    """A step in the making."""

    view: CapacityView
    quotes: Quotes
    now_ns: int
    serial: int
    actions: list[Launch | Terminate] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)
    explained: list[Explain] = field(default_factory=list)
    needs: list[NeedMemory] = field(default_factory=list)
    dues_ns: list[int] = field(default_factory=list)

    def launch(self, offer: Offer, reason: str, node: str = "") -> str:
        """Launch a node of an offer, or start a stopped one; return its name."""
        if not node:
            self.serial += 1
            node = f"{offer.id}#{self.view.epoch}.{self.serial}"
        self.quotes.held[offer.id] += 1
        self.actions.append(
            Launch(
                id=self._id("launch", f"{node}|{self.serial}"),
                node=node,
                offer=offer.id,
                deadline_ns=self.now_ns + BEGUN_WITHIN_NS,
                precondition="is_absent",
                reason=reason,
            )
        )
        return node

    def release(self, node: Node, reason: str) -> None:
        """Give a node back, or stop it; one with replicas is first left by them."""
        if node.id in self.view.occupied:
            self.unwanted.append(node.id)
            return
        offer = self.quotes.offers.get(node.offer)
        stops = node.state == "ready" and offer is not None and is_stoppable(offer)
        self.quotes.held[node.offer] -= node.state != "stopped"
        self.actions.append(
            Terminate(
                id=self._id("stop" if stops else "terminate", f"{node.id}|{node.since_ns}"),
                node=node.id,
                deadline_ns=self.now_ns + BEGUN_WITHIN_NS,
                precondition="is_empty",
                reason=reason,
                stop=stops,
            )
        )

    def explain(self, subject: str, rule: str, text: str, ready: int, wanted: int) -> None:
        """Say why a need has the nodes it has."""
        self.explained.append(
            Explain(
                subject=subject,
                rule=rule,
                text=text,
                replicas_ready=ready,
                replicas_wanted=wanted,
            )
        )

    def finished(self, seed: int, is_strained: bool) -> CapacityPlan:
        """Return the plan."""
        memories = self.quotes.memories
        return CapacityPlan(
            actions=tuple(self.actions),
            memory=CapacityMemory(
                offers=tuple(memories.values()),
                needs=tuple(self.needs),
                unwanted=tuple(self.unwanted),
                is_strained=is_strained,
                serial=self.serial,
                seed=seed,
            ),
            explain=tuple(self.explained),
            due_ns=min((due for due in self.dues_ns if due > self.now_ns), default=None),
            unwanted=tuple(self.unwanted),
            leaving=call_limits(self.view.nodes),
        )

    def _id(self, kind: str, subject: str) -> str:
        return sha256(f"{kind}|{subject}|{self.view.epoch}".encode()).hexdigest()
