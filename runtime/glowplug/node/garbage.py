"""What on a node's disk may go?

Nothing that a replica runs in or a zygote was made of, and nothing that was used a short while ago. The rest can be had
again: layers are fetched, environments are built.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from glowplug.clock import HOUR

DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Allowance:
    """What stays of all that is not in use: the last used `count`, and none unused for longer than `age_ns`."""

    count: int
    age_ns: int


LAYERS = Allowance(32, DAY)  # a rollback, and the first call after a quiet night, find theirs here
ENVIRONMENTS = Allowance(4, DAY)  # fewer: one with torch takes 5 GB
LOGS = Allowance(40, 30 * DAY)  # replicas of one endpoint


def may_go(
    used_ns: Mapping[str, int], in_use: Collection[str], stays: Allowance, now_ns: int
) -> tuple[str, ...]:
    """Return the names that may be removed, those used last first."""
    idle = [name for name in used_ns if name not in in_use]
    idle.sort(key=lambda name: (-used_ns[name], name))
    return tuple(
        name
        for place, name in enumerate(idle)
        if place >= stays.count or now_ns - used_ns[name] >= stays.age_ns
    )
