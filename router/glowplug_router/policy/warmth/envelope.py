"""Down to which level, at which idle age, when nothing is known of when the next call comes?

Along the lower envelope of the lines `wake cost + rate × age`: at each age the level that would have been the
cheapest from the beginning, if the call came now. Whenever it comes, that has cost at most twice what was best
(multi-state ski rental: Irani, Shukla, Gupta 2003). Each step down is a ski rental of its own: between two levels one
pays the difference of their rates, until that has cost as much as the difference of their wakes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from glowplug_router.policy.warmth.ladder import Rung


@dataclass(frozen=True, slots=True)
class Descent:
    """A step down, and the idle age at which keeping the level above has cost as much as coming back costs."""

    rung: Rung
    break_even_ns: int


def descents(rungs: Sequence[Rung], worth: int) -> tuple[Descent, ...]:
    """Return the steps from the first rung down, at ascending ages; levels that are never the cheapest are left out."""
    found: list[Descent] = []
    kept = [rungs[0]]
    for rung in rungs[1:]:
        while found and _break_even_ns(kept[-1], rung, worth) <= found[-1].break_even_ns:
            kept.pop()
            found.pop()
        if rung.rate_permille < kept[-1].rate_permille:
            found.append(Descent(rung, _break_even_ns(kept[-1], rung, worth)))
            kept.append(rung)
    return tuple(found)


def rung_at(top: Rung, steps: Sequence[Descent], keeps_ns: Sequence[int], idle_ns: int) -> Rung:
    """Return the rung of an idle age, when each step is taken at the age beside it."""
    gone = [step.rung for step, keep in zip(steps, keeps_ns, strict=True) if idle_ns >= keep]
    return gone[-1] if gone else top


def _break_even_ns(above: Rung, below: Rung, worth: int) -> int:
    dearer_ns = max(0, below.wake_cost_ns(worth) - above.wake_cost_ns(worth))
    return dearer_ns * 1000 // max(1, above.rate_permille - below.rate_permille)
