"""Which machines were launched, and how do they join what their agents report?

A machine that the provider calls ready is of no use before its agent reports: until then it counts as launching. After
a restart that is so for a while with every machine; then it counts as launching since this controller first saw it, so
that none is given up for having been there long.

A machine that the provider has no more is gone, whatever its agent said last: else it would be room for replicas until
its silence is long enough.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from glowplug_router.control.fleet import Fleet
from glowplug_router.records.decided import Launch, OnMachine
from glowplug_router.records.observed import Machines, Node

GONE_MAX = 4096  # names of machines that are gone: more than end while a last report counts (fifteen seconds)


@dataclass(slots=True)
class MachineBook:
    """What the provider said last, and since when this controller knows of each machine."""

    said: Machines = field(default_factory=Machines)
    _first_ns: dict[str, int] = field(default_factory=dict)
    _gone: dict[str, None] = field(default_factory=dict)  # the last ones, in order

    def take(self, said: Machines, now_ns: int) -> bool:
        """Take what the provider says; False when it is nothing new."""
        is_news = said != self.said
        there = {node.id for node in said.nodes}
        self._gone.update(dict.fromkeys(node.id for node in self.said.nodes))
        self._gone = {name: None for name in self._gone if name not in there}
        for name in tuple(self._gone)[:-GONE_MAX]:
            del self._gone[name]
        self.said = said
        self._first_ns = {node.id: self._first_ns.get(node.id, now_ns) for node in said.nodes}
        return is_news

    @property
    def gone(self) -> Collection[str]:
        """Return the names of machines that the provider had and has no more, the last ones."""
        return self._gone.keys()

    def find(self, name: str) -> Node | None:
        """Return a machine as the provider has it."""
        return next((node for node in self.said.nodes if node.id == name), None)

    def nodes(self, reported: tuple[Node, ...], now_ns: int) -> tuple[Node, ...]:
        """Return all machines: those with an agent, joined with what the provider says of them, and the others."""
        launched = {node.id: node for node in self.said.nodes}
        there = (node for node in reported if node.id not in self._gone)
        joined = [_joined(node, launched.pop(node.id, None)) for node in there]
        return (*joined, *(self._without_agent(node, now_ns) for node in launched.values()))

    def _without_agent(self, node: Node, now_ns: int) -> Node:
        if node.state != "ready":
            return replace(node, seen_ns=now_ns)
        since_ns = max(node.since_ns, self._first_ns[node.id])
        return replace(node, state="launching", since_ns=since_ns, seen_ns=now_ns)


def _joined(reported: Node, launched: Node | None) -> Node:
    if launched is None:
        return reported
    return replace(
        reported,
        offer=launched.offer,
        zone=launched.zone,
        state=launched.state,
        since_ns=launched.since_ns,
        expected_ns=launched.expected_ns,
        leaves_ns=launched.leaves_ns,
    )


def is_still_right(action: OnMachine, book: MachineBook, fleet: Fleet) -> bool:
    """Check an order again: a report or a deployment may have come in while its intent was written."""
    there = book.find(action.node)
    if isinstance(action, Launch):
        return there is None or there.state == "stopped"
    on_it = fleet.nodes.get(action.node)
    is_empty = on_it is None or not (on_it.wants or on_it.is_occupied)
    return there is not None and is_empty


def ended(action: OnMachine, book: MachineBook) -> tuple[str, str] | None:
    """Return how an order ended, None while it goes on."""
    there = book.find(action.node)
    if isinstance(action, Launch):
        if there is None:
            return "abandoned", "it is not there: refused, taken away or given back"
        return ("done", "") if there.state != "launching" else None
    is_gone = there is None or there.state == "stopped"
    return ("done", "") if is_gone else None
