"""Records for planner tests, with sane defaults."""

from dataclasses import replace

from glowplug.clock import MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.plan import plan
from glowplug_router.records.decided import Plan
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Node, Observed, Replica, Served
from glowplug_router.simulation.checkers import planned_state

KEY = "app/hello@1"
NOW = 1000 * SECOND


def version(key: str = KEY, *, permits: int = 1, permille: int = 1000, **others: object) -> Served:
    policy = others.pop("policy", Policy())
    assert isinstance(policy, Policy)
    served = Served(key=key, policy=policy, permits=permits, permille=permille)
    return replace(served, **others)  # type: ignore[arg-type]  # a builder takes any field


def node(id: str = "n1", *, seen_ns: int = NOW, gpus: int = 0, memory_bytes: int = 0) -> Node:
    devices = tuple((f"{id}-gpu{number}", "NVIDIA L4") for number in range(gpus))
    return Node(id=id, cpu_milli=8000, memory_bytes=memory_bytes, gpus=devices, seen_ns=seen_ns)


def replica(id: str, state: str = "ready", *, key: str = KEY, **others: object) -> Replica:
    made = Replica(id=id, version=key, node="n1", state="ready", since_ns=NOW - MINUTE)
    return replace(made, state=state, **others)  # type: ignore[arg-type]  # a builder takes any field


class Planning:
    """A planner that is asked again and again; what it decides comes true at once."""

    def __init__(
        self,
        *served: Served,
        nodes: tuple[Node, ...] | None = None,
        replicas: tuple[Replica, ...] = (),
    ) -> None:
        self.now_ns = NOW
        self.observed = Observed(
            epoch=1, served=served or (version(),), nodes=nodes or (node(),), replicas=replicas
        )
        self.demand: dict[str, Demand] = {}
        self.memory = Memory()

    def plan(self) -> Plan:
        """Plan, check that a second plan changes nothing, and carry it out."""
        demand = tuple(self.demand.values())
        made = plan(self.observed, demand, self.memory, self.now_ns)
        self.memory = made.memory
        self.observed = planned_state(self.observed, made, self.now_ns)
        again = plan(self.observed, demand, self.memory, self.now_ns)
        assert not again.actions, again.actions
        assert made.wake_ns is None or made.wake_ns > self.now_ns
        return made

    def after(self, by_ns: int) -> Plan:
        """Let time pass, with agents reporting."""
        self.now_ns += by_ns
        nodes = tuple(replace(known, seen_ns=self.now_ns) for known in self.observed.nodes)
        self.observed = replace(self.observed, nodes=nodes)
        return self.plan()

    def ask(self, key: str = KEY, **changes: int) -> None:
        """Set demand; counters are sums."""
        row = self.demand.get(key, Demand(key=key))
        if changes.get("arrivals", row.arrivals) > row.arrivals:
            changes.setdefault("last_arrival_ns", self.now_ns)
        self.demand[key] = replace(row, **changes)  # type: ignore[arg-type]  # all but the key are numbers

    def become(self, state: str, *ids: str) -> None:
        """Let replicas enter a state now."""
        self.observed = replace(
            self.observed,
            replicas=tuple(
                replace(known, state=state, since_ns=self.now_ns)  # type: ignore[arg-type]  # any state
                if not ids or known.id in ids
                else known
                for known in self.observed.replicas
            ),
        )

    def drop(self, *ids: str) -> None:
        """Let replicas be gone."""
        left = tuple(known for known in self.observed.replicas if known.id not in ids)
        self.observed = replace(self.observed, replicas=left)

    def serve(self, *served: Served) -> None:
        """Change what is served."""
        self.observed = replace(self.observed, served=served)

    def states(self, key: str = KEY) -> list[str]:
        """Return the states of a version's replicas."""
        return [known.state for known in self.observed.replicas if known.version == key]
