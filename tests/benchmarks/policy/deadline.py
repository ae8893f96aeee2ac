"""How many calls end by their deadlines when there are too many? Beside orders that know what we do not.

1.1, 1.3 and 1.5 times what 16 one-call replicas can do, for two minutes; log-normal service, mean 0.4 s; a quarter each
of deadlines 0.8, 1.5, 4 and 10 s after arrival. "EDF" is told each call's length beforehand, drops who cannot make it,
and never errs; our dispatcher learns a distribution. Whoever runs past a deadline is cut off, but for plain FIFO.

The figure is of run times that vary little (CV 0.1, a model of fixed shape: an assumption); there the order decides.
With CV 0.5 (lengths of text) EDF gains most by dropping the longest, which nobody can who does not know lengths. What
is then the most (`most_without_lengths`: Wald's identity, no deadlines at all) is the bound there; at 1.5 times the
load it is less than 0.95 of EDF, so that target is for run times that vary little.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp, log, sqrt
from random import Random

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.plan import plan
from glowplug_router.simulation.replay import Request, StartTime, replay
from glowplug_router.simulation.replay.meters import DONE
from policy.baselines.queueing import (
    Drops,
    Order,
    Work,
    earliest_deadline,
    fifo,
    most_on_time,
    most_without_lengths,
    serve,
)
from policy.result import Result
from policy.scenes import ENDPOINT, OURS, endpoint, scene

NAME = "deadline"
LOADS = (1.1, 1.3, 1.5)
SLOTS = 16
MEAN_S = 0.4
CVS = (0.1, 0.5)
DEADLINES_S = (0.8, 1.5, 4.0, 10.0)
SPAN_S = 120
BEGIN_S = 5  # replicas are ready before
EDF = "edf, lengths known"
UNKNOWN = "bound, lengths unknown"
OTHERS: dict[str, tuple[Order, Drops]] = {
    EDF: (earliest_deadline, "hopeless"),
    "edf": (earliest_deadline, "expired"),
    "fifo, drops expired": (fifo, "expired"),
    "fifo": (fifo, "never"),
}


@dataclass(frozen=True, slots=True)
class Done:
    """What was done by its deadline: calls, and the device time of these."""

    calls: float
    seconds: float


def run(seed: int) -> list[Result]:
    """Return the calls done by their deadlines, over those of EDF and of FIFO."""
    fixed, varied = ({load: _done(load, cv, seed) for load in LOADS} for cv in CVS)
    to_edf = _ratios(fixed, EDF)
    worst = min(to_edf, key=lambda load: to_edf[load])
    edf = fixed[worst][EDF].calls
    others = {name: one.calls / edf for name, one in fixed[worst].items()}
    bound = others.pop("bound")
    others.pop(UNKNOWN)
    long, most = _ratios(varied, EDF), {load: by[UNKNOWN].calls for load, by in varied.items()}
    hardest = min(long, key=lambda load: long[load])
    work = {load: by[OURS].seconds / by[EDF].seconds for load, by in varied.items()}
    return [
        Result(
            figure="deadline_goodput_ratio_edf",
            value=to_edf[worst],
            unit="ratio",
            bound=bound,
            peers=others,
            detail=f"CV {CVS[0]}, worst of loads; {_told(to_edf)}; {_text(fixed)}",
        ),
        _beside("deadline_goodput_ratio_fifo", _ratios(fixed, "fifo"), 1.2),
        _beside("deadline_goodput_ratio_fifo_drops_expired", _ratios(fixed, "fifo, drops expired")),
        replace(
            _beside(f"deadline_cv_{CVS[1]}_goodput_ratio_edf", long, 0.95),
            bound=most[hardest] / varied[hardest][EDF].calls,
        ),
        _beside(f"deadline_cv_{CVS[1]}_goodput_ratio_bound", _ratios(varied, UNKNOWN)),
        _beside(f"deadline_cv_{CVS[1]}_device_time_ratio_edf", work, 0.95),
    ]


def _ratios(found: Mapping[float, Mapping[str, Done]], other: str) -> dict[float, float]:
    return {load: by[OURS].calls / by[other].calls for load, by in found.items()}


def _told(ratios: Mapping[float, float]) -> str:
    return ", ".join(f"load {load}: {ratio:.3f}" for load, ratio in ratios.items())


def _text(found: Mapping[float, Mapping[str, Done]]) -> str:
    lines = {
        load: ", ".join(f"{name} {one.calls:.0f}" for name, one in by.items())
        for load, by in found.items()
    }
    return "; ".join(f"calls at load {load}: {line}" for load, line in lines.items())


def _beside(name: str, ratios: Mapping[float, float], at_least: float | None = None) -> Result:
    value = min(ratios.values())
    return Result(figure=name, value=value, unit="ratio", detail=_told(ratios), at_least=at_least)


def works(load: float, cv: float, seed: int) -> list[Work]:
    """Return the calls of one load."""
    sigma = sqrt(log(1 + cv**2))
    chance, at_s, found = Random(seed), float(BEGIN_S), []
    rate = load * SLOTS / MEAN_S
    while (at_s := at_s + chance.expovariate(rate)) < BEGIN_S + SPAN_S:
        service_s = MEAN_S * exp(chance.gauss(-(sigma**2) / 2, sigma))
        at_ns = int(at_s * SECOND)
        deadline_ns = at_ns + int(chance.choice(DEADLINES_S) * SECOND)
        found.append(Work(at_ns, int(service_s * SECOND), deadline_ns=deadline_ns))
    return found


def _done(load: float, cv: float, seed: int) -> dict[str, Done]:
    calls = works(load, cv, seed)
    found = {OURS: _ours(calls, seed)}
    for name, (order, drops) in OTHERS.items():
        theirs = works(load, cv, seed)
        serve(theirs, SLOTS, order, drops)
        found[name] = _of([work for work in theirs if work.is_on_time])
    span_ns = int((SPAN_S + max(DEADLINES_S)) * SECOND)
    found[UNKNOWN] = Done(most_without_lengths(calls, SLOTS, span_ns), SLOTS * span_ns / SECOND)
    found["bound"] = Done(most_on_time(calls, SLOTS, span_ns), SLOTS * span_ns / SECOND)
    return found


def _of(works: list[Work]) -> Done:
    return Done(len(works), sum(work.service_ns for work in works) / SECOND)


def _ours(calls: list[Work], seed: int) -> Done:
    traffic = [
        Request(call.at_ns, ENDPOINT, call.service_ns, deadline_ns=call.deadline_ns - call.at_ns)
        for call in calls
    ]
    fixed = endpoint(StartTime(MILLISECOND), permits=1, most=SLOTS, least=SLOTS)
    outcome = replay(scene(fixed, traffic, 0), plan, seed)
    codes = zip(calls, outcome.calls.code, strict=True)
    return _of([call for call, code in codes if code == DONE])
