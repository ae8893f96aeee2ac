"""How long does a plan take, and how does that grow? 125 to 2,000 endpoints whose state changes all the time.

Beside it: a plan where nearly nothing has changed, and what the dispatcher takes for a call in as large a fleet.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import log2
from pathlib import Path
from random import Random
from typing import NamedTuple

from glowplug.clock import SECOND
from glowplug.spec import Policy
from glowplug_router.collecting import collect_seldom
from glowplug_router.plan import plan
from glowplug_router.records.decided import Plan
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Node, Observed, Served
from glowplug_router.simulation.checkers import planned_state
from policy.dispatch_cost import took_us
from policy.result import Result

NAME = "planner-scale"
SIZES = (125, 250, 500, 1000, 2000)  # endpoints; five replicas and half a node for each
ASKED = 1000  # the size that the target is for
STATES = 100  # plans of the asked size that count; of the others a quarter
WARM_UP = 5
NOW_NS = 10_000 * SECOND
MODELS = ("NVIDIA L4", "NVIDIA A10G", "NVIDIA L40S")
PICTURE = Path(__file__).parents[3] / "docs" / "img" / "planner-scale.svg"
QUIET_SHARE, SHARE = 100, 5  # of the endpoints one in so many is called between two plans
QUIET_STATES = 40
P99_MAX_MS = 150  # the same
DISPATCH_MAX_US = 100  # router.md §7
# What happens between two plans, by number of the plan: news of calls always, the rest as often as this.
SILENCE_EVERY, FAILURES_EVERY, BURST_EVERY = 10, 7, 5


class Took(NamedTuple):
    """What one plan took."""

    wall_ms: float
    cpu_ms: float


def run(seed: int) -> list[Result]:
    """Return the p99 of `plan()` at 1,000 endpoints, and by how much more than n log n it grows."""
    collect_seldom()  # as the controller's process does
    found = {
        size: list(_plans(Fleet(size, seed), STATES if size == ASKED else STATES // 4))
        for size in SIZES
    }
    results = [*_of_asked(found), _growth(found), *_beside(seed)]
    if os.environ.get("PLOT"):
        PICTURE.write_text(picture(results))
    return results


def _of_asked(found: Mapping[int, Sequence[Took]]) -> list[Result]:
    sizes = []
    for size, plans in found.items():
        took_ms = sorted(took.wall_ms for took in plans)
        sizes.append(
            f"{size}: p50 {_quantile(took_ms, 0.5):.0f} p99 {_quantile(took_ms, 0.99):.0f} ms"
        )
    cpu_p99 = _quantile(sorted(took.cpu_ms for took in found[ASKED]), 0.99)
    return [
        Result(
            figure="planner_p99_ms",
            value=_quantile(sorted(took.wall_ms for took in found[ASKED]), 0.99),
            unit="ms",
            at_most=P99_MAX_MS,
            detail=f"endpoints {'; '.join(sizes)}; CPU p99 {cpu_p99:.0f} ms",
        ),
        Result(
            figure="planner_cpu_p99_ms",
            value=cpu_p99,
            unit="ms",
            detail="CPU time of the same plans: what others on the machine take is not in it",
        ),
    ]


def _growth(found: Mapping[int, Sequence[Took]]) -> Result:
    small, large = SIZES[1], SIZES[-1]
    before, after = (_quantile(sorted(t.cpu_ms for t in found[n]), 0.5) for n in (small, large))
    return Result(
        figure="planner_growth_ratio_n_log_n",
        value=after / before / (large * log2(large) / (small * log2(small))),
        unit="ratio",
        bound=1.0,
        at_most=1.0,
        detail=f"CPU time, median at {large} over that at {small} endpoints",
    )


def _beside(seed: int) -> list[Result]:
    from policy.lent_fleet import LentFleet  # it is one of these fleets

    lent = LentFleet(ASKED, seed)
    lent_ms = sorted(took.wall_ms for took in _plans(lent, STATES // 2))
    quiet_ms = sorted(took.wall_ms for took in _quiet_plans(ASKED, seed))
    dispatch_us = took_us(ASKED, seed)
    return [
        Result(
            figure="planner_from_nothing_ms",
            value=_from_nothing_ms(ASKED, seed),
            unit="ms",
            detail="5,000 starts in one plan",
        ),
        Result(
            figure="planner_machines_p99_ms",
            value=_quantile(lent_ms, 0.99),
            unit="ms",
            detail=f"{len(lent.observed.nodes)} machines launched from {len(lent.observed.offers)} offers: "
            f"p50 {_quantile(lent_ms, 0.5):.0f} ms",
        ),
        Result(
            figure="planner_quiet_p99_ms",
            value=_quantile(quiet_ms, 0.99),
            unit="ms",
            detail=f"{ASKED} endpoints, 1 % of them called since the last plan: p50 {_quantile(quiet_ms, 0.5):.0f} ms",
        ),
        Result(
            figure="dispatch_p99_us",
            value=_quantile(dispatch_us, 0.99),
            unit="us",
            at_most=DISPATCH_MAX_US,
            detail=f"arrival and end of a call at {ASKED} endpoints: p50 {_quantile(dispatch_us, 0.5):.0f} us",
        ),
    ]


def picture(results: list[Result]) -> str:
    """Return an SVG of the medians and p99 that `run` found, beside n log n."""
    rows = next(r.detail for r in results if r.figure == "planner_p99_ms")
    points = [row.replace("endpoints ", "").split() for row in rows.split("; ")[: len(SIZES)]]
    found = [(int(p[0].rstrip(":")), float(p[2]), float(p[4])) for p in points]
    top = 1.15 * max(p99 for _, _, p99 in found)
    last = found[-1][0]
    small, small_p50, _ = found[1]
    ideal = [(n, small_p50 * n * log2(n) / (small * log2(small))) for n, _, _ in found]
    lines = [
        ("p99", "#c0392b", [(n, p99) for n, _, p99 in found]),
        ("median", "#2c3e50", [(n, p50) for n, p50, _ in found]),
        ("n log n", "#95a5a6", ideal),
    ]
    drawn = "".join(_line(*line, last, top) for line in lines)
    ticks = "".join(
        f'<text x="{_x(n, last):.0f}" y="285" text-anchor="middle">{n}</text>' for n, _, _ in found
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 310" font-family="sans-serif" '
        'font-size="12"><rect width="560" height="310" fill="white"/>'
        '<path d="M50 20V270H470" fill="none" stroke="#333"/>'
        f'{ticks}<text x="260" y="304" text-anchor="middle">endpoints</text>'
        f'<text x="8" y="16">plan(), ms</text><text x="44" y="30" text-anchor="end">{top:.0f}</text>'
        f"{drawn}</svg>\n"
    )


def _x(n: int, last: int) -> float:
    return 50 + 410 * n / last


def _line(name: str, colour: str, points: list[tuple[int, float]], last: int, top: float) -> str:
    at = [(_x(n, last), 270 - 250 * ms / top) for n, ms in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    x, y = at[-1]
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        f'<text x="{x + 6:.0f}" y="{y + 4:.0f}" fill="{colour}">{name}</text>'
    )


def _plans(fleet: "Fleet", states: int) -> Iterator[Took]:
    fleet.settle()
    for number in range(WARM_UP + states):
        fleet.change(number)
        took = fleet.planned()
        if number >= WARM_UP:
            yield took


def _quiet_plans(size: int, seed: int) -> Iterator[Took]:
    fleet = Fleet(size, seed)
    fleet.settle()
    for number in range(WARM_UP + QUIET_STATES):
        fleet.pass_quietly()
        took = fleet.planned()
        if number >= WARM_UP:
            yield took


def _from_nothing_ms(size: int, seed: int) -> float:
    return Fleet(size, seed).planned().wall_ms


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Fleet:
    """A world whose plans come true at once."""

    def __init__(self, size: int, seed: int) -> None:
        self.random = Random(seed)
        self.now_ns = NOW_NS
        self.memory = Memory()
        self.observed = Observed(
            epoch=1,
            served=tuple(self._version(number) for number in range(size)),
            nodes=tuple(self._node(number) for number in range(size // 2)),
            replicas=(),
        )
        self.demand = {served.key: Demand(key=served.key) for served in self.observed.served}
        self.silent: dict[str, int] = {}

    def _version(self, number: int) -> Served:
        return Served(
            key=f"app{number // 4}/e{number}@1",
            policy=Policy(min=5, max=12, down_after_ns=10 * SECOND),
            permits=4,
            permille=1000,
            gpu_count=self.random.choice((0, 1, 1, 1)),
            gpu_names=self.random.choice(((), (), ("L4",), ("A10G", "L4"))),
            memory_bytes=self.random.choice((1, 2, 4, 8)) << 30,
            cpu_milli=self.random.choice((500, 1000, 2000)),
            artefacts=(f"bundle{number}",),
        )

    def _node(self, number: int) -> Node:
        model = MODELS[number % len(MODELS)]
        return Node(
            id=f"n{number:04}",
            cpu_milli=96_000,
            memory_bytes=768 << 30,
            gpus=tuple((f"n{number:04}-{gpu}", model) for gpu in range(16)),
            seen_ns=self.now_ns,
            zone=f"z{number % 3}",
            holds=tuple(f"bundle{self.random.randrange(2000)}" for _ in range(20)),
        )

    def settle(self) -> None:
        """Let all that is wanted be there."""
        self.planned()
        self._all_ready()

    def planned(self) -> Took:
        """Plan, carry it out, and return what the plan alone took."""
        demand = tuple(self.demand.values())
        begun, cpu_ns = time.perf_counter(), time.thread_time_ns()
        made = plan(self.observed, demand, self.memory, self.now_ns)
        took = Took(
            (time.perf_counter() - begun) * 1000, (time.thread_time_ns() - cpu_ns) / 1_000_000
        )
        self._carry_out(made)
        return took

    def _carry_out(self, made: Plan) -> None:
        self.memory = made.memory
        self.observed = planned_state(self.observed, made)

    def change(self, number: int) -> None:
        """Let a second pass in which calls come and go, and now and then something breaks."""
        self.now_ns += SECOND
        self._all_ready()
        self._call(SHARE)
        if number % BURST_EVERY == 0:
            for key in self.random.sample(list(self.demand), len(self.demand) // 50):
                row = self.demand[key]
                self.demand[key] = replace(
                    row, arrivals=row.arrivals + 60, queued=40, last_arrival_ns=self.now_ns
                )
        else:
            self.demand = {key: replace(row, queued=0) for key, row in self.demand.items()}
        if number % FAILURES_EVERY == 0:
            self._fail()
        self._report(number)

    def pass_quietly(self) -> None:
        """Let a second pass in which few are called, and all nodes report."""
        self.now_ns += SECOND
        self._all_ready()
        self._call(QUIET_SHARE)
        self._report(1)

    def _call(self, share: int) -> None:
        for key in self.random.sample(list(self.demand), len(self.demand) // share):
            row, calls = self.demand[key], self.random.randrange(1, 10)
            self.demand[key] = replace(
                row,
                arrivals=row.arrivals + calls,
                completed=row.completed + calls,
                service_ns=row.service_ns + calls * SECOND,
                last_arrival_ns=self.now_ns,
            )

    def _fail(self) -> None:
        lost = set(self.random.sample(range(len(self.observed.replicas)), len(self.demand) // 100))
        self.observed = replace(
            self.observed,
            replicas=tuple(
                replace(one, state="failed", since_ns=self.now_ns) if number in lost else one
                for number, one in enumerate(self.observed.replicas)
            ),
        )

    def _report(self, number: int) -> None:
        """Let nodes report; some fall silent, and come back later with nothing on them."""
        if number % SILENCE_EVERY == 0:
            for node in self.random.sample(
                self.observed.nodes, max(1, len(self.observed.nodes) // 100)
            ):
                self.silent[node.id] = self.now_ns + 40 * SECOND
        self.silent = {id: until for id, until in self.silent.items() if until > self.now_ns}
        self.observed = replace(
            self.observed,
            nodes=tuple(
                node if node.id in self.silent else replace(node, seen_ns=self.now_ns)
                for node in self.observed.nodes
            ),
        )

    def _all_ready(self) -> None:
        self.observed = replace(
            self.observed,
            replicas=tuple(
                replace(one, state="ready", since_ns=self.now_ns)
                if one.state == "starting"
                else one
                for one in self.observed.replicas
                if one.state != "draining"
            ),
        )
