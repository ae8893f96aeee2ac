"""What goes wrong, and when? Nothing after `calm_ns`, so that the end of a run shows whether all converged."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from glowplug.clock import HOUR, MILLISECOND, SECOND
from glowplug_router.simulation.world import World

LATE_MAX_NS = 2 * SECOND
SKEW_MAX_NS = HOUR  # between hosts' monotonic clocks: they count from each one's boot
RETRY_AFTER_MAX_NS = (
    30 * SECOND
)  # that a provider asks for; EC2's buckets fill again within seconds


@dataclass(slots=True)
class Rates:
    """How often; drawn for each run, so that some runs are quiet and some are not."""

    late: float
    twice: float
    lost: float
    busy: float  # a replica's permit is with another gateway
    sick: float  # a rank fails most of its calls, through its own fault
    kills: int
    agents: int  # agents lost and back
    nodes: int  # nodes lost with all that ran there
    restarts: int  # of the controller
    clock_steps: int
    skews: int = 0  # from here on a gateway's clock is off by up to SKEW_MAX_NS
    throttled: float = 0.0  # a provider takes no order just now, and says when it may again


NONE = Rates(
    late=0, twice=0, lost=0, busy=0, sick=0, kills=0, agents=0, nodes=0, restarts=0, clock_steps=0
)


def drawn(world: World) -> Rates:
    """Return how wild this run is."""
    random = world.random
    wild = random.choice((0, 1, 1, 2))
    return Rates(
        late=0.1 * wild,
        twice=0.1 * wild,
        lost=0.05 * wild,
        busy=0.01 * wild,
        sick=0.1 * wild,
        kills=random.randint(0, 3 * wild),
        agents=random.randint(0, wild),
        nodes=random.choice((0, 0, wild // 2)),
        restarts=random.randint(0, wild),
        clock_steps=random.randint(0, 2 * wild),
        skews=random.randint(0, wild),
    )


class Post:
    """Carries messages between daemons: late, twice, out of order or not at all. Senders repeat what matters."""

    def __init__(self, world: World, rates: Rates, calm_ns: int) -> None:
        self._world = world
        self._rates = rates
        self._calm_ns = calm_ns
        self._skew_ns = 0
        self.happened: Counter[str] = Counter()  # how often each fault was met

    def send(self, deliver: Callable[[], None]) -> None:
        """Deliver a message, as well as it goes."""
        world = self._world
        if world.now_ns >= self._calm_ns:
            world.after(MILLISECOND, deliver)
            return
        if self._happens("lost", self._rates.lost):
            return
        for _ in range(2 if self._happens("twice", self._rates.twice) else 1):
            is_late = self._happens("late", self._rates.late)
            world.after(world.random.randrange(LATE_MAX_NS) if is_late else MILLISECOND, deliver)

    def is_sick(self) -> bool:
        """Say whether a rank that starts now fails most of its calls."""
        return self._happens("sick", self._rates.sick)

    def is_fault(self) -> bool:
        """Say whether a sick rank fails this call."""
        return self._happens("fault", 0.9)

    def is_busy(self) -> bool:
        """Say whether a replica refuses this call although we think that it has room."""
        return self._happens("busy", self._rates.busy)

    def retry_after_ns(self) -> int:
        """Return how long a provider that is asked now takes no orders; 0 = it takes this one."""
        if not self._rates.throttled or not self._happens("throttled", self._rates.throttled):
            return 0
        return self._world.random.randrange(SECOND, RETRY_AFTER_MAX_NS)

    def is_throttled(self, rate: float) -> bool:
        """Say whether a provider takes no order just now, at a rate of its own."""
        return rate > 0 and self._happens("throttled", rate)

    def skew(self) -> None:
        """Set a gateway's clock off, forwards or backwards."""
        self._skew_ns = self._world.random.randrange(-SKEW_MAX_NS, SKEW_MAX_NS)

    def stamped(self, at_ns: int) -> int:
        """Return a time as a gateway's clock has it; 0 stays "never"."""
        if not (self._skew_ns and at_ns) or self._world.now_ns >= self._calm_ns:
            return at_ns
        self.happened["skewed"] += 1
        return max(1, at_ns + self._skew_ns)

    def _happens(self, fault: str, rate: float) -> bool:
        if self._world.now_ns >= self._calm_ns or self._world.random.random() >= rate:
            return False
        self.happened[fault] += 1
        return True
