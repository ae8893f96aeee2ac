"""What do learned patience and its guard cost, beside who knows each gap? Adversarial and stationary gaps.

The cost of a gap is counted here, not by the policy: device time kept, and a wake of `B` (start × (1 + worth)) if the
call comes later. The clairvoyant pays min(gap, B). Both pay the first start. The adversary sees what was chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import exp, sin
from random import Random

from glowplug.clock import MINUTE, SECOND
from glowplug_router.policy.warmth.keeping import gap_noted
from glowplug_router.policy.warmth.ladder import Rung
from glowplug_router.records.warmth import Warmth
from policy.result import Result

NAME = "break-even"
START_NS, WORTH = 30 * SECOND, 9  # router.md's cold start; what a standard caller's wait is worth
EVEN_NS = START_NS * (1 + WORTH)
RUNGS = (Rung("hot", 1000, 0, 0), Rung("cold", 0, 0, START_NS))
GAPS = 2_000

Gap = Callable[[int, "Player"], int]


@dataclass
class Player:
    """Who meets gaps, and what they have cost. `learns=False` is the ski rental alone; `trusts` has no guard."""

    learns: bool = True
    trusts: bool = False
    memory: Warmth = field(default_factory=Warmth)
    now_ns: int = START_NS
    cost_ns: int = EVEN_NS
    best_ns: int = EVEN_NS
    worst: float = 1.0

    @property
    def keep_ns(self) -> int:
        """Return what is chosen for this gap."""
        return self.memory.keeps_ns[0] if self.memory.keeps_ns else EVEN_NS

    @property
    def window_ns(self) -> tuple[int, int]:
        """Return from when to when in this gap a replica is there ahead of the call; (0, 0) = never."""
        preheat = self.memory.preheat  # calls take no time here, so both its origins are the same
        return (preheat.after_ns, preheat.until_ns) if preheat else (0, 0)

    def meet(self, gap_ns: int) -> None:
        """Pay for a gap, and learn from it."""
        self.cost_ns += self._cost_ns(gap_ns)
        self.best_ns += min(gap_ns, EVEN_NS)
        self.worst = max(self.worst, self.cost_ns / self.best_ns)
        begin_ns, self.now_ns = self.now_ns, self.now_ns + gap_ns
        if self.learns:
            self.memory = gap_noted(self.memory, RUNGS, WORTH, begin_ns, self.now_ns)
        if self.trusts:
            self.memory = _trusting(self.memory)

    def _cost_ns(self, gap_ns: int) -> int:
        keep_ns = self.keep_ns
        begin_ns, end_ns = self.window_ns
        if gap_ns <= keep_ns:
            return gap_ns
        begin_ns = max(begin_ns, keep_ns)
        if end_ns <= begin_ns or gap_ns <= begin_ns:
            return keep_ns + EVEN_NS
        held_ns = max(START_NS, min(gap_ns, end_ns) - begin_ns)
        if gap_ns > end_ns:
            return keep_ns + held_ns + EVEN_NS
        late_ns = max(0, START_NS - (gap_ns - begin_ns))
        return keep_ns + held_ns + late_ns * (1 + WORTH)


def _trusting(memory: Warmth) -> Warmth:
    """Return the memory with slack that never ends: the guard's planted fault."""
    return replace(memory, slacks_ns=(1000 * EVEN_NS,) * len(memory.slacks_ns))


# -- adversaries: gap of a number, for a player whose choice is known


def just_late(_: int, player: Player) -> int:
    """Call just after the replica went."""
    return player.keep_ns + 1


def after_preheat(_: int, player: Player) -> int:
    """Call just after what was started ahead went too, or when nothing was."""
    return max(player.keep_ns, player.window_ns[1]) + 1


def teach(long_ns: int, lessons: int) -> Gap:
    """Teach that gaps are long, then call just after the replica went, for as long."""
    return lambda at, player: long_ns if at // lessons % 2 == 0 else player.keep_ns + 1


def lull(short_ns: int, lessons: int) -> Gap:
    """Earn trust by short gaps, then drift upwards past whatever was learned."""
    return lambda at, player: (
        short_ns if at // lessons % 3 == 0 else int(player.keep_ns * 1.05) + SECOND
    )


def drift(period: int) -> Gap:
    """Let gaps go up and down by a factor of a thousand, slowly."""
    return lambda at, _: int(EVEN_NS * exp(3.5 * sin(at / period)))


def switch(period: int) -> Gap:
    """Let a timer tick, and change its period as soon as it is believed."""
    return lambda at, _: (4 + at // period % 5) * 2 * MINUTE


ADVERSARIES: dict[str, Gap] = {
    "just late": just_late,
    "after the preheat": after_preheat,
    "teach 10 long": teach(10 * EVEN_NS, 10),
    "teach 200 long": teach(3 * EVEN_NS, 200),
    "teach 11 short": teach(2 * SECOND, 11),
    "lull 100": lull(2 * SECOND, 100),
    "lull 12": lull(EVEN_NS // 2, 12),
    "drift 20": drift(20),
    "drift 300": drift(300),
    "timer that changes, 11": switch(11),
    "timer that changes, 40": switch(40),
}


# -- stationary gaps, as multiples of B


Draw = Callable[[Random], float]


def _exponential(mean: float) -> Draw:
    return lambda random: random.expovariate(1 / mean)


def _log_normal(median: float) -> Draw:
    return lambda random: median * random.lognormvariate(0.0, 1.5)


def _pareto(least: float) -> Draw:
    return lambda random: least * random.paretovariate(1.2)


def _constant(value: float) -> Draw:
    return lambda _: value


def _visits(share: float) -> Draw:
    return lambda random: 20.0 if random.random() < share else random.expovariate(10)


def _stationary() -> dict[str, Draw]:
    found: dict[str, Draw] = {}
    for mean in (0.1, 0.3, 1.0, 3.0, 10.0):
        found[f"exponential {mean:g} B"] = _exponential(mean)
        found[f"log-normal {mean:g} B"] = _log_normal(mean)
        found[f"Pareto 1.2 from {mean / 5:g} B"] = _pareto(mean / 5)
        found[f"constant {mean:g} B"] = _constant(mean)
    for share in (0.2, 0.5, 0.8):
        found[f"visits, {share:.0%} long"] = _visits(share)
    return found


def run(seed: int) -> list[Result]:
    """Return the worst ratio any adversary reaches, and the mean over stationary gaps."""
    worst = {name: _played(Player(), gap).worst for name, gap in ADVERSARIES.items()}
    rental = {name: _played(Player(learns=False), gap).worst for name, gap in ADVERSARIES.items()}
    trusting = {name: _played(Player(trusts=True), gap).worst for name, gap in ADVERSARIES.items()}
    means = {name: _mean(seed, draw, Player) for name, draw in _stationary().items()}
    plain = {
        name: _mean(seed, draw, lambda: Player(learns=False))
        for name, draw in _stationary().items()
    }
    hardest, dearest = (
        max(worst, key=lambda name: worst[name]),
        max(means, key=lambda name: means[name]),
    )
    return [
        Result(
            figure="break_even_worst_ratio",
            value=max(worst.values()),
            unit="cost / clairvoyant",
            bound=1.0,
            peers={
                "ski rental": max(rental.values()),
                "learned without guard": max(trusting.values()),
            },
            detail=f"{len(worst)} adversaries × {GAPS} gaps, highest at any time; worst: {hardest}",
        ),
        Result(
            figure="break_even_stationary_mean",
            value=sum(means.values()) / len(means),
            unit="cost / clairvoyant",
            bound=1.0,
            peers={"ski rental": sum(plain.values()) / len(plain)},
            at_most=1.3,
            detail=f"{len(means)} distributions × {GAPS} gaps, synthetic; worst: {dearest} {means[dearest]:.2f}",
        ),
    ]


def _played(player: Player, gap: Gap) -> Player:
    for at in range(GAPS):
        player.meet(gap(at, player))
    return player


def _mean(seed: int, draw: Draw, player: Callable[[], Player]) -> float:
    one, random = player(), Random(f"{seed} break-even")
    gaps: Sequence[int] = [max(SECOND, int(draw(random) * EVEN_NS)) for _ in range(GAPS)]
    for gap in gaps:
        one.meet(gap)
    return one.cost_ns / one.best_ns
