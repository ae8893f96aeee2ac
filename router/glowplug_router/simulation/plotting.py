"""How does a comparison look? Arrivals, replicas and the queue over time, one colour a setup."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.errors import ConfigError
from glowplug_router.simulation.replay import Outcome

DAY = 24 * HOUR
SUFFIXES = (".png", ".svg", ".pdf")
COLOURS = ("#56b4e9", "#d55e00")  # Okabe and Ito's sky blue and vermilion: told apart by everybody
WIDTHS = (2.8, 1.1)  # the first one is seen behind the second where both are equal
INK = "#444444"


def checked(path: Path) -> Path:
    """Return where a plot can go.

    Raises:
        ConfigError: The suffix says nothing, the folder is not there, or matplotlib is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"--plot {path}: a plot ends in {', '.join(SUFFIXES)}", hint=f"--plot {path.stem}.png"
        )
    if not path.absolute().parent.is_dir():
        raise ConfigError(
            f"--plot {path}: there is no folder {path.parent}", hint=f"mkdir -p {path.parent}"
        )
    try:
        import_module("matplotlib")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "--plot needs matplotlib, which is not installed",
            hint="pip install 'glowplug[simulate]'",
        ) from error
    return path


def plot(path: Path, title: str, runs: Sequence[tuple[str, Outcome]]) -> None:
    """Draw runs of the same traffic, one above the other where they share nothing, into a file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.5), layout="constrained")
    arrivals, replicas, queue, waits = figure.subplots(4, 1, sharex=True)
    unit_ns, unit = _unit(max(outcome.span_ns for _, outcome in runs))
    for (name, outcome), colour, width in zip(runs, COLOURS, WIDTHS, strict=False):
        bucket_ns, buckets = outcome.timeline.bucket_ns, outcome.timeline.buckets
        at = [number * bucket_ns / unit_ns for number in range(len(buckets))]
        held = [(bucket.ready_ns + bucket.starting_ns) / bucket_ns for bucket in buckets]
        ready = [bucket.ready_ns / bucket_ns for bucket in buckets]
        replicas.step(at, held, where="post", color=colour, label=name, linewidth=width)
        replicas.fill_between(at, ready, step="post", color=colour, alpha=0.15, linewidth=0)
        queue.step(at, [b.queued_max for b in buckets], where="post", color=colour, linewidth=width)
        longest = [bucket.wait_max_ns / SECOND for bucket in buckets]
        waits.step(at, longest, where="post", color=colour, linewidth=width)
    outcome = runs[0][1]
    bucket_ns, buckets = outcome.timeline.bucket_ns, outcome.timeline.buckets
    at = [number * bucket_ns / unit_ns for number in range(len(buckets))]
    rates = [bucket.arrivals * SECOND / bucket_ns for bucket in buckets]
    arrivals.fill_between(at, rates, step="post", color=INK, alpha=0.6, linewidth=0)
    labels = ("calls a second", "replicas\n(filled: ready)", "calls waiting", "longest wait, s")
    for axes, label in zip((arrivals, replicas, queue, waits), labels, strict=True):
        axes.set_ylabel(label, color=INK)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    waits.set_xlabel(unit, color=INK)
    waits.set_xlim(left=0, right=max(outcome.span_ns for _, outcome in runs) / unit_ns)
    arrivals.set_title(title, loc="left", fontsize=11)
    _name(replicas)
    figure.savefig(path, dpi=130, metadata=_metadata(path))


def _name(replicas: Any) -> None:
    """Say which line is which, above the axes: within them it would hide the end of the lines."""
    replicas.yaxis.get_major_locator().set_params(integer=True)
    replicas.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, ncols=2, fontsize=9)


def _metadata(path: Path) -> dict[str, str | None]:
    """Return what keeps the same plot the same file: no date in it."""
    return {"Date": None} if path.suffix == ".svg" else {}


def _unit(span_ns: int) -> tuple[int, str]:
    for unit_ns, unit in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if span_ns >= 3 * unit_ns:
            return unit_ns, unit
    return SECOND, "seconds"
