"""How did a replica end, and whose doing was it? Pure."""

from dataclasses import dataclass
from typing import Literal

from glowplug.node.messages import RankStats
from glowplug.node.processes import Exit

_SIGKILL = 9
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Cause:
    """Why the agent ended it, when it was not asked to."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known once the process has gone."""

    exit: Exit
    asked: bool  # the controller wanted it to end
    was_ready: bool
    cause: Cause | None = None
    told: RankStats | None = None  # the last that the rank said of itself
    oom_kills: int = 0
    limit_bytes: int = 0
    peak_bytes: int = 0
    last_words: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the report says."""

    state: Literal["stopped", "failed"]
    code: str = ""
    detail: str = ""


def judge(facts: Facts) -> Verdict:
    """Return the verdict; the nearest cause wins."""
    told = facts.told
    if facts.oom_kills and facts.exit.signal in (None, _SIGKILL):
        return Verdict("failed", "out_of_memory", _memory(facts))
    if facts.cause is not None:
        return Verdict("failed", facts.cause.code, facts.cause.detail)
    if facts.asked:
        return Verdict("stopped")
    if told is not None and told.state == "failed":
        return Verdict("failed", told.code or "start_failed", told.detail)
    if told is not None and told.state in ("draining", "stopped") and facts.exit.code is not None:
        return Verdict("stopped", "", "it was told to end by a signal, or its lease ran out")
    return Verdict("failed", "replica_lost" if facts.was_ready else "start_failed", _words(facts))


def _memory(facts: Facts) -> str:
    limit, peak = facts.limit_bytes // _MEBIBYTE, facts.peak_bytes // _MEBIBYTE
    if not limit:
        return f"the kernel killed it for memory: it had {peak} MiB, and the machine had none left"
    return (
        f"the kernel killed it for memory: it had {peak} MiB and its limit is {limit} MiB (memory=)"
    )


def _words(facts: Facts) -> str:
    text = f"the rank {facts.exit.text}"
    return f"{text}; its last words:\n{facts.last_words}" if facts.last_words else text
