"""What would another scale have done to this traffic? Replayed on this machine, with no router running."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from msgspec import structs

from glowplug.clock import HOUR, SECOND
from glowplug.commands.inputs import duration
from glowplug.commands.output import Output, verb
from glowplug.errors import ConfigError
from glowplug.spec import Policy
from glowplug.suggest import near
from glowplug_router.simulation import plotting, recorded
from glowplug_router.simulation.comparing import PERCENTILES, Setup, Summary, replayed, summary
from glowplug_router.simulation.replay import Outcome, Request, StartTime
from glowplug_router.simulation.traces import presets
from glowplug_router.simulation.traces.formats import CALLS_MAX, NAMES, load
from glowplug_router.simulation.traces.models import Reading

COUNTS = {"min": "min", "max": "max", "buffer": "buffer", "hold": "hold"}
TIMES = {"up_after": "up_after_ns", "down_after": "down_after_ns", "zero_after": "zero_after_ns"}
KEYS = (*COUNTS, *TIMES, "target", "concurrency", "cold_start", "price")
SHOWN_MAX = 5  # endpoints named in an error


@click.command()
@click.argument("trace")
@click.option(
    "--format",
    "format",
    type=click.Choice(NAMES),
    metavar="NAME",
    help=f"What TRACE is; seen from its first line otherwise: {', '.join(NAMES)}.",
)
@click.option("--endpoint", metavar="NAME", help="Only the calls of this one.")
@click.option("--min", default="0", metavar="N", help="Replicas kept whatever the demand.")
@click.option("--max", default="4", show_default=True, metavar="N", help="Replicas at most.")
@click.option("--buffer", metavar="N", help="Ready replicas kept free above the load.")
@click.option("--hold", metavar="N", help="Calls that may wait while none is ready.")
@click.option("--target", metavar="N", help="Calls one should carry at once.")
@click.option("--up-after", metavar="TIME", help="Time a load must last before one is added.")
@click.option("--down-after", metavar="TIME", help="Time fewer must suffice before one ends.")
@click.option("--zero-after", metavar="TIME", help="Idle time until the last one ends: 5m, 30s.")
@click.option("--concurrency", default="1", metavar="N", help="Calls a replica runs at once.")
@click.option(
    "--cold-start",
    default="60s",
    show_default=True,
    metavar="TIME[..TIME]",
    help="Median, and 90th percentile.",
)
@click.option("--price", metavar="USD", help="Of a GPU for an hour.")
@click.option(
    "--service", default="1s", metavar="TIME", help="Of a call, where TRACE does not say."
)
@click.option("--speed-up", default=1.0, metavar="X", help="Calls come so many times as fast.")
@click.option(
    "--within", default="10s", show_default=True, metavar="TIME", help="A wait that is in time."
)
@click.option("--limit", default=CALLS_MAX, show_default=True, help="Calls at most.")
@click.option("--seed", default=0, help="Of what is drawn.")
@click.option(
    "--against", metavar="KEY=VALUE,…", help="What to change, and compare: min=1,zero_after=10m."
)
@click.option(
    "--plans", is_flag=True, help="TRACE is what `up --record` wrote: plan it again and compare."
)
@click.option("--plot", "plot", metavar="FILE", help="Draw both: .png, .svg or .pdf.")
@verb
def simulate(out: Output, trace: str, **options: Any) -> None:
    """Replay the calls of TRACE under a scale, and with --against under a changed one beside it.

    TRACE is a file (CSV or JSONL, .gz or not) or one of synthetic:bursts, synthetic:constant, synthetic:diurnal,
    synthetic:step, synthetic:gentd26-like. The planner and the dispatcher are those of `glowplug up`, in virtual time.
    """
    if options["plans"]:
        _plan_again(out, Path(trace))
        return
    target = plotting.checked(Path(options["plot"])) if options["plot"] else None
    within_ns = duration(options["within"], "--within")
    setups = _setups(options)
    traffic = _traffic(trace, options)
    out.note(f"replaying {len(traffic):,} calls of {Path(trace).name}")
    runs = [(setup, replayed(setup, traffic, options["seed"])) for setup in setups]
    rows = [summary(setup, outcome, within_ns) for setup, outcome in runs]
    head = _head(trace, traffic, runs[0][1], setups[0])
    if target is not None:
        plotting.plot(target, head, [(setup.name, outcome) for setup, outcome in runs])
    _show(out, head, rows, options["within"])
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


def _setups(options: dict[str, Any]) -> list[Setup]:
    given = {key: options[key] for key in KEYS if options[key] is not None}
    first = _setup(given, "--")
    if options["against"] is None:
        return [first]
    changes = _changes(options["against"])
    second = _setup(given | changes, "--against ")
    words = ", ".join(f"{key}={value}" for key, value in changes.items())
    return [replace(first, name="as given"), replace(second, name=words)]


def _changes(text: str) -> dict[str, str]:
    changes: dict[str, str] = {}
    for word in text.split(","):
        key, equals, value = (part.strip() for part in word.partition("="))
        key = key.replace("-", "_")
        if not equals or not value or key not in KEYS:
            meant = [f"{name}=…" for name in near(key, KEYS, cutoff=0.5)] or [
                f"{name}=…" for name in KEYS
            ]
            raise ConfigError(
                f"--against: {word.strip()!r} is not KEY=VALUE with a key that is known",
                hint=f"for example --against min=1,zero_after=10m; keys: {', '.join(meant)}",
            )
        changes[key] = value
    return changes


def _setup(given: dict[str, str], prefix: str) -> Setup:
    fields: dict[str, Any] = {
        field: _whole(given[key], _what(prefix, key))
        for key, field in COUNTS.items()
        if key in given
    }
    for key, field in TIMES.items():
        if key in given:
            fields[field] = duration(given[key], _what(prefix, key))
    if "target" in given:
        fields["target_concurrency"] = _number(given["target"], f"{prefix}target")
    policy = Policy(**fields)
    if policy.min > policy.max or policy.max < 1:
        raise ConfigError(
            f"min {policy.min}, max {policy.max}: nothing could serve that",
            hint="min is at most max, and max at least 1",
        )
    concurrency = _whole(given["concurrency"], f"{prefix}concurrency")
    if concurrency < 1:
        raise ConfigError(f"{prefix}concurrency {concurrency} runs nothing", hint="at least 1")
    price = _number(given["price"], f"{prefix}price") if "price" in given else 0.0
    return Setup(
        name="as given",
        policy=policy,
        concurrency=concurrency,
        start=_start(given["cold_start"], _what(prefix, "cold_start")),
        price_micro_usd=round(price * 1e6),
    )


def _what(prefix: str, key: str) -> str:
    """Return how a setting was written: as an option, or as a key of --against."""
    return prefix + (key.replace("_", "-") if prefix == "--" else key)


def _start(text: str, what: str) -> StartTime:
    median, _, ninth = text.partition("..")
    return StartTime(duration(median, what), duration(ninth, what) if ninth else 0)


def _whole(text: str, what: str) -> int:
    number = _number(text, what)
    if number != int(number):
        raise ConfigError(f"{what} {text!r} is no whole number", hint=f"for example {what} 2")
    return int(number)


def _number(text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9:
        raise ConfigError(f"{what} {text!r} is no number from 0 on", hint=f"for example {what} 2")
    return number


def _traffic(trace: str, options: dict[str, Any]) -> tuple[Request, ...]:
    speed_up = options["speed_up"]
    if not 0 < speed_up < 1e6:
        raise ConfigError(f"--speed-up {speed_up} is not above 0", hint="for example --speed-up 2")
    if trace.startswith(presets.PREFIX):
        traffic = presets.made(trace, options["seed"])[: options["limit"]]
    else:
        reading = Reading(
            service_ns=duration(options["service"], "--service"), seed=options["seed"]
        )
        traffic = load(Path(trace), options["format"] or "", reading, options["limit"])
    wanted = options["endpoint"]
    chosen = [request for request in traffic if wanted in (None, request.endpoint)]
    if not chosen:
        counted = Counter(request.endpoint for request in traffic).most_common(SHOWN_MAX)
        raise ConfigError(
            f"no call of {trace} goes to {wanted}",
            hint="most go to " + ", ".join(f"{name} ({count:,})" for name, count in counted),
        )
    if speed_up == 1:
        return tuple(chosen)
    return tuple(structs.replace(one, at_ns=int(one.at_ns / speed_up)) for one in chosen)


# -- what came of it


def _head(trace: str, traffic: Sequence[Request], outcome: Outcome, setup: Setup) -> str:
    span_ns = max(traffic[-1].at_ns, 1)
    packed = outcome.busy_ns / setup.concurrency / HOUR
    endpoints = len({request.endpoint for request in traffic})
    many = f" of {endpoints} endpoints" if endpoints > 1 else ""
    return (
        f"{Path(trace).name}: {len(traffic):,} calls{many} in {span_ns / HOUR:.2f} h,"
        f" {len(traffic) * SECOND / span_ns:.2f} a second; {packed:.2f} GPU-hours if packed without gaps"
    )


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
        ("GPU-hours", [row.gpu_hours for row in rows], ",.2f"),
        ("dollars", [row.dollars for row in rows], ",.2f"),
        ("replicas started", [row.starts for row in rows], ",.0f"),
    ]
    return [
        (label, _cells(values, form))
        for label, values, form in figures
        if label != "dollars" or any(value is not None for value in values)
    ]


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
