"""What is kept of every plan, so that it can be made again? What the planner saw, and the digest of what it decided.

A recording is a file of JSON lines. What did not change since the line before is left out, memory too when it is what
that line's plan left behind. The first line of a file has everything, so every file stands alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from glowplug_router.records.decided import Plan
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Observed

SCHEMA = 1
RECORDING_MAX_BYTES = 256 * 1024 * 1024  # of one router's life: hours of a busy one; then it ends
FILE = "plans.jsonl"
CALLS = "calls.jsonl"  # beside it, the gateway's: `gateway.recording`

Planner = Callable[[Observed, tuple[Demand, ...], Memory, int], Plan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One plan: its inputs as far as they are news, and what came of them."""

    now_ns: int
    digest: str  # of the plan; "error:TypeError" where the planner failed
    actions: int
    observed: Observed | None = None
    demand: tuple[Demand, ...] | None = None
    memory: Memory | None = None
    schema: int = SCHEMA


_encode = msgspec.json.Encoder(order="deterministic").encode


def plan_digest(plan: Plan) -> str:
    """Return the digest of all that a plan decides and remembers: equal plans have equal ones, in any process."""
    actions = [(type(action).__name__, action) for action in plan.actions]
    return sha256(_encode((actions, plan.memory, plan.explain, plan.wake_ns))).hexdigest()


class Recorder:
    """A planner that writes down what it is asked and what it answers, up to a bound."""

    def __init__(
        self, planner: Planner, path: Path, *, limit_bytes: int = RECORDING_MAX_BYTES
    ) -> None:
        """Begin a recording; one that is there already becomes `<name>.1`.

        Raises:
            OSError: It cannot be written.
        """
        self.path = path
        self._planner = planner
        self._left_bytes = limit_bytes
        self._observed: Observed | None = None
        self._demand: tuple[Demand, ...] | None = None
        self._memory: Memory | None = None
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists():
            path.replace(path.with_name(f"{path.name}.1"))
        self._file = path.open("ab", buffering=0)  # a line at once: a crash loses none before it
        path.chmod(0o600)

    def __call__(
        self, observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
    ) -> Plan:
        """Plan, and write it down; a failure is written down and raised as it is."""
        try:
            plan = self._planner(observed, demand, memory, now_ns)
        except Exception as error:
            self._write(observed, demand, memory, now_ns, f"error:{type(error).__name__}", None)
            raise
        self._write(observed, demand, memory, now_ns, plan_digest(plan), plan)
        return plan

    def close(self) -> None:
        """End the recording; what is planned from now on is not in it."""
        self._left_bytes = 0
        self._file.close()

    def _write(
        self,
        observed: Observed,
        demand: tuple[Demand, ...],
        memory: Memory,
        now_ns: int,
        digest: str,
        plan: Plan | None,
    ) -> None:
        if self._left_bytes <= 0:
            return
        moment = Moment(
            now_ns=now_ns,
            digest=digest,
            actions=len(plan.actions) if plan else 0,
            observed=None if observed == self._observed else observed,
            demand=None if demand == self._demand else demand,
            memory=None if memory == self._memory else memory,
        )
        line = _encode(moment) + b"\n"
        if len(line) > self._left_bytes:
            self.close()
            return
        self._left_bytes -= len(line)
        self._file.write(line)
        self._observed, self._demand = observed, demand
        self._memory = plan.memory if plan else memory
