"""How likely is it that a node of an offer is taken away within an hour?

A Gamma posterior: (a0 + losses + 0.02 x refusals) / (b0 + hours held). Sums are halved every day, so that yesterday's
weather counts less than today's. A refusal is weak evidence of the same scarcity, hence its small weight.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from glowplug.clock import HOUR, MINUTE
from glowplug_router.records.capacity import Market, OfferMemory, OfferTally

MICRO = 1_000_000
REFUSED_WEIGHT_PERMILLE = 20  # router.md §5.6: 0.02 of a loss
HALF_LIFE_NS = 24 * HOUR  # router.md §5.6
# One loss in five hours, that weighs one hour: between the mean up-runs of zones, 0.7-10 h (router.md §3).
SPOT_PRIOR_MICRO = 200_000
# One loss in ten thousand hours: an on-demand machine goes only when its hardware does [R].
ON_DEMAND_PRIOR_MICRO = 100
PRIOR_WEIGHT_NS = HOUR

_BILLION = 1_000_000_000
_MINUTE_PPB = 999_518_768  # 2 ** (-1 / 1440)


def hazard_micro(memory: OfferMemory | None, market: Market) -> int:
    """Return the expected losses of a node in an hour, in millionths."""
    prior = SPOT_PRIOR_MICRO if market == "spot" else ON_DEMAND_PRIOR_MICRO
    if memory is None:
        return prior
    refused_micro = memory.refused_micro * REFUSED_WEIGHT_PERMILLE // 1000
    losses_micro = prior * PRIOR_WEIGHT_NS // HOUR + memory.lost_micro + refused_micro
    return losses_micro * HOUR // (PRIOR_WEIGHT_NS + memory.held_decayed_ns)


def noted(memory: OfferMemory, tally: OfferTally, now_ns: int) -> OfferMemory:
    """Return the memory with what happened since; hearing the same tally twice changes nothing."""
    memory = _decayed(memory, now_ns)
    news = (tally.launched, tally.refused, tally.lost, tally.held_ns)
    if news == (memory.launched, memory.refused, memory.lost, memory.held_ns):
        return memory
    # A counter that is smaller than it was belongs to a new beginning: all of it is news.
    lost = tally.lost - (memory.lost if tally.lost >= memory.lost else 0)
    refused = tally.refused - (memory.refused if tally.refused >= memory.refused else 0)
    held_ns = tally.held_ns - (memory.held_ns if tally.held_ns >= memory.held_ns else 0)
    return replace(
        memory,
        launched=tally.launched,
        lost=tally.lost,
        refused=tally.refused,
        held_ns=tally.held_ns,
        lost_micro=memory.lost_micro + lost * MICRO,
        refused_micro=memory.refused_micro + refused * MICRO,
        held_decayed_ns=memory.held_decayed_ns + held_ns,
    )


def noticed_permille(tallies: Iterable[OfferTally], spot: Collection[str]) -> int:
    """Return how many of a thousand losses are told beforehand: half before anything is known (Laplace's rule)."""
    lost = noticed = 0
    for tally in tallies:
        if tally.offer in spot:
            lost += tally.lost
            noticed += min(tally.noticed, tally.lost)
    return 1000 * (noticed + 1) // (lost + 2)


def _decayed(memory: OfferMemory, now_ns: int) -> OfferMemory:
    """Decay by whole minutes: rounding at every step would eat the sums."""
    if not memory.decayed_ns:
        return replace(memory, decayed_ns=now_ns)
    minutes = max(0, now_ns - memory.decayed_ns) // MINUTE
    if not minutes:
        return memory
    factor = _power_ppb(min(minutes, 64 * HALF_LIFE_NS // MINUTE))
    return replace(
        memory,
        lost_micro=memory.lost_micro * factor // _BILLION,
        refused_micro=memory.refused_micro * factor // _BILLION,
        held_decayed_ns=memory.held_decayed_ns * factor // _BILLION,
        decayed_ns=memory.decayed_ns + minutes * MINUTE,
    )


def _power_ppb(minutes: int) -> int:
    factor, base = _BILLION, _MINUTE_PPB
    while minutes:
        if minutes & 1:
            factor = factor * base // _BILLION
        base = base * base // _BILLION
        minutes >>= 1
    return factor
