"""How good is the data plane? Echo, bodies, streams, batches and overload, side by side with other servers."""

import argparse
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dataplane import row_batch, row_bodies, row_echo, row_overload
from dataplane.rounds import BENCH, Bench
from dataplane.table import table
from report import PRINTED, figure, note

ROUNDS = 5
SECONDS = 2.0


@dataclass(frozen=True)
class Row:
    """Figures that are taken together."""

    take: Callable[[Bench], None]
    figures: tuple[tuple[str, str], ...]  # name, unit


def _ratios(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, "ratio") for name in names)


ROWS = {
    "echo": Row(row_echo.echo, _ratios("echo_cpu_ratio_mosec", "echo_cpu_ratio_prototype")),
    "open": Row(
        row_echo.open_rate, _ratios("open_200_p50_ratio_mosec", "open_200_p99_ratio_mosec")
    ),
    "throughput": Row(
        row_echo.throughput,
        _ratios("throughput_ratio_mosec", "throughput_ratio_litserve", "throughput_ratio_bentoml"),
    ),
    "hop": Row(row_overload.hop, (("tensor_1mib_hop_cpu_ms", "ms"),)),
    "http": Row(row_bodies.http, _ratios("http_1mib_ratio_starlette")),
    "stream": Row(row_bodies.stream, _ratios("stream_ratio_mosec", "stream_ratio_starlette")),
    "batch": Row(
        row_batch.batch,
        (
            *_ratios("batch_throughput_ratio_mosec", "batch_p99_ratio_mosec"),
            ("p50_over_bare_at_5pct_ms", "ms"),
        ),
    ),
    "goodput": Row(row_batch.goodput, (("goodput_at_1_5x", "share"),)),
    "mixed": Row(row_batch.mixed, _ratios("mixed_length_load_ratio_fifo")),
    "overload": Row(
        row_overload.overload,
        (
            ("overload_critical_p99_ratio", "ratio"),
            ("overload_jain", "index"),
            ("overload_batch_share", "share"),
        ),
    ),
    "herd": Row(row_overload.herd, _ratios("cold_herd_warm_p99_ratio")),
    "dispatch": Row(row_overload.dispatch, (("dispatch_p99_us", "us"),)),
}


def take(name: str, bench: Bench) -> None:
    """Take a row; figures that it could not measure are printed with the reason."""
    note(name)
    row = ROWS[name]
    try:
        row.take(bench)
    except (
        Exception,
        SystemExit,
    ) as error:  # one row must not cost the others; the figure says why
        reason = f"{type(error).__name__}: {str(error)[-600:]}"
        note(reason)
        for figure_name, unit in row.figures:
            if (BENCH, figure_name) not in PRINTED:
                figure(BENCH, figure_name, None, unit=unit, n=0, reason=reason)


def main() -> None:
    """Measure and print every figure, or those of the rows asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=os.environ.get("ONLY", ""), help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--table", type=Path, help="print a file of lines as a table instead")
    asked = parser.parse_args()
    if asked.table:
        print(table(asked.table))
        return
    names = [name.strip() for name in asked.only.split(",") if name.strip()] or list(ROWS)
    for name in names:
        if name not in ROWS:
            parser.error(f"no row {name!r}; there are {', '.join(ROWS)}")
    with ExitStack() as stack:
        bench = Bench(asked.rounds, asked.seconds, stack)
        for name in names:
            take(name, bench)


if __name__ == "__main__":
    main()
