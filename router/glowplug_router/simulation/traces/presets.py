"""Which traffic can be named instead of a file? `synthetic:NAME`, each of one size, so that two runs compare."""

from collections.abc import Callable, Iterable
from random import Random

from glowplug.clock import HOUR, MINUTE
from glowplug_router.simulation.replay.scene import Request
from glowplug_router.simulation.traces import synthetic
from glowplug_router.simulation.traces.reading import TraceError

PREFIX = "synthetic:"
# Sizes are round on purpose: they stand for nothing measured, but for gentd26-like (router.md §3).
PRESETS: dict[str, Callable[[Random], Iterable[Request]]] = {
    # Five calls a second for two minutes on average, nothing for eight; four hours.
    "bursts": lambda random: synthetic.on_off(random, 5.0, 2 * MINUTE, 8 * MINUTE, 4 * HOUR),
    # Two calls a second; two hours.
    "constant": lambda random: synthetic.constant(random, 2.0, 2 * HOUR),
    # One call a second on average, 1.8 at noon and 0.2 at midnight; two days.
    "diurnal": lambda random: synthetic.diurnal(random, 1.0, 0.8, 48 * HOUR),
    # Nothing for ten minutes, then twenty calls a second; half an hour.
    "step": lambda random: synthetic.step(random, 20.0, 10 * MINUTE, 30 * MINUTE),
    # 86 models, most of them rare; 23 days.
    "gentd26-like": synthetic.gentd26_like,
}


def made(name: str, seed: int) -> tuple[Request, ...]:
    """Return the calls of `synthetic:NAME`.

    Raises:
        TraceError: There is no such name.
    """
    make = PRESETS.get(name.removeprefix(PREFIX))
    if make is None:
        raise TraceError(
            f"there is no traffic {name}", hint=", ".join(f"{PREFIX}{known}" for known in PRESETS)
        )
    return tuple(make(Random(seed)))
