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


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Have a machine of an offer."""

    id: str  # intent id
    node: str
    offer: str
    deadline_ns: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """Give a machine back; `stop` keeps its disk, to be started again sooner."""

    id: str
    node: str
    deadline_ns: int
    reason: str
    stop: bool = False
