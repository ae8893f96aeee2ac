"""How long does an idle version keep its last replica, when its owner leaves that to us?"""

from collections.abc import Sequence
from dataclasses import replace

from glowplug_router.policy.warmth.choosing import (
    GAPS_MIN,
    Choice,
    Rental,
    learned,
    ordered,
    paid,
)
from glowplug_router.policy.warmth.envelope import Descent, descents
from glowplug_router.policy.warmth.gaps import UNIT_NS, bins, noted
from glowplug_router.policy.warmth.ladder import WAIT_WORTH, Rung, ladder
from glowplug_router.policy.warmth.preheat import PERIODS, with_preheat
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Served
from glowplug_router.records.warmth import Warmth

AUTO_NS = -1  # `Policy.zero_after_ns`: decide from what is learned


def keep_ns(served: Served, memory: EndpointMemory, now_ns: int) -> int:
    """Return after how long without a call the last replica may go, in nanoseconds."""
    after_ns = served.policy.zero_after_ns
    if after_ns != AUTO_NS:
        return after_ns
    learned_ns = memory.warmth.keeps_ns
    return learned_ns[0] if learned_ns else _steps(served, memory)[0].break_even_ns


def gaps_noted(
    memory: EndpointMemory, served: Served, demand: Demand, now_ns: int
) -> EndpointMemory:
    """Return the memory with the idle gap that this demand ends, if any. For memory that has not noted it yet."""
    warmth = memory.warmth
    if served.policy.zero_after_ns != AUTO_NS or demand.arrivals == memory.arrivals:
        return memory
    idle_ns = max(memory.busy_ns, warmth.last_call_ns)
    call_ns = min(max(demand.last_arrival_ns, idle_ns), now_ns)
    is_idle = memory.busy_ns < memory.sampled_ns
    if not warmth.last_call_ns:
        warmth = replace(warmth, called_ns=call_ns)
    elif is_idle and call_ns - idle_ns >= UNIT_NS:
        warmth = gap_noted(
            warmth, ladder(served, memory), WAIT_WORTH[served.policy.priority], idle_ns, call_ns
        )
    return replace(memory, warmth=replace(warmth, last_call_ns=call_ns))


def gap_noted(
    warmth: Warmth, rungs: Sequence[Rung], worth: int, idle_ns: int, call_ns: int
) -> Warmth:
    """Return the memory after a gap from `idle_ns` to `call_ns`, with what is chosen for the next one."""
    gap_ns, busy_ns = call_ns - idle_ns, idle_ns - warmth.called_ns
    steps = descents(rungs, worth)
    rentals = _rentals(warmth, steps)
    chosen = _in_force(warmth, rentals, busy_ns)
    slacks = tuple(
        paid(choice, rental, gap_ns) for choice, rental in zip(chosen, rentals, strict=True)
    )
    warmth = replace(
        warmth,
        counts=noted(warmth.counts, gap_ns),
        gaps=min(GAPS_MIN, warmth.gaps + 1),
        periods_ns=(*warmth.periods_ns, call_ns - warmth.called_ns)[-PERIODS:],
        called_ns=call_ns,
        slacks_ns=slacks,
    )
    return _chosen(warmth, steps, busy_ns) if warmth.gaps >= GAPS_MIN else warmth


def _chosen(warmth: Warmth, steps: Sequence[Descent], busy_ns: int) -> Warmth:
    """Choose for the next gap."""
    rentals = _rentals(warmth, steps)
    filled = bins(warmth.counts)
    keeps = [learned(filled, rental).keep_ns for rental in rentals]
    keeps_ns = ordered(keeps, [rental.break_even_ns for rental in rentals])
    preheat = None
    if len(steps) == 1:  # from a level that is back in no time, nothing need come ahead
        best = with_preheat(Choice(keeps_ns[0]), filled, warmth.periods_ns, busy_ns, rentals[0])
        keeps_ns, preheat = (best.keep_ns,), best.preheat
    return replace(warmth, keeps_ns=keeps_ns, preheat=preheat)


def _in_force(warmth: Warmth, rentals: Sequence[Rental], busy_ns: int) -> list[Choice]:
    """Return what was chosen for the gap that ended; without memory of it, the break-even ages."""
    if len(warmth.keeps_ns) != len(rentals):
        return [Choice(rental.break_even_ns) for rental in rentals]
    counted_ns = busy_ns if warmth.preheat and warmth.preheat.counted_from == "call" else 0
    return [Choice(keep, warmth.preheat, counted_ns) for keep in warmth.keeps_ns]


def _rentals(warmth: Warmth, steps: Sequence[Descent]) -> list[Rental]:
    # The first start was paid: by us, and by who knows the future. Where levels have changed, nothing is known.
    slacks = warmth.slacks_ns or tuple(step.break_even_ns for step in steps)
    if len(slacks) != len(steps):
        slacks = (0,) * len(steps)
    return [
        Rental(step.break_even_ns, step.rung.wake_ns, slack)
        for step, slack in zip(steps, slacks, strict=True)
    ]


def _steps(served: Served, memory: EndpointMemory) -> tuple[Descent, ...]:
    return descents(ladder(served, memory), WAIT_WORTH[served.policy.priority])
