"""How good are the planner's decisions? Rows in virtual time, beside other policies and what nobody could beat.

`make bench-policy [ONLY=row,row] [SEEDS=n]`: one JSON line a figure, and a table on stderr. SEEDS is for rows of many
seeds.
"""

import argparse
import importlib
import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from policy.result import Result
from policy.table import table
from report import PRINTED, TARGETS, beside, figure, note

BENCH = "policy"
SEED = 1
LIMIT_S = 180  # thrice what a row may take: a machine under load must not lose the figure; for each 1,000 seeds
BUDGET_S = 60


@dataclass(frozen=True)
class Row:
    """A module of the package `policy`, and the figures with a target that it owes."""

    module: str
    figures: tuple[str, ...] = ()


ROWS = {
    "burst-code": Row("burst_code", ("burst_code_gpu_h_ratio_kpa", "burst_code_slo")),
    "no-overscale": Row("no_overscale", ("no_overscale_ratio",)),
    "oscillation": Row("oscillation", ("oscillation_ops_h",)),
    "keepalive": Row("keepalive", ("keepalive_gpu_h_ratio_histogram", "keepalive_full_cold")),
    "break-even": Row("break_even", ("break_even_worst_ratio",)),
    "spot-avail": Row("spot_avail", ("spot_notice_availability", "spot_cost_ratio_bound")),
    "spot-nonotice": Row("spot_nonotice", ("spot_no_notice_cost_ratio_hedge",)),
    "zone-loss": Row("zone_loss", ("zone_loss_critical_misses",)),
    "priority": Row("priority"),
    "deadline": Row("deadline", ("deadline_goodput_ratio_edf",)),
    "lb-hetero": Row("lb_hetero", ("lb_hetero_p99_ratio_p2c",)),
    "packing": Row("packing", ("packing_miss_ratio_gdsf",)),
    "cost-e2e": Row("cost_e2e", ("fleet_cost_ratio_always_on",)),
    "planner-scale": Row("planner_scale", ("planner_p99_ms",)),
    "parity": Row("parity"),
    "determinism": Row("determinism", ("digest_mismatches",)),
    "chaos": Row("chaos", ("chaos_violations",)),
    "cold-queue": Row("cold_queue"),
}


class TooLongError(Exception):
    """A row took more than `LIMIT_S`."""


def take(name: str, seeds: int | None) -> list[dict[str, Any]]:
    """Run a row and print its figures; those it could not measure are printed with the reason."""
    row, begun = ROWS[name], time.monotonic()
    note(name)
    reason = "the row does not print it"
    results: list[Result] = []
    try:
        with _limited(LIMIT_S * max(1, (seeds or 0) // 1000)):
            results = _run(importlib.import_module(f"policy.{row.module}"), seeds)
    except Exception as error:  # one row must not cost the others; the figure says why
        reason = f"{type(error).__name__}: {str(error)[-600:]}"
        note(reason)
    took_s = time.monotonic() - begun
    for result in results:
        _print(name, result, took_s)
    missing = [one for one in row.figures if (BENCH, one) not in PRINTED]
    for one in missing:
        figure(BENCH, one, None, unit="", n=0, reason=reason, row=name)
    told = f"{name}: {took_s:.1f} s" + (" – more than a row may take" if took_s > BUDGET_S else "")
    note(told)
    results += [Result(figure=one, value=float("nan"), unit="") for one in missing]
    return [{"row": name, "took_s": took_s, **asdict(result)} for result in results]


def _run(module: Any, seeds: int | None) -> list[Result]:
    run: Callable[..., list[Result]] = module.run
    if seeds is not None and "seeds" in inspect.signature(run).parameters:
        return run(SEED, seeds)
    return run(SEED)


def _print(row: str, result: Result, took_s: float) -> None:
    more = {
        "row": row,
        "bound": result.bound,
        "peers": {name: round(value, 4) for name, value in result.peers.items()},
        "detail": result.detail,
        "row_s": round(took_s, 1),
    }
    if result.exercised is not None:
        more |= {"exercised": result.exercised, "control": result.control}
    if result.figure in TARGETS[BENCH]:
        figure(BENCH, result.figure, result.value, unit=result.unit, n=1, **more)
    else:
        wanted = {"at_most": result.at_most, "at_least": result.at_least}
        more |= {name: value for name, value in wanted.items() if value is not None}
        beside(BENCH, result.figure, result.value, unit=result.unit, n=1, **more)


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLongError(f"stopped after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    """Measure and print every figure, or those of the rows asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=os.environ.get("ONLY", ""), help=", ".join(ROWS))
    parser.add_argument("--seeds", type=int, default=int(os.environ.get("SEEDS") or 0) or None)
    asked = parser.parse_args()
    names = [name.strip() for name in asked.only.split(",") if name.strip()] or list(ROWS)
    for name in names:
        if name not in ROWS:
            parser.error(f"no row {name!r}; there are {', '.join(ROWS)}")
    begun = time.monotonic()
    found = [one for name in names for one in take(name, asked.seeds)]
    sys.stderr.write(table(found, TARGETS[BENCH]) + "\n")
    note(f"{time.monotonic() - begun:.0f} s together")


if __name__ == "__main__":
    main()
