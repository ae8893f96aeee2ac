"""What does each level of the warm ladder cost to keep, and to come back from?

Everything is counted in time of a hot replica's device, so no price is needed: a level costs some thousandths of
that, and coming back costs the device while it restores plus what it is worth that a caller does not wait.
"""

from collections.abc import Collection
from dataclasses import dataclass

from glowplug.clock import MILLISECOND, SECOND
from glowplug.spec import Class
from glowplug_router.records.capacity import Level
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Served

# Levels that agents can keep today. The others are in the table since they will be (DESIGN.md §2).
KEPT: tuple[Level, ...] = ("hot", "cold")

# What a nanosecond of a caller's waiting is worth, in nanoseconds of a device.
WAIT_WORTH: dict[Class, int] = {
    "critical": 99,  # as a late call is worth to `policy.scaling.newsvendor`
    "interactive": 30,  # an hour of a person, $48 (BLS employer costs, 2025), by that of a g5.4xlarge, $1.62
    "standard": 9,  # what `Scale.zero_after`'s default says: five minutes for a start of thirty seconds
    "batch": 0,  # nobody waits
}

ASLEEP_PERMILLE = 20  # host memory of a device's slot: 0.5-2 % of it (router.md §5.4); a process and weights: the most
PRIMED_PERMILLE = 5  # weights alone, which replicas of one node share: the least of it
COLD_PERMILLE = 1  # disk (router.md §5.4)

# On an H100 (research/h100-measured.md).
SLEEP_NS = 12 * MILLISECOND  # unmapping 14 GiB
WAKE_BYTES_S = 50_000_000_000  # arena from pinned host memory: 53 GB/s, less mapping
PRIME_NS = 400 * MILLISECOND  # fork 7 ms, CUDA context 0.38 s
PRIME_BYTES_S = 25_000_000_000  # page cache to device, eight threads
FETCH_BYTES_S = 1_250_000_000  # ten gigabits a second: what g5 and g6 machines have


@dataclass(frozen=True, slots=True)
class Rung:
    """A level: what it costs to keep, and the time to enter it and to be hot again."""

    level: Level | None  # None = absent
    rate_permille: int  # of a hot replica
    enter_ns: int  # of the device
    wake_ns: int

    def wake_cost_ns(self, worth: int) -> int:
        """Return what leaving hot for this level costs in the end, when a waiting nanosecond is worth so many."""
        return self.enter_ns + self.wake_ns * (1 + worth)


def ladder(
    served: Served, memory: EndpointMemory, levels: Collection[Level] = KEPT
) -> tuple[Rung, ...]:
    """Return the levels that can be kept, hottest first, with this version's times."""
    size = served.memory_bytes
    start_ns = memory.start.p50_ns or served.start_prior_ns
    asleep_ns = size * SECOND // WAKE_BYTES_S
    primed_ns = PRIME_NS + size * SECOND // PRIME_BYTES_S
    absent_ns = start_ns + size * SECOND // FETCH_BYTES_S
    rungs = (
        Rung("hot", 1000, 0, 0),
        Rung("asleep", ASLEEP_PERMILLE, SLEEP_NS, min(asleep_ns, start_ns)),
        Rung("primed", PRIMED_PERMILLE, 0, min(primed_ns, start_ns)),
        Rung("cold", COLD_PERMILLE, 0, start_ns),
        Rung(None, 0, 0, absent_ns),
    )
    return tuple(rung for rung in rungs if rung.level is None or rung.level in levels)
