"""Does the planner decide today what it decided then? A recording of `glowplug up --record`, planned again."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from glowplug.errors import ConfigError
from glowplug_router.plan import plan as real_plan
from glowplug_router.recording import SCHEMA, Moment, Planner, plan_digest
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Observed

SHOWN_MAX = 5  # differences that are kept in full
LINE_MAX_BYTES = 64 * 1024 * 1024  # 5,000 replicas make 5 MB
_moment = msgspec.json.Decoder(Moment).decode


@dataclass(frozen=True, slots=True)
class Difference:
    """A plan that came out otherwise."""

    line: int
    now_ns: int
    recorded: str  # digest
    replayed: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What replaying a recording came to."""

    plans: int
    actions: int  # that the recorded plans had
    mismatches: int
    differences: tuple[Difference, ...]  # the first of them
    digest: str  # over all replayed plans


def replayed(path: Path, planner: Planner = real_plan) -> Comparison:
    """Plan every recorded moment again. Memory goes on from plan to plan, so what comes out otherwise may stay so.

    Raises:
        ConfigError: The file is no recording, or one of another schema.
    """
    actions = mismatches = 0
    differences: list[Difference] = []
    digests: list[str] = []
    again = _Again(path, planner)
    for line, moment in enumerate(_moments(path), start=1):
        digest = again.plan(moment)
        digests.append(digest)
        actions += moment.actions
        if digest != moment.digest:
            mismatches += 1
            differences.append(Difference(line, moment.now_ns, moment.digest, digest))
            del differences[SHOWN_MAX:]
    if not digests:
        raise ConfigError(f"{path} has no plan in it", hint="`glowplug up --record DIR` writes one")
    whole = sha256("".join(digests).encode()).hexdigest()
    return Comparison(len(digests), actions, mismatches, tuple(differences), whole)


class _Again:
    """The planner, and what the lines so far said."""

    def __init__(self, path: Path, planner: Planner) -> None:
        self._path = path
        self._planner = planner
        self._observed: Observed | None = None
        self._demand: tuple[Demand, ...] | None = None
        self._memory: Memory | None = None

    def plan(self, moment: Moment) -> str:
        """Return the digest of the plan of one moment."""
        observed = self._observed = moment.observed or self._observed
        demand = self._demand = self._demand if moment.demand is None else moment.demand
        memory = self._memory = moment.memory or self._memory
        if observed is None or demand is None or memory is None:
            raise ConfigError(
                f"{self._path} begins in the middle", hint="its first line has everything"
            )
        try:
            plan = self._planner(observed, demand, memory, moment.now_ns)
        except Exception as error:  # that it fails, and how, is what is compared
            return f"error:{type(error).__name__}"
        self._memory = plan.memory
        return plan_digest(plan)


def _moments(path: Path) -> Iterator[Moment]:
    try:
        with path.open("rb") as file:
            while line := file.readline(LINE_MAX_BYTES):
                moment = _moment(line)
                if moment.schema != SCHEMA:
                    raise ConfigError(
                        f"{path} has schema {moment.schema}; this glowplug knows {SCHEMA}",
                        hint="replay it with the glowplug that recorded it",
                    )
                yield moment
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="name a file") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is no recording: {error}", hint="`glowplug up --record DIR` writes one"
        ) from error
