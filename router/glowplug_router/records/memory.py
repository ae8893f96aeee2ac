"""What does the planner remember between two plans? Frozen, bounded, all integers."""

from dataclasses import dataclass, field

from glowplug_router.records.capacity import CapacityMemory
from glowplug_router.records.devices import Part
from glowplug_router.records.load import Load, StartTimes
from glowplug_router.records.warmth import Heat, Warmth


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointMemory:
    """What the planner remembers of one version between two plans."""

    key: str
    arrivals: int = 0
    completed: int = 0
    service_ns: int = 0
    sampled_ns: int = 0
    rate_micro: int = 0  # smoothed arrivals per second, in millionths
    mean_service_ns: int = 0
    low_since_ns: int = 0  # since when fewer replicas would do; 0 = they would not
    high_since_ns: int = 0
    retry_at_ns: int = 0  # no new start before this: back-off after failures
    failures: int = 0  # failed starts in a row
    crashes: int = 0  # ends of replicas that had been ready, since one was stable
    first_seen_ns: int = 0
    busy_ns: int = 0  # when a call of it was last seen waiting or running
    low_peak: int = 0  # most replicas that were needed since `low_since_ns`
    seen_ready: tuple[str, ...] = ()  # replicas that have been ready and are still observed
    counted: tuple[str, ...] = ()  # failed replicas already counted and still observed
    reserve: int = 0  # replicas beyond what its load is worth, so that a zone may be lost
    awaited: int = 0  # replicas that will start when machines come that are on their way
    wanted: int = (
        0  # that the last plan wanted: who is on a machine that goes stays wanted, elsewhere
    )
    room_node: str = ""  # where room is kept for it until what drains there is gone
    room_gpus: tuple[str, ...] = ()  # the devices that are kept for it there
    room_parts: tuple[Part, ...] = ()  # and, for a gang, what is kept on other nodes
    load: Load = field(default_factory=Load)
    start: StartTimes = field(default_factory=StartTimes)
    warmth: Warmth = field(default_factory=Warmth)
    heat: Heat = field(default_factory=Heat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The planner's memory: goes in, comes out changed. `serial` makes replica ids unique and reproducible."""

    versions: tuple[EndpointMemory, ...] = ()
    serial: int = 0
    seed: int = 0
    capacity: CapacityMemory = field(default_factory=CapacityMemory)
