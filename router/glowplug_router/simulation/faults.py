"""What goes wrong, and when? Nothing after `calm_ns`, so that the end of a run shows whether all converged."""

from collections.abc import Callable
from dataclasses import dataclass

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.simulation.world import World

LATE_MAX_NS = 2 * SECOND


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
    )


class Post:
    """Carries messages between daemons: late, twice, out of order or not at all. Senders repeat what matters."""

    def __init__(self, world: World, rates: Rates, calm_ns: int) -> None:
        self._world = world
        self._rates = rates
        self._calm_ns = calm_ns

    def send(self, deliver: Callable[[], None]) -> None:
        """Deliver a message, as well as it goes."""
        world, random = self._world, self._world.random
        if world.now_ns >= self._calm_ns:
            world.after(MILLISECOND, deliver)
            return
        if random.random() < self._rates.lost:
            return
        for _ in range(2 if random.random() < self._rates.twice else 1):
            is_late = random.random() < self._rates.late
            world.after(random.randrange(LATE_MAX_NS) if is_late else MILLISECOND, deliver)

    def is_sick(self) -> bool:
        """Say whether a rank that starts now fails most of its calls."""
        return self._world.now_ns < self._calm_ns and self._world.random.random() < self._rates.sick

    def is_fault(self) -> bool:
        """Say whether a sick rank fails this call."""
        return self._world.now_ns < self._calm_ns and self._world.random.random() < 0.9

    def is_busy(self) -> bool:
        """Say whether a replica refuses this call although we think that it has room."""
        return self._world.now_ns < self._calm_ns and self._world.random.random() < self._rates.busy
