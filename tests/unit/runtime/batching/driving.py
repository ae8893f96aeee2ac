"""How does a test drive a batcher?"""

from typing import Any

from glowplug.clock import MILLISECOND
from glowplug.spec import BatchSpec
from glowplug.worker.batcher import Batcher, Effect, Late, Run
from glowplug.worker.costs import Costs

MS = MILLISECOND


def batcher(costs_ms: tuple[float, float, float] | None = None, **spec: Any) -> Batcher[str]:
    """Return a batcher that has learned S(n, units) = a + b·n + c·units, in milliseconds."""
    costs = Costs()
    if costs_ms is not None:
        base, per_call, per_unit = (one * MS for one in costs_ms)
        for size in (1, 2, 4, 8, 16, 32) * 3:
            for units in (size * 10, size * 300) if per_unit else (0,):
                costs.saw(size, units, int(base + per_call * size + per_unit * units))
    return Batcher(BatchSpec(**{"max": 4, **spec}), costs)


def put(it: Batcher[str], *calls: str, at_ms: float = 0, **more: Any) -> None:
    for call in calls:
        it.arrived(call, int(at_ms * MS), **more)


def look(it: Batcher[str], at_ms: float = 0) -> tuple[Effect[str], ...]:
    return it.ticked(int(at_ms * MS))


def end(it: Batcher[str], at_ms: float = 0) -> tuple[Effect[str], ...]:
    return it.ended(int(at_ms * MS))


def runs(*effects: Effect[str]) -> list[tuple[str, ...]]:
    return [effect.calls for effect in effects if isinstance(effect, Run)]


def late(*effects: Effect[str]) -> list[str]:
    return [effect.call for effect in effects if isinstance(effect, Late)]
