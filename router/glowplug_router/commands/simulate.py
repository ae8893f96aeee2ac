"""What would another scale have done to this traffic? Replayed on this machine, with no router running."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from msgspec import structs

from glowplug.clock import HOUR, SECOND, SystemClock
from glowplug.commands.inputs import duration
from glowplug.commands.output import Output, verb
from glowplug.errors import ConfigError
from glowplug_router.commands.replaying import ReplayBar
from glowplug_router.recording import FILE
from glowplug_router.simulation import plotting, recorded
from glowplug_router.simulation.asking import KEYS, setups
from glowplug_router.simulation.comparing import (
    PERCENTILES,
    Setup,
    Summary,
    packed_ns,
    replayed,
    summary,
)
from glowplug_router.simulation.replay import Outcome, Request
from glowplug_router.simulation.traces import presets
from glowplug_router.simulation.traces.folder import Recording, recording
from glowplug_router.simulation.traces.formats import CALLS_MAX, NAMES, load
from glowplug_router.simulation.traces.models import Reading

SPEED_MAX = 1e6
# Shown where somebody knows them.
OPTIONAL = ("calls in a batch", "dollars", "machines launched", "machines reclaimed")
REFUSED_MAX = 0.05  # share of all calls; above it, percentiles of waits say little
SHOWN_MAX = 5  # endpoints named in an error


@click.command()
@click.argument("trace", required=False)
@click.option(
    "--from",
    "folder",
    metavar="DIR",
    help="What `up --record DIR` wrote, under the scale that it met; options change that.",
)
@click.option(
    "--format",
    "format",
    type=click.Choice(NAMES),
    metavar="NAME",
    help=f"What TRACE is; seen from its first line otherwise: {', '.join(NAMES)}.",
)
@click.option("--endpoint", metavar="NAME", help="Only the calls of this one.")
@click.option("--min", metavar="N", help="Replicas kept whatever the demand; 0 unless said.")
@click.option("--max", metavar="N", help="Replicas at most; 4 unless said.")
@click.option("--buffer", metavar="N", help="Ready replicas kept free above the load.")
@click.option("--hold", metavar="N", help="Calls that may wait while none is ready; 100.")
@click.option("--target", metavar="N", help="Calls one should carry at once.")
@click.option("--up-after", metavar="TIME", help="Time a load must last before one is added.")
@click.option("--down-after", metavar="TIME", help="Time fewer must suffice before one ends.")
@click.option("--zero-after", metavar="TIME", help="Idle time until the last one ends: 5m, auto.")
@click.option("--concurrency", metavar="N", help="Calls a replica runs at once; 1 unless said.")
@click.option("--batch", metavar="N", help="Calls a replica runs together at most.")
@click.option("--batch-wait", metavar="TIME", help="Time a batch that is not full may be held.")
@click.option(
    "--batch-cost",
    metavar="TIME+TIME",
    help="What a batch takes, and each call in it: 20ms+2ms; +TIME for each unit of size.",
)
@click.option(
    "--cold-start",
    metavar="TIME[..TIME]",
    help="Median, and 90th percentile; 60s unless said.",
)
@click.option("--price", metavar="USD", help="Of a GPU for an hour, on demand.")
@click.option(
    "--capacity",
    metavar="MARKET",
    help="Machines are lent: on_demand, spot or spot_first; simply there unless said.",
)
@click.option("--spot-price", metavar="USD", help="Of a GPU for an hour; a third of --price.")
@click.option("--launch", metavar="TIME[..TIME]", help="Of a machine: 60s..90s unless said.")
@click.option("--price-cap", metavar="USD", help="An hour of a machine may cost at most.")
@click.option("--budget", metavar="USD", help="A month of machines may cost.")
@click.option(
    "--degrade",
    metavar="HOW",
    help="What gives way to the budget: cap, spot_only, stop_batch; only a warning unless said.",
)
@click.option(
    "--service", default="1s", metavar="TIME", help="Of a call, where TRACE does not say."
)
@click.option("--speed-up", default=1.0, metavar="X", help="Calls come so many times as fast.")
@click.option(
    "--within", default="10s", show_default=True, metavar="TIME", help="A wait that is in time."
)
@click.option(
    "--limit",
    default=CALLS_MAX,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="Calls at most.",
)
@click.option("--seed", default=0, help="Of what is drawn.")
@click.option(
    "--against", metavar="KEY=VALUE,…", help="What to change, and compare: min=1,zero_after=10m."
)
@click.option(
    "--plans", is_flag=True, help="TRACE is what `up --record` wrote: plan it again and compare."
)
@click.option("--plot", "plot", metavar="FILE", help="Draw both: .png, .svg or .pdf.")
@verb
def simulate(out: Output, trace: str | None, folder: str | None, **options: Any) -> None:
    """Replay the calls of TRACE under a scale, and with --against under a changed one beside it.

    TRACE is a file (CSV or JSONL, .gz or not) or one of synthetic:bursts, synthetic:constant, synthetic:diurnal,
    synthetic:step, synthetic:gentd26-like; with --from it is your own traffic. The planner, the dispatcher and the
    batcher are those of `glowplug up`, in virtual time.
    """
    trace = _named(trace, folder, options["format"])
    if options["plans"]:
        _plan_again(out, Path(trace) / FILE if folder else Path(trace))
        return
    target = plotting.checked(Path(options["plot"])) if options["plot"] else None
    within_ns = duration(options["within"], "--within")
    kept = _recording(out, trace, options) if folder else None
    given = {key: options[key] for key in KEYS if options[key] is not None}
    # Before a long trace is read, so that a slip is told at once.
    found = setups(given, options["against"], kept)
    traffic = kept.traffic if kept else _chosen(trace, _read(trace, options), options)
    out.note(f"replaying {len(traffic):,} calls of {Path(trace).name}")
    bar = ReplayBar(out, SystemClock(), len(found) * len(traffic))
    runs = [(setup, replayed(setup, traffic, options["seed"], over=bar.over)) for setup in found]
    bar.end()
    rows = [summary(setup, outcome, within_ns) for setup, outcome in runs]
    head = _head(trace, traffic, *runs[0])
    if target is not None:
        plotting.plot(target, head, [(setup.name, outcome) for setup, outcome in runs])
    _show(out, head, rows, options["within"])
    for row in rows:
        if row.refused > REFUSED_MAX * row.calls:
            out.note(
                f"{row.name}: {row.refused:,} of {row.calls:,} calls found no room and were refused; more can wait with"
                " --hold, and more can run with --max or --concurrency"
            )
    if target is not None:
        out.say(f"plot: {target}")
    out.result(_result(trace, rows, runs, target))


def _plan_again(out: Output, path: Path) -> None:
    """Plan a recording again; end with 1 where a plan comes out otherwise."""
    found = recorded.replayed(path)
    out.say(f"{path.name}: {found.plans:,} plans with {found.actions:,} actions planned again")
    for one in found.differences:
        out.say(f"  line {one.line} at {one.now_ns / SECOND:.3f} s came out otherwise")
    out.say(f"{found.mismatches:,} differ")
    out.result(asdict(found))
    if found.mismatches:
        sys.exit(1)


# -- what was asked for


def _named(trace: str | None, folder: str | None, form: str | None) -> str:
    """Return what is replayed: exactly one of a trace and a folder."""
    if trace is None and folder is None:
        raise ConfigError(
            "there is nothing to replay",
            hint="`glowplug simulate calls.jsonl`, `glowplug simulate synthetic:bursts`, or --from DIR with what "
            "`glowplug up --record DIR` wrote",
        )
    if trace is not None and folder is not None:
        raise ConfigError(
            f"{trace} and --from {folder}: both are traffic", hint="leave one of them out"
        )
    if trace is not None and Path(trace).is_dir():
        raise ConfigError(f"{trace} is a folder", hint=f"`glowplug simulate --from {trace}`")
    name = trace or folder or ""
    if form is not None and (folder is not None or name.startswith(presets.PREFIX)):
        raise ConfigError(f"--format {form}: {name} is no file", hint="leave --format out")
    return name


def _recording(out: Output, folder: str, options: dict[str, Any]) -> Recording:
    kept = recording(Path(folder), _reading(options), options["limit"])
    if kept.dropped:
        out.note(f"{kept.dropped:,} calls came too fast to be recorded: these figures are too good")
    return replace(kept, traffic=_chosen(folder, kept.traffic, options))


def _reading(options: dict[str, Any]) -> Reading:
    return Reading(service_ns=duration(options["service"], "--service"), seed=options["seed"])


def _read(trace: str, options: dict[str, Any]) -> tuple[Request, ...]:
    if trace.startswith(presets.PREFIX):
        return presets.made(trace, options["seed"])[: options["limit"]]
    return load(Path(trace), options["format"] or "", _reading(options), options["limit"])


def _chosen(trace: str, traffic: Sequence[Request], options: dict[str, Any]) -> tuple[Request, ...]:
    speed_up, wanted = options["speed_up"], options["endpoint"]
    if not 0 < speed_up < SPEED_MAX:
        raise ConfigError(f"--speed-up {speed_up} is not above 0", hint="for example --speed-up 2")
    chosen = [request for request in traffic if wanted in (None, request.endpoint)]
    if not chosen:
        counted = Counter(request.endpoint for request in traffic).most_common(SHOWN_MAX)
        raise ConfigError(
            f"no call of {trace} goes to {wanted}",
            hint="most go to " + ", ".join(f"{name} ({count:,})" for name, count in counted),
        )
    first_ns = chosen[0].at_ns
    if speed_up == 1 and not first_ns:
        return tuple(chosen)
    return tuple(
        structs.replace(one, at_ns=int((one.at_ns - first_ns) / speed_up)) for one in chosen
    )


# -- what came of it


def _head(trace: str, traffic: Sequence[Request], setup: Setup, outcome: Outcome) -> str:
    span_ns = max(traffic[-1].at_ns, 1)
    packed = packed_ns(setup, outcome) / HOUR
    form = _hours([packed])
    endpoints = len({request.endpoint for request in traffic})
    many = f" of {endpoints} endpoints" if endpoints > 1 else ""
    return (
        f"{Path(trace).name}: {len(traffic):,} calls{many} in {_span(span_ns)},"
        f" {len(traffic) * SECOND / span_ns:.2f} a second; {packed:{form}} GPU-hours if packed without gaps"
    )


def _span(span_ns: int) -> str:
    return f"{span_ns / HOUR:.2f} h" if span_ns >= HOUR // 4 else f"{span_ns / SECOND:,.1f} s"


def _show(out: Output, head: str, rows: Sequence[Summary], within: str) -> None:
    out.say(head)
    out.say()
    lines = [[label, *cells] for label, cells in _lines(rows, within)]
    out.table(("", *(row.name for row in rows), *(["change"] if len(rows) > 1 else [])), lines)


def _lines(rows: Sequence[Summary], within: str) -> list[tuple[str, list[str]]]:
    figures: list[tuple[str, list[float | None], str]] = [
        ("calls that found none ready", [row.cold for row in rows], ",.0f"),
        *(
            (f"wait, {permille / 10:g} %", [_seconds(row.waits_ns[at]) for row in rows], ",.2f s")
            for at, permille in enumerate(PERCENTILES)
        ),
        (f"began within {within}", [100 * row.share_in_time for row in rows], ".2f %"),
        ("refused", [row.refused for row in rows], ",.0f"),
        ("lost", [row.lost for row in rows], ",.0f"),
        ("calls in a batch", [row.batch for row in rows], ",.1f"),
        ("GPU-hours", [row.gpu_hours for row in rows], _hours([row.gpu_hours for row in rows])),
        ("dollars", [row.dollars for row in rows], _hours([row.dollars or 0 for row in rows])),
        ("replicas started", [row.starts for row in rows], ",.0f"),
        ("machines launched", [row.launched for row in rows], ",.0f"),
        ("machines reclaimed", [row.reclaimed for row in rows], ",.0f"),
    ]
    return [
        (label, _cells(values, form))
        for label, values, form in figures
        if label not in OPTIONAL or any(value is not None for value in values)
    ]


def _hours(values: Sequence[float]) -> str:
    """Return how hours or dollars are written: a quarter of an hour of traffic has few of them."""
    return ",.2f" if max(values) >= 1 else ",.4f"


def _seconds(wait_ns: int | None) -> float | None:
    return None if wait_ns is None else wait_ns / SECOND


def _cells(values: Sequence[float | None], form: str) -> list[str]:
    form, _, unit = form.partition(" ")
    unit = f" {unit}" if unit else ""
    cells = ["never" if value is None else f"{value:{form}}{unit}" for value in values]
    if len(values) > 1:
        first, second = values
        known = first is not None and second is not None
        by = " points" if unit == " %" else unit
        cells.append(f"{second - first:+{form}}{by}" if known else "")  # type: ignore[operator]  # both are known
    return cells


def _result(
    trace: str, rows: Sequence[Summary], runs: Sequence[tuple[Setup, Outcome]], plot: Path | None
) -> dict[str, Any]:
    result: dict[str, Any] = {"trace": trace, "runs": []}
    for row, (_, outcome) in zip(rows, runs, strict=True):
        broken = [f"{found.invariant}: {found.text}" for found in outcome.violations]
        extra = {"digest": outcome.digest, "span_s": outcome.span_ns / SECOND, "violations": broken}
        result["runs"].append(row.record() | extra)
    if len(rows) > 1:
        one, other = (row.record() for row in rows)
        result["change"] = {
            key: other[key] - value
            for key, value in one.items()
            if isinstance(value, int | float) and isinstance(other[key], int | float)
        }
    if plot is not None:
        result["plot"] = str(plot)
    return result
