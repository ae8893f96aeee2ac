"""Should a replica be there before the next call comes?

Only where the next call's time is known well enough that waiting for it with a replica costs less than a cold start:

- *by a timer*: the times between the latest calls are alike to a tenth. It is started just so long before the next one;
- *by habit*: idle gaps have a usual length. Then from their 5th percentile to their 99th, each with a tenth of margin
  (Serverless in the Wild, ATC'20, §4.2).
"""

from collections.abc import Sequence
from dataclasses import replace

from glowplug_router.policy.warmth.choosing import GAPS_MIN, Choice, Rental, is_allowed
from glowplug_router.policy.warmth.gaps import Bin, is_representative, quantile_ns
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand
from glowplug_router.records.warmth import Preheat

HEAD_PERMILLE, TAIL_PERMILLE = 50, 990
MARGIN = 10  # one part in so many
PERIODS = GAPS_MIN  # kept, and needed before a timer is believed in


def with_preheat(
    choice: Choice, filled: Sequence[Bin], periods_ns: Sequence[int], busy_ns: int, rental: Rental
) -> Choice:
    """Return the choice with a preheat where one is allowed and would have been cheaper; `busy_ns`: usual calls."""
    best = choice
    timer = timer_preheat(periods_ns, rental.start_ns)
    if timer is not None:
        gaps = [Bin(period - busy_ns, period - busy_ns, 1) for period in periods_ns]
        best = _cheapest(gaps, rental, best, Choice(0, timer, busy_ns))
    habit = habit_preheat(filled, rental.start_ns)
    if habit is not None and best.preheat is None:
        best = _cheapest(filled, rental, best, Choice(0, habit), replace(best, preheat=habit))
    return best


def timer_preheat(periods_ns: Sequence[int], start_ns: int) -> Preheat | None:
    """Return when to expect the next call of a timer; None where calls come by none."""
    if len(periods_ns) < PERIODS:
        return None
    first, *_, last = sorted(periods_ns)
    if (last - first) * MARGIN > first:
        return None
    margin_ns = (last - first) // 2 + start_ns // MARGIN
    return Preheat(
        counted_from="call",
        after_ns=max(0, first - margin_ns - start_ns),
        until_ns=last + margin_ns,
    )


def habit_preheat(filled: Sequence[Bin], start_ns: int) -> Preheat | None:
    """Return when to expect the next call after a gap of usual length; None where they have none."""
    if not is_representative(filled):
        return None
    head_ns, _ = quantile_ns(filled, HEAD_PERMILLE)
    _, tail_ns = quantile_ns(filled, TAIL_PERMILLE)
    return Preheat(
        counted_from="idle",
        after_ns=max(0, head_ns - head_ns // MARGIN - start_ns),
        until_ns=tail_ns + tail_ns // MARGIN,
    )


def preheat_window(demand: Demand, memory: EndpointMemory, now_ns: int) -> tuple[int, int] | None:
    """Return from when to when (monotonic) a replica is to be there ahead of the next call; None if none is."""
    preheat = memory.warmth.preheat
    idle_ns = max(memory.busy_ns, demand.last_arrival_ns)
    if preheat is None or not idle_ns:
        return None
    origin_ns = memory.warmth.called_ns if preheat.counted_from == "call" else idle_ns
    end_ns = origin_ns + preheat.until_ns
    return (origin_ns + preheat.after_ns, end_ns) if now_ns < end_ns else None


def _cheapest(filled: Sequence[Bin], rental: Rental, known: Choice, *others: Choice) -> Choice:
    allowed = [known, *(other for other in others if is_allowed(other, rental))]
    return min(allowed, key=lambda choice: _total_ns(choice, filled, rental))


def _total_ns(choice: Choice, filled: Sequence[Bin], rental: Rental) -> int:
    return sum(bin.weight * choice.cost_ns(bin.typical_ns, rental) for bin in filled)
