"""How much device time keeps rarely called models warm, and who meets a cold one? A generator fitted to GenTD26.

As router.md §4.1: one logical pool a model, calls of a model that overlap run at once, a start takes 30 s of the
device. Our ladder is the policy's own with the row's times: hot; asleep for 2 % of a device, 3 s back and 9 s out (a
CUDA checkpoint of 14 GiB, the slowest way measured); primed for 0.5 %, 10 s back; cold. Agents keep hot and cold
today: what that comes to is the peer "ours, hot and cold only". Parked memory is counted as device time at that rate,
the way out as well. A cold call is one that waits for a whole start; every model's first one is, for everybody.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.spec import Class
from glowplug_router.policy.warmth.envelope import descents
from glowplug_router.policy.warmth.keeping import gap_noted
from glowplug_router.policy.warmth.ladder import ASLEEP_PERMILLE, PRIMED_PERMILLE, WAIT_WORTH, Rung
from glowplug_router.records.warmth import Warmth
from glowplug_router.simulation.replay import Request
from glowplug_router.simulation.traces.synthetic import gentd26_like
from policy.baselines.keep_alive import (
    FixedKeep,
    HybridHistogram,
    Keeper,
    Paid,
    clairvoyant_ns,
    windowed,
)
from policy.result import Result

NAME = "keepalive"
START_NS = 30 * SECOND
BACK_NS, OUT_NS = 3 * SECOND, 9 * SECOND  # 14 GiB by CUDA checkpoint (research/h100-measured.md)
HOT, ASLEEP = Rung("hot", 1000, 0, 0), Rung("asleep", ASLEEP_PERMILLE, OUT_NS, BACK_NS)
PRIMED = Rung("primed", PRIMED_PERMILLE, 0, 10 * SECOND)  # the longest of router.md §5.4's T2
COLD = Rung("cold", 0, 0, START_NS)  # the bundle is on the disk for everybody
COLD_MAX = 0.02


@dataclass(slots=True)
class Ours:
    """The policy of `policy.warmth` for one model, on some rungs."""

    rungs: tuple[Rung, ...] = (HOT, ASLEEP, PRIMED, COLD)
    klass: Class = "interactive"  # people wait for their image
    memory: Warmth = field(default_factory=Warmth)

    def meet(self, idle_ns: int, call_ns: int) -> Paid:
        """Pay for a gap, and learn from it."""
        gap_ns, worth = call_ns - idle_ns, WAIT_WORTH[self.klass]
        steps = descents(self.rungs, worth)
        keeps_ns = self.memory.keeps_ns or tuple(step.break_even_ns for step in steps)
        ahead = self.memory.preheat
        if ahead is None:
            paid = self._paid(gap_ns, [step.rung for step in steps], keeps_ns)
        else:
            busy_ns = idle_ns - self.memory.called_ns if ahead.counted_from == "call" else 0
            window = (ahead.after_ns - busy_ns, ahead.until_ns - busy_ns)
            paid = windowed(gap_ns, keeps_ns[0], max(keeps_ns[0], window[0]), window[1], START_NS)
        self.memory = gap_noted(self.memory, self.rungs, worth, idle_ns, call_ns)
        return paid

    def _paid(self, gap_ns: int, rungs: Sequence[Rung], keeps_ns: Sequence[int]) -> Paid:
        device_ns, parked, at = min(gap_ns, keeps_ns[0]), 0, HOT
        for number, rung in enumerate(rungs):
            if gap_ns > keeps_ns[number]:
                end_ns = min(gap_ns, (*keeps_ns, gap_ns)[number + 1])
                parked += max(0, end_ns - keeps_ns[number]) * rung.rate_permille
                device_ns += rung.enter_ns
                at = rung
        is_cold = at.level == "cold"
        return Paid(device_ns + at.wake_ns, parked // 1000, at.wake_ns, is_cold)


@dataclass(frozen=True, slots=True)
class Sum:
    """What all models came to."""

    device_h: float
    parked_h: float
    cold: float  # share of calls
    wait_mean_s: float
    asleep: float
    primed: float

    @property
    def hours(self) -> float:
        """Return device hours, parked memory counted."""
        return self.device_h + self.parked_h


@dataclass(frozen=True, slots=True)
class Model:
    """One model's calls: its busy time, and its gaps as (end of the calls before, next call)."""

    calls: int
    busy_ns: int
    gaps: tuple[tuple[int, int], ...]


def _others(models: list[Model]) -> dict[str, Sum]:
    """Return what other policies, and ours with less, come to on the same calls."""
    return {
        "hybrid histogram": summed(models, lambda: HybridHistogram(START_NS)),
        **{name: summed(models, _fixed(keep)) for name, keep in FIXED.items()},
        "ours, hot and cold only": summed(models, lambda: Ours((HOT, COLD))),
        "ours, never primed": summed(models, lambda: Ours((HOT, ASLEEP, COLD))),
        "ours, critical": summed(models, lambda: Ours(klass="critical")),
        "ours, standard class": summed(models, lambda: Ours(klass="standard")),
        "ski rental on the ladder": summed(models, Rental),
    }


def _bounds(models: list[Model], calls: int) -> dict[str, float]:
    """Return the device hours that nobody could beat who knows all calls."""
    gaps = [call - idle for model in models for idle, call in model.gaps]
    base_ns = sum(model.busy_ns for model in models) + len(models) * START_NS
    colds = int(calls * COLD_MAX) - len(models)
    ahead_ns = base_ns + sum(min(gap, START_NS) for gap in gaps)
    none_ahead_ns = base_ns + clairvoyant_ns(gaps, colds, START_NS)
    return {
        "clairvoyant, 2 % cold, none ahead": none_ahead_ns / HOUR,
        "clairvoyant, started ahead": ahead_ns / HOUR,
    }


def run(seed: int) -> list[Result]:
    """Return device hours beside the hybrid histogram's, and the share of cold calls."""
    models = models_of(gentd26_like(Random(f"{seed} keepalive")))
    ours = summed(models, Ours)
    others = _others(models)
    calls = sum(model.calls for model in models)
    bounds = _bounds(models, calls)
    histogram = others["hybrid histogram"].hours
    detail = (
        f"fitted generator (GenTD26, not the trace): {calls} calls, {len(models)} models; start 30 s; asleep 2 % of a"
        f" device, 3 s back, 9 s out; ours {ours.device_h:.0f} h on devices + {ours.parked_h:.0f} h of parked memory"
    )
    return [
        Result(
            figure="keepalive_gpu_h_ratio_histogram",
            value=ours.hours / histogram,
            unit="device hours / hybrid histogram's",
            bound=bounds["clairvoyant, started ahead"] / histogram,
            peers={name: other.hours / histogram for name, other in others.items()},
            detail=detail,
        ),
        Result(
            figure="keepalive_full_cold",
            value=ours.cold,
            unit="share of calls",
            bound=len(models) / calls,
            peers={name: other.cold for name, other in others.items()},
            detail=detail,
        ),
        Result(
            figure="keepalive_gpu_h",
            value=ours.hours,
            unit="device hours",
            bound=bounds["clairvoyant, started ahead"],
            peers={**{name: other.hours for name, other in others.items()}, **bounds},
            detail=f"calls answered from asleep {ours.asleep:.3f}, from primed {ours.primed:.3f}",
        ),
        Result(
            figure="keepalive_wait_mean_s",
            value=ours.wait_mean_s,
            unit="s",
            peers={name: other.wait_mean_s for name, other in others.items()},
            detail="for a level to be hot, over all calls",
        ),
    ]


FIXED = {
    "none": 0,
    "90 s": 90 * SECOND,
    "10 min": 10 * MINUTE,
    "20 min": 20 * MINUTE,
    "1 h": HOUR,
}


def _fixed(keep_ns: int) -> Callable[[], Keeper]:
    return lambda: FixedKeep(keep_ns, START_NS)


class Rental(Ours):
    """The ladder with nothing learned."""

    def meet(self, idle_ns: int, call_ns: int) -> Paid:
        """Pay for a gap, and forget it."""
        paid = super().meet(idle_ns, call_ns)
        self.memory = Warmth()
        return paid


def models_of(calls: Sequence[Request]) -> list[Model]:
    """Return each model's busy time and gaps."""
    by_model: dict[str, list[Request]] = defaultdict(list)
    for call in calls:
        by_model[call.endpoint].append(call)
    return [_model(one) for one in by_model.values()]


def _model(calls: Sequence[Request]) -> Model:
    busy_ns, end_ns, gaps = 0, calls[0].at_ns, []
    for call in calls:
        if call.at_ns > end_ns:
            gaps.append((end_ns, call.at_ns))
        done_ns = max(end_ns, call.at_ns + call.service_ns)
        busy_ns += done_ns - max(end_ns, call.at_ns)
        end_ns = done_ns
    return Model(len(calls), busy_ns, tuple(gaps))


def summed(models: Sequence[Model], keeper: Callable[[], Keeper]) -> Sum:
    """Return what a policy comes to over all models: each one's first call is a cold one."""
    device_ns = sum(model.busy_ns for model in models) + len(models) * START_NS
    parked_ns, colds, wait_ns = 0, len(models), len(models) * START_NS
    waits: Counter[int] = Counter()
    for model in models:
        one = keeper()
        for idle_ns, call_ns in model.gaps:
            paid = one.meet(idle_ns, call_ns)
            device_ns += paid.device_ns
            parked_ns += paid.parked_ns
            colds += paid.is_cold
            wait_ns += paid.wait_ns
            waits[paid.wait_ns] += 1
    calls = sum(model.calls for model in models)
    return Sum(
        device_ns / HOUR,
        parked_ns / HOUR,
        colds / calls,
        wait_ns / SECOND / calls,
        waits[BACK_NS] / calls,
        waits[PRIMED.wake_ns] / calls,
    )
