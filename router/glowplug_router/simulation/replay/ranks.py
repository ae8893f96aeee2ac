"""What is a replica in a replay? It starts, runs calls for as long as each takes, drains, and ends."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from glowplug_router.dispatch.classes import RANK
from glowplug_router.records.observed import Replica, ReplicaState
from glowplug_router.simulation.replay.scene import Endpoint, Request


class Call:
    """A call that is open. A plain class with slots: one is made for every call."""

    __slots__ = (
        "arrived_ns", "began_ns", "deadline_ns", "endpoint", "id", "rank", "run", "sent_ns", "service_ns", "size",
    )  # fmt: skip  # a line each would hide the class

    def __init__(self, id: int, request: Request, now_ns: int) -> None:
        self.id = id
        self.endpoint = request.endpoint
        self.arrived_ns = now_ns
        self.service_ns = request.service_ns  # at speed 1000
        self.deadline_ns = now_ns + request.deadline_ns if request.deadline_ns else 0  # 0 = none
        self.rank = RANK[request.klass]
        self.size = request.size
        self.sent_ns = self.began_ns = 0  # 0 = it is not
        self.run = 0  # how often it was begun: an end that belongs to a lost run is passed over


@dataclass(slots=True, eq=False)
class Rank:
    """One replica: what the planner sees of it is `record`."""

    record: Replica
    endpoint: Endpoint
    ordered_ns: int
    speed_permille: int = 1000
    ready_ns: int = 0
    is_sick: bool = False
    running: dict[int, Call] = field(default_factory=dict)  # or in the queue for a batch
    early: deque[Call] = field(default_factory=deque)  # taken ahead, in order
    gone: Callable[[], None] | None = None  # told when it has drained

    @property
    def id(self) -> str:
        """Return its name."""
        return self.record.id

    @property
    def is_alive(self) -> bool:
        """Say whether there is a process."""
        return self.record.state != "failed"

    @property
    def devices(self) -> int:
        """Return how many devices it holds; a replica that runs without counts as one."""
        held = len(self.record.gpus) + sum(len(part.gpus) for part in self.record.parts)
        return max(1, held)

    def enter(self, state: ReplicaState, now_ns: int, code: str = "") -> None:
        """Change state."""
        self.record = replace(self.record, state=state, since_ns=now_ns, code=code)
        if state == "ready":
            self.ready_ns = now_ns
