"""How fast do we follow what demand is worth?

Up at once, or after `up_after`. Down when fewer would have done for all of `down_after`, which they must do well: what
is left has to stay below `RHO_DOWN` of what it can carry, or the survivors' load brings back who left (dynamo#9294),
and that of a mean which was there lately, since a lull is no lower load. To `min` when nobody called for `zero_after`.
"""

from dataclasses import dataclass, replace

from glowplug.clock import SECOND
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Served

SAMPLE_NS = SECOND  # look again while the smoothed load may fall below what is there


@dataclass(frozen=True, slots=True)
class Target:
    """How many replicas, why, and when the answer may change by itself."""

    replicas: int
    rule: str
    text: str
    memory: EndpointMemory
    due_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Worth:
    """What demand is worth now, whatever is there."""

    replicas: int
    calm: int  # with so many it would be safe to go down
    rule: str
    text: str
    is_idle: bool = False
    due_ns: int | None = None  # when it will be another one if nothing comes


@dataclass(frozen=True, slots=True)
class There:
    """What there is, and how many there may be."""

    ready: int
    starting: int
    lowest: int
    highest: int

    @property
    def have(self) -> int:
        """Return how many there will be when those that start are ready."""
        return self.ready + self.starting


def followed(
    served: Served, worth: Worth, memory: EndpointMemory, there: There, now_ns: int
) -> Target:
    """Return how many replicas to have now, with the memory of since when it is more or less than there are."""
    if worth.replicas > there.have:
        return _up(served, worth, memory, there, now_ns)
    if worth.replicas < there.have:
        return _down(served, worth, memory, there, now_ns)
    return _stay(worth, memory, there.have, now_ns)


def _up(served: Served, worth: Worth, memory: EndpointMemory, there: There, now_ns: int) -> Target:
    since_ns = memory.high_since_ns or now_ns
    memory = replace(memory, high_since_ns=since_ns, low_since_ns=0, low_peak=0)
    due_ns = since_ns + served.policy.up_after_ns
    if there.have and now_ns < due_ns:
        text = f"{worth.text}; worth {worth.replicas}, up_after passes in {(due_ns - now_ns) / SECOND:.1f} s"
        least = max(there.have, there.lowest)
        return Target(least, "up_after", text, memory, _earliest(due_ns, worth.due_ns))
    return Target(worth.replicas, worth.rule, worth.text, memory, worth.due_ns)


def _down(
    served: Served, worth: Worth, memory: EndpointMemory, there: There, now_ns: int
) -> Target:
    have = there.have
    if worth.is_idle:
        return Target(worth.replicas, worth.rule, worth.text, _rested(memory), worth.due_ns)
    if have > there.highest:
        return Target(there.highest, "max", worth.text, _rested(memory), now_ns + SAMPLE_NS)
    if worth.calm >= have:
        return _stay(worth, memory, have, now_ns)
    since_ns = memory.low_since_ns or now_ns
    peak = max(memory.low_peak, worth.calm)
    due_ns = since_ns + served.policy.down_after_ns
    if now_ns >= due_ns:
        text = f"{worth.text}; {peak} would have done for {(now_ns - since_ns) / SECOND:.0f} s"
        memory = _rested(memory)
        return Target(peak, "down_after", text, memory, now_ns + SAMPLE_NS)
    text = f"{worth.text}; worth {worth.replicas}, down_after passes in {(due_ns - now_ns) / SECOND:.1f} s"
    memory = replace(memory, low_since_ns=since_ns, low_peak=peak, high_since_ns=0)
    return Target(have, "down_after", text, memory, _earliest(due_ns, worth.due_ns))


def _stay(worth: Worth, memory: EndpointMemory, have: int, now_ns: int) -> Target:
    due_ns = worth.due_ns
    if have > 1 and memory.rate_micro and not worth.is_idle:
        due_ns = _earliest(now_ns + SAMPLE_NS, due_ns)
    return Target(have, worth.rule, worth.text, _rested(memory), due_ns)


def _earliest(due_ns: int, other_ns: int | None) -> int:
    return due_ns if other_ns is None else min(due_ns, other_ns)


def _rested(memory: EndpointMemory) -> EndpointMemory:
    if not (memory.low_since_ns or memory.high_since_ns or memory.low_peak):
        return memory
    return replace(memory, low_since_ns=0, low_peak=0, high_since_ns=0)
