"""What machines could be had, what happened to those we asked for, and what is done about it? Frozen records."""

from dataclasses import dataclass
from typing import Literal

Market = Literal["spot", "on_demand"]
NodeState = Literal["launching", "ready", "leaving", "stopped"]
Level = Literal["hot", "asleep", "primed", "cold"]  # of a residency, on the warm ladder


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An (instance type, zone, market) that one could launch. Prices are for an hour of the whole machine."""

    id: str  # "g6.xlarge/use1-az1/spot"
    type: str
    zone: str
    market: Market
    price_micro_usd: int
    devices: tuple[tuple[str, int], ...] = ()  # kind -> how many: ("nvidia", 4)
    model: str = ""  # of its devices: "NVIDIA L4"
    device_memory_bytes: int = 0  # of one device
    cpu_milli: int = 0
    memory_bytes: int = 0
    speed_permille: int = 1000  # of one device, measured: 1000 is the reference
    launch_p50_ns: int = 0
    launch_p90_ns: int = 0
    quota: int = 0  # nodes at most; 0 = no bound is known
    min_billed_ns: int = 0
    restart_p90_ns: int = 0  # from stopped to ready; 0 = it cannot be stopped
    stopped_micro_usd: int = 0  # an hour of its disk, while it is stopped

    @property
    def pool(self) -> str:
        """Return what is lost together: machines of one type in one zone."""
        return f"{self.type}/{self.zone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferTally:
    """What became of the nodes of one offer. Counters only grow, so that hearing them twice changes nothing."""

    offer: str
    launched: int = 0
    refused: int = 0  # there was no capacity
    noticed: int = 0
    lost: int = 0
    held_ns: int = 0  # summed over nodes, up to now
    last_refused_ns: int = 0  # monotonic; 0 = never
    last_lost_ns: int = 0


Degrade = Literal["warn", "cap", "spot_only", "stop_batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Replicas of one shape that need launched machines, in thousandths of a replica on the reference device."""

    key: str  # of the shape: stable, and nodes are remembered by it
    units_permille: int  # what must be ready, without what machines that are simply there can hold
    critical_permille: int = 0  # of it what must be left when any one zone is lost
    batch_permille: int = 0  # of it what is only there for batch: the first to go without money
    kind: str = "nvidia"
    count: int = 1  # devices of one replica; 0 = it runs without
    models: tuple[str, ...] = ()  # of its devices; () = any
    device_memory_bytes: int = 0
    memory_bytes: int = 0
    cpu_milli: int = 0
    lost_work_ns: int = 0  # device time that the loss of a node throws away
    miss_micro_usd: int = 0  # what it costs to be one replica short for an hour; 0 = not said


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What people allow. Zero is no limit."""

    markets: tuple[Market, ...] = ("spot", "on_demand")
    price_cap_micro_usd: int = 0  # an hour of one machine
    budget_micro_usd: int = 0  # a month
    spent_micro_usd: int = 0  # of this month's budget, up to now
    month_passed_permille: int = 1000
    degrade: Degrade = "warn"  # what happens when the budget will not last


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferMemory:
    """What is remembered of an offer: the counters seen last, and their decayed sums."""

    offer: str
    launched: int = 0
    refused: int = 0
    lost: int = 0
    held_ns: int = 0
    lost_micro: int = 0  # nodes lost, in millionths, halved every day
    refused_micro: int = 0
    held_decayed_ns: int = 0
    decayed_ns: int = 0  # up to when the sums are decayed
    refusals: int = 0  # in a row
    retry_at_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedMemory:
    """What is remembered of a need."""

    key: str
    nodes: tuple[str, ...] = ()  # launched for it
    spare: int = 0  # nodes above the need


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityMemory:
    """What the planner of nodes remembers between two steps; `serial` makes names of nodes unique."""

    offers: tuple[OfferMemory, ...] = ()
    needs: tuple[NeedMemory, ...] = ()
    unwanted: tuple[str, ...] = ()  # nodes that go as soon as what runs there is replaced
    is_strained: bool = False  # the budget is spent too fast
    serial: int = 0
    seed: int = 0
