"""What does the controller hold in memory? All of it is rebuilt after a restart: from the store and from reports."""

from collections import deque
from dataclasses import dataclass, field, replace

from glowplug_router.control.catalog import Catalog
from glowplug_router.control.demand import DemandBook
from glowplug_router.control.fleet import Fleet
from glowplug_router.control.machines import MachineBook
from glowplug_router.control.signal import Signal
from glowplug_router.records.calls import ColdCall
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Machines
from glowplug_router.records.stored import Explain

COLD_MAX = 1000  # cold calls that can be asked about: 300 bytes each, so little to keep


@dataclass(frozen=True, slots=True)
class Trial:
    """A version that is tried out before it may have traffic."""

    swap_from: str = ""  # dev: replicas of this version may become it in place
    dev: bool = False


@dataclass(slots=True)
class World:
    """The one state that the loop, the deployments and the API share; all of them run on one event loop.

    Whoever changes it fires `changed`; `moved` fires after the loop has acted on what changed.
    """

    catalog: Catalog
    fleet: Fleet
    demand: DemandBook = field(default_factory=DemandBook)
    machines: MachineBook = field(default_factory=MachineBook)
    trials: dict[str, Trial] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    explained: dict[str, Explain] = field(
        default_factory=dict
    )  # version key -> the last plan's reason
    alarms: dict[str, int] = field(
        default_factory=dict
    )  # who wants `changed` to fire, and when (monotonic)
    cold: deque[ColdCall] = field(default_factory=lambda: deque(maxlen=COLD_MAX))  # the newest last
    changed: Signal = field(default_factory=Signal)
    moved: Signal = field(default_factory=Signal)

    @property
    def is_blind(self) -> bool:
        """Say whether nothing is known of what runs: no node has reported, and it is not so that none was launched."""
        return not self.fleet.nodes and (not self.machines.said.offers or self.is_dark)

    @property
    def is_dark(self) -> bool:
        """Say whether there are nodes that have not reported to this controller."""
        if not self.machines.said.offers:
            return not self.fleet.nodes
        return any(
            node.state == "ready" and node.id not in self.fleet.nodes
            for node in self.machines.said.nodes
        )

    def take_machines(self, said: Machines, now_ns: int) -> bool:
        """Take what the provider says of machines; False when it is nothing new."""
        is_news = self.machines.take(said, now_ns)
        self.fleet.drop_nodes(self.machines.gone)
        return is_news

    def begin_trial(self, key: str, trial: Trial) -> None:
        """Try a version out, with no memory of how it fared before."""
        self.trials[key] = trial
        self.fleet.forget_failures(key)
        others = tuple(one for one in self.memory.versions if one.key != key)
        self.memory = replace(self.memory, versions=others)

    async def acted(self) -> None:
        """Wait until the loop has gone round with what was committed: gateways hear it before our answer."""
        for _ in range(2):  # the round that is under way may have begun before the commit
            count = self.moved.count
            self.changed.fire()
            await self.moved.after(count)

    @property
    def epoch(self) -> int:
        """Return the epoch this controller took."""
        return self.catalog.epoch
