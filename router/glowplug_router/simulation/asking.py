"""What was asked to be replayed? Options and `--against` as setups, or an error that says what to write instead.

Every setting is text by its key, as an option or in `--against`. What is not given is as it was recorded, where there
is a recording, and else as the defaults say.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast, get_args

from glowplug.clock import SECOND
from glowplug.commands.inputs import duration
from glowplug.errors import ConfigError
from glowplug.spec import BatchSpec, BatchTuning, Policy
from glowplug.suggest import near
from glowplug.worker.costs import Costs
from glowplug_router.records.capacity import Degrade, Limits, Market
from glowplug_router.simulation.comparing import Behaviour, Setup
from glowplug_router.simulation.market.lending import Lending
from glowplug_router.simulation.replay import Affine, Batch, Cost, StartTime
from glowplug_router.simulation.traces.folder import Recording, Scaled

COUNTS = {"min": "min", "max": "max", "buffer": "buffer", "hold": "hold"}
TIMES = {"up_after": "up_after_ns", "down_after": "down_after_ns", "zero_after": "zero_after_ns"}
BATCHES = ("batch", "batch_wait", "batch_cost")
CAPACITIES: dict[str, tuple[Market, ...]] = {
    "on_demand": ("on_demand",),
    "spot": ("spot",),
    "spot_first": ("spot", "on_demand"),
}
LENT = ("spot_price", "launch", "price_cap", "budget", "degrade")  # what is said of lent machines
KEYS = (
    *(*COUNTS, *TIMES, "target", "concurrency", *BATCHES, "cold_start", "price"),
    *("capacity", *LENT),
)
USUAL = Behaviour(policy=Policy(), start=StartTime(60 * SECOND))  # `min` 0, `max` 4: `Scale()`
BATCHES_PER_REPLICA = (
    2  # that a replica has permits for unless told: one runs, one waits (glowplug.declare)
)
BATCH_MAX = 4096  # of a batch; more is a slip
COST_PARTS = 3  # of a batch, of each call, of each unit


@dataclass(frozen=True, slots=True)
class Asked:
    """Settings as somebody wrote them; `prefix` is how: as an option, or as a key of --against."""

    given: Mapping[str, str]
    prefix: str = "--"
    samples: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)

    def what(self, key: str) -> str:
        """Return how a setting was written."""
        return self.prefix + (key.replace("_", "-") if self.prefix == "--" else key)

    def whole(self, key: str, most: int = 10**9) -> int:
        """Return a whole number."""
        number = self.number(key)
        if number != int(number) or number > most:
            raise ConfigError(
                f"{self.what(key)} {self.given[key]!r} is no whole number up to {most:,}",
                hint=f"for example {self.what(key)} 2",
            )
        return int(number)

    def number(self, key: str) -> float:
        """Return a number that is not negative."""
        return number(self.given[key], self.what(key))

    def time_ns(self, key: str) -> int:
        """Return a time."""
        return duration(self.given[key], self.what(key))

    def micro_usd(self, key: str) -> int:
        """Return an amount of money; 0 where nobody says."""
        return round(self.number(key) * 1e6) if key in self.given else 0

    def behaviour(self, base: Behaviour, endpoint: str = "") -> Behaviour:
        """Return how an endpoint behaves that behaved like `base`.

        Raises:
            ConfigError: A setting cannot be read, or nothing could serve under it.
        """
        policy = self._policy(base.policy)
        if policy.min > policy.max or policy.max < 1:
            raise ConfigError(
                f"min {policy.min}, max {policy.max}: nothing could serve that",
                hint="min is at most max, and max at least 1",
            )
        found = replace(base, policy=policy, batch=self._batch(base.batch, endpoint))
        if "cold_start" in self.given:
            found = replace(found, start=self._start("cold_start"))
        return replace(found, concurrency=self._concurrency(base, found.batch))

    def lending(self) -> Lending | None:
        """Return which machines are lent; None where they are simply there.

        Raises:
            ConfigError: A setting cannot be read, or says something of machines that are not lent.
        """
        lent = [key for key in LENT if key in self.given]
        if "capacity" not in self.given:
            if lent:
                raise ConfigError(
                    f"{self.what(lent[0])}: no machine is lent",
                    hint=f"{self.what('capacity')} spot_first; or on_demand, or spot",
                )
            return None
        found = Lending(price_micro_usd=self.micro_usd("price"), limits=self._limits())
        if not found.price_micro_usd:
            raise ConfigError(
                f"{self.what('capacity')} {self.given['capacity']}: nothing says what a machine costs",
                hint="--price 1.2: of a GPU for an hour on demand",
            )
        found = replace(found, spot_micro_usd=self.micro_usd("spot_price"))
        if "launch" not in self.given:
            return found
        times = self._start("launch")
        return replace(
            found, launch_p50_ns=times.p50_ns, launch_p90_ns=max(times.p50_ns, times.p90_ns)
        )

    def _limits(self) -> Limits:
        degrade = self.given.get("degrade", "warn")
        return Limits(
            markets=CAPACITIES[self._one_of("capacity", self.given["capacity"], CAPACITIES)],
            price_cap_micro_usd=self.micro_usd("price_cap"),
            budget_micro_usd=self.micro_usd("budget"),
            degrade=cast(Degrade, self._one_of("degrade", degrade, get_args(Degrade))),
        )

    def _one_of(self, key: str, given: str, known: Collection[str]) -> str:
        if given not in known:
            meant = near(given, known) or known
            raise ConfigError(
                f"{self.what(key)} {given!r} is not known", hint=f"it is {', '.join(meant)}"
            )
        return given

    def _policy(self, base: Policy) -> Policy:
        fields: dict[str, Any] = {
            name: self.whole(key) for key, name in COUNTS.items() if key in self.given
        }
        for key, name in TIMES.items():
            if key in self.given:
                is_auto = (key, self.given[key]) == ("zero_after", "auto")
                fields[name] = -1 if is_auto else self.time_ns(key)
        if "target" in self.given:
            fields["target_concurrency"] = self.number("target")
        if self.given.keys() & BATCHES:
            fields["batch"] = BatchTuning()  # an operator's bounds of the recorded ones
        return replace(base, **fields)

    def _concurrency(self, base: Behaviour, batch: Batch | None) -> int:
        if "concurrency" not in self.given:
            least = BATCHES_PER_REPLICA * batch.spec.max if batch else 1
            return max(base.concurrency, least) if "batch" in self.given else base.concurrency
        concurrency = self.whole("concurrency", 10**6)
        least = batch.spec.max if batch else 1
        if concurrency < least:
            why = "no batch would ever be full" if batch else "it runs nothing"
            raise ConfigError(
                f"{self.what('concurrency')} {concurrency}: {why}", hint=f"at least {least}"
            )
        return concurrency

    def _start(self, key: str) -> StartTime:
        median, _, ninth = self.given[key].partition("..")
        what = self.what(key)
        return StartTime(duration(median, what), duration(ninth, what) if ninth else 0)

    def _batch(self, base: Batch | None, endpoint: str) -> Batch | None:
        if not self.given.keys() & BATCHES:
            return base
        most = self.whole("batch", BATCH_MAX) if "batch" in self.given else 0
        if base is None and most < 1:
            raise ConfigError(
                "nothing says how many calls a batch holds",
                hint="--batch 8, or leave out --batch-wait and --batch-cost",
            )
        spec = base.spec if base else BatchSpec()
        spec = replace(spec, max=most or spec.max)
        if "batch_wait" in self.given:
            spec = replace(spec, wait_ns=self.time_ns("batch_wait"))
        return self._costed(spec, base, endpoint)

    def _costed(self, spec: BatchSpec, base: Batch | None, endpoint: str) -> Batch:
        if "batch_cost" in self.given:
            cost, is_weighed = self._cost()
            return Batch(replace(spec, is_weighed=is_weighed), cost)
        if base is not None:
            return Batch(spec, base.cost)
        learned = learned_cost(self.samples.get(endpoint, ()))
        if learned is None:
            of = f"of {endpoint} " if endpoint else ""
            raise ConfigError(
                f"{self.what('batch')} {spec.max}: nothing says what a batch {of}takes",
                hint="--batch-cost 20ms+2ms: a batch, and each call in it; --endpoint NAME leaves others out",
            )
        return Batch(spec, learned)

    def _cost(self) -> tuple[Affine, bool]:
        what = self.what("batch_cost")
        parts = [duration(part.strip(), what) for part in self.given["batch_cost"].split("+")]
        if len(parts) > COST_PARTS or not any(parts):
            raise ConfigError(
                f"{what} {self.given['batch_cost']!r} is not what a batch takes",
                hint="20ms+2ms: a batch, and each call in it; a third part is for each unit of the trace's sizes",
            )
        return Affine(*parts), len(parts) == COST_PARTS


def setups(
    given: Mapping[str, str], against: str | None, recording: Recording | None = None
) -> list[Setup]:
    """Return what is to be replayed: as given, and with --against as changed.

    Raises:
        ConfigError: Something of it cannot be read, or nothing could serve under it.
    """
    samples = recording.batches if recording else {}
    bases = _recorded(recording) if recording else {}
    first = _setup(
        "as given" if given or not recording else "recorded scale",
        Asked(given, "--", samples),
        bases,
    )
    if against is None:
        return [first]
    changes = _changes(against)
    words = ", ".join(f"{key}={value}" for key, value in changes.items())
    return [first, _setup(words, Asked(dict(given) | changes, "--against ", samples), bases)]


def _setup(name: str, asked: Asked, bases: Mapping[str, Behaviour]) -> Setup:
    return Setup(
        name=name,
        usual=USUAL if bases else asked.behaviour(USUAL),
        named={endpoint: asked.behaviour(base, endpoint) for endpoint, base in bases.items()},
        price_micro_usd=asked.micro_usd("price"),
        lending=asked.lending(),
    )


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


# -- as it was recorded


def _recorded(recording: Recording) -> dict[str, Behaviour]:
    names = {request.endpoint for request in recording.traffic}
    return {name: _behaviour(name, recording) for name in sorted(names)}


def _behaviour(name: str, recording: Recording) -> Behaviour:
    start = recording.starts.get(name, USUAL.start)
    scaled = recording.scaled.get(name)
    if scaled is None:
        return replace(USUAL, start=start)
    return Behaviour(
        policy=scaled.policy,
        concurrency=scaled.permits,
        gpus=max(1, scaled.gpu_count),
        start=start,
        batch=_learned_batch(scaled, recording.batches.get(name, ())),
    )


def _learned_batch(scaled: Scaled, samples: Sequence[tuple[int, int]]) -> Batch | None:
    """Return the batches of an endpoint that was seen to have some; their bound is not recorded, its permits are."""
    cost = learned_cost(samples)
    if cost is None:
        return None
    largest = max(size for size, _ in samples)
    most = max(largest, scaled.permits // BATCHES_PER_REPLICA)
    return Batch(BatchSpec(max=most, wait_ns=scaled.policy.batch.wait_ns or 0), cost)


def learned_cost(samples: Sequence[tuple[int, int]]) -> Cost | None:
    """Return what batches take, learned from some as a replica learns it: nine of ten take no longer."""
    if not samples:
        return None
    costs = Costs()
    for size, took_ns in samples:
        costs.saw(size, 0, took_ns)
    return costs


def number(text: str, what: str) -> float:
    """Return a number that is not negative.

    Raises:
        ConfigError: It is none.
    """
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e9:
        raise ConfigError(f"{what} {text!r} is no number from 0 on", hint=f"for example {what} 2")
    return found
