"""What does the planner of nodes see, and what does it answer?"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from glowplug_router.records.capacity import CapacityMemory, Limits, Need, Offer, OfferTally
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Node
from glowplug_router.records.stored import Explain


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityView:
    """The world at one moment. `nodes` are the launched ones, with what is intended: a `Launch` as "launching"."""

    epoch: int
    needs: tuple[Need, ...]
    offers: tuple[Offer, ...]
    nodes: tuple[Node, ...]
    silent: tuple[
        Node, ...
    ] = ()  # launched ones whose agent no longer reports: nobody counts on them
    tallies: tuple[OfferTally, ...] = ()
    tenants: Mapping[str, str] = field(default_factory=dict)  # node -> the need of who runs there
    occupied: frozenset[str] = frozenset()  # nodes with replicas that have not ended
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPlan:
    """What to launch and give back, and when to ask again at the latest."""

    actions: tuple[Launch | Terminate, ...]
    memory: CapacityMemory
    explain: tuple[Explain, ...]
    due_ns: int | None = None  # when the answer may change with no new event; None = never
    unwanted: tuple[
        str, ...
    ] = ()  # nodes whose replicas must drain, so that they can be given back
    leaving: tuple[tuple[str, int], ...] = ()  # nodes with notice: no call that ends after this
