"""What does a deployment tell the one who waits for it? One record a step, as a line of JSON."""

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from glowplug.errors import GlowplugError
from glowplug.node.messages import Phase
from glowplug.problems import PROBLEMS
from glowplug.spec import Json

StepName = Literal["store", "start", "exercise", "commit", "drain", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happened, or goes on, in a deployment. Empty fields are left out of the line."""

    step: StepName
    state: str = ""  # running, done, not exercised, or the state of a starting replica
    detail: str = ""
    endpoint: str = ""
    version: int = 0
    new: bool = False  # store: this version did not exist before
    replica: str = ""
    phases: tuple[Phase, ...] = ()
    generation: int = 0
    unchanged: bool = False  # done: everything was already as asked
    deployment: Json = None
    problem: dict[str, Json] = field(default_factory=dict)


def line(step: Step) -> bytes:
    """Return a step as one line of NDJSON."""
    record = msgspec.to_builtins(step)
    phases = [{"name": phase.name, "ns": phase.ns} for phase in step.phases]
    shown = {
        key: value for key, value in {**record, "phases": phases}.items() if value or key == "step"
    }
    return msgspec.json.encode(shown) + b"\n"


def failed(error: GlowplugError, *, endpoint: str = "", replica: str = "") -> Step:
    """Return the last step of a deployment that did not come about."""
    row = PROBLEMS.get(error.code, PROBLEMS["internal"])
    problem: dict[str, Json] = {
        "type": f"urn:glowplug:problem:{error.code}",
        "title": row.title,
        "status": row.status,
        "code": error.code,
        "detail": error.message,
        "hint": error.hint or row.hint,
        "retryable": row.retryable,
    }
    return Step(
        step="failed",
        state="failed",
        detail=error.message,
        endpoint=endpoint,
        replica=replica,
        problem=problem,
    )
