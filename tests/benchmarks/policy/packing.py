"""How often is a model not there when K fit on the devices? A generator fitted to GenTD26, in request order.

As router.md §4.4: K slots of one model each, all of one size and cost, no queueing. What differs is who makes way.
"""

from collections.abc import Sequence
from random import Random
from typing import Protocol

from glowplug_router.policy.warmth.residency import Resident, called, worth
from glowplug_router.records.warmth import Heat
from glowplug_router.simulation.replay import Request
from glowplug_router.simulation.traces.synthetic import gentd26_like
from policy.baselines.caches import Gdsf, Lfu, Lru, belady_misses
from policy.result import Result

NAME = "packing"
SLOTS = (8, 16, 32)
SEEDS = 3  # generated traces that are averaged


class Cache(Protocol):
    """Whoever decides which model makes way."""

    def called(self, key: str, now_ns: int) -> None:
        """Note a call."""
        ...

    def victim(self, held: set[str], now_ns: int) -> str:
        """Return who makes way."""
        ...

    def evicted(self, key: str) -> None:
        """Note that it went."""
        ...


class Ours:
    """The policy of `policy.warmth.residency`."""

    def __init__(self) -> None:
        self._heats: dict[str, Heat] = {}

    def called(self, key: str, now_ns: int) -> None:
        """Note a call."""
        self._heats[key] = called(self._heats.get(key, Heat()), now_ns)

    def victim(self, held: set[str], now_ns: int) -> str:
        """Return who makes way."""
        return min(held, key=lambda key: (worth(Resident(1, 1, self._heats[key]), now_ns), key))

    def evicted(self, key: str) -> None:
        """Keep what is known of it."""


def run(seed: int) -> list[Result]:
    """Return the worst ratio of misses to GDSF's over K, and the misses of everybody."""
    traces = [gentd26_like(Random(f"{seed} packing {at}")) for at in range(SEEDS)]
    results, ratios = [], {}
    for slots in SLOTS:
        shares = {
            "ours": _mean([misses(trace, slots, Ours()) for trace in traces]),
            "LRU": _mean([misses(trace, slots, Lru()) for trace in traces]),
            "LFU": _mean([misses(trace, slots, Lfu()) for trace in traces]),
            "GDSF": _mean([misses(trace, slots, Gdsf(keeps=True)) for trace in traces]),
            "GDSF, counts forgotten": _mean(
                [misses(trace, slots, Gdsf(keeps=False)) for trace in traces]
            ),
        }
        keys = [[call.endpoint for call in trace] for trace in traces]
        belady = _mean([belady_misses(one, slots) / len(one) for one in keys])
        best = min(shares["GDSF"], shares["GDSF, counts forgotten"])
        ratios[slots] = shares["ours"] / best
        gap = (shares["ours"] - belady) / (best - belady)
        results.append(
            Result(
                figure=f"packing_miss_k{slots}",
                value=shares.pop("ours"),
                unit="share of calls",
                bound=belady,
                peers=shares,
                detail=f"gap to Belady is {gap:.2f} of GDSF's",
            )
        )
    worst = max(ratios, key=lambda slots: ratios[slots])
    headline = Result(
        figure="packing_miss_ratio_gdsf",
        value=ratios[worst],
        unit="misses / GDSF's",
        peers={f"K = {slots}": ratio for slots, ratio in ratios.items()},
        detail=f"fitted generator (GenTD26, not the trace), {SEEDS} seeds; the better of two GDSFs; worst: K = {worst}",
    )
    return [headline, *results]


def misses(calls: Sequence[Request], slots: int, cache: Cache) -> float:
    """Return the share of calls whose model is not there."""
    held: set[str] = set()
    missed = 0
    for call in calls:
        if call.endpoint not in held:
            missed += 1
            if len(held) >= slots:
                victim = cache.victim(held, call.at_ns)
                held.remove(victim)
                cache.evicted(victim)
            held.add(call.endpoint)
        cache.called(call.endpoint, call.at_ns)
    return missed / len(calls)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
