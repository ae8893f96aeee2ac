"""Is any promise broken when everything fails? Worlds drawn from seeds: kills, lost messages, clock steps, lost nodes.

`glowplug_router.simulation`: every invariant of `checkers.py` is looked at on every event. The control is the same
check over worlds in which every fifth end of a call is lost on purpose.
"""

import os
from concurrent.futures import ProcessPoolExecutor

from glowplug_router.dispatch import CallEnded, DispatchState, Effect, Event, step
from glowplug_router.simulation.run import Subject, run_seed
from policy.result import Result

NAME = "chaos"
SEEDS = 1000
CONTROL_SEEDS = 5
CHUNK = 25


def run(seed: int, seeds: int = SEEDS) -> list[Result]:
    """Return the violations of so many worlds; the first one is `seed`."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(_one, range(seed, seed + seeds), chunksize=CHUNK))
    violations = sum(one[0] for one in found)
    events, calls = sum(one[1] for one in found), sum(one[2] for one in found)
    failing = [number for number, one in enumerate(found, seed) if one[0]]
    planted = [
        run_seed(number, Subject(step=_loses_ends)) for number in range(seed, seed + CONTROL_SEEDS)
    ]
    return [
        Result(
            figure="chaos_violations",
            value=violations,
            unit="violations",
            bound=0.0,
            detail=f"{seeds} seeds, {events:,} events, {calls:,} calls answered; failing: {failing[:5] or 0}",
            exercised=events,
            control=float(sum(len(outcome.violations) for outcome in planted)),
        )
    ]


def _one(seed: int) -> tuple[int, int, int]:
    outcome = run_seed(seed)
    return len(outcome.violations), outcome.events, outcome.calls


def _loses_ends(state: DispatchState, event: Event, now_ns: int) -> tuple[Effect, ...]:
    if isinstance(event, CallEnded) and event.call % 5 == 0:
        return ()
    return step(state, event, now_ns)
