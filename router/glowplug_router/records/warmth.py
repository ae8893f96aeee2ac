"""What does the planner remember of when a version is called, and when nobody does? Frozen, bounded, all integers."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Preheat:
    """When to have a replica ahead of the next call, counted from the last one's end or from its beginning."""

    counted_from: Literal["idle", "call"]  # "call": it comes by a timer
    after_ns: int  # start one then
    until_ns: int  # if nobody called by then, it was for nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmth:
    """The idle gaps of a version, and what follows from them."""

    counts: tuple[int, ...] = ()  # by length (`policy.warmth.gaps`); what is older weighs less
    gaps: int = 0  # seen so far, up to the bound that decisions ask for
    periods_ns: tuple[int, ...] = ()  # latest times between calls that ended a gap, oldest first
    called_ns: int = 0  # when the last gap ended; 0 = never
    last_call_ns: int = 0
    slacks_ns: tuple[
        int, ...
    ] = ()  # of each step down: twice the best possible, less what was paid
    keeps_ns: tuple[int, ...] = ()  # idle ages at which to step down; () = nothing is learned yet
    preheat: Preheat | None = None


@dataclass(frozen=True, slots=True)
class Heat:
    """How often something was called lately, over several times: sums that halve (`policy.warmth.residency`)."""

    sums: tuple[int, ...] = ()  # () = no call was counted yet
    at_ns: int = 0  # up to when the sums are decayed; 0 = nobody has looked yet
    calls: int = 0  # the counter of calls when last looked at
