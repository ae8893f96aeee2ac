"""What is each endpoint of a deployment doing, in words? From the router's steps to a line an endpoint.

Knows neither terminal nor clock: steps and `now_ns` go in, lines come out.
"""

from dataclasses import dataclass, field
from typing import Any

import click

from glowplug.clock import MILLISECOND, SECOND

Step = dict[str, Any]  # as the router words it: {"step", "state", "endpoint", "version", …}

SHOWN_NS = 10 * MILLISECOND  # shorter phases of a start are not worth a word
OVERDUE_NS = 3 * SECOND  # what lasts longer is told even where nothing can be redrawn
AGAIN_NS = 30 * SECOND
_DOING = {
    "waiting": "waits for room on a node",
    "fetching": "fetching its code",
    "building": "building its environment",
    "starting": "starting",
    "importing": "importing",
    "loading": "loading",
    "warming": "warming up",
    "swapping": "taking in the new code",
    "ready": "ready",
}


@dataclass(slots=True)
class _Row:
    name: str
    doing: str
    since_ns: int
    told_ns: int = 0  # when its present state was last told; 0 = never
    ready: str = ""  # how its start went, once it has
    note: str = ""  # what to know of how it runs


@dataclass(slots=True)
class Board:
    """The endpoints of one deployment."""

    unchanged: bool = True
    ready: set[str] = field(default_factory=set)  # replicas that were tried out
    _rows: dict[str, _Row] = field(default_factory=dict)

    def take(self, step: Step, now_ns: int) -> list[str]:
        """Take one step in, and return what it has settled."""
        name = f"{step.get('endpoint', '')}@v{step.get('version', 0)}"
        match step.get("step"):
            case "store":
                self._rows[name] = _Row(name, "stored", now_ns)
            case "start":
                return self._started(name, step, now_ns)
            case "exercise":
                return self._exercised(name, step, now_ns)
            case "commit":
                self.unchanged = False
                return self._rest()
            case "drain" if step.get("detail"):
                return [f"  {_versions(str(step['detail']))}: finishing, then gone"]
            case "done":
                return self._rest()
            case _:
                pass
        return []

    def running(self, now_ns: int) -> list[str]:
        """Return a line for everything under way."""
        return [_told(row, now_ns) for row in self._rows.values()]

    def overdue(self, now_ns: int) -> list[str]:
        """Return a line for what has lasted long since it began or was told of."""
        lines = []
        for row in self._rows.values():
            patience_ns = AGAIN_NS if row.told_ns else OVERDUE_NS
            if now_ns - max(row.since_ns, row.told_ns) >= patience_ns:
                row.told_ns = now_ns
                lines.append(_told(row, now_ns))
        return lines

    def failed(self, now_ns: int) -> list[str]:
        """Return what was under way when it all failed."""
        lines = [f"{_mark('✗', 'red')} {row.name}: {row.doing}" for row in self._rows.values()]
        self._rows.clear()
        return lines

    def _started(self, name: str, step: Step, now_ns: int) -> list[str]:
        state = str(step.get("state", ""))
        detail = str(step.get("detail", ""))
        why = f": {detail}" if detail and state == "waiting" else ""
        self._now(name, _DOING.get(state, state) + why, now_ns)
        if state == "ready":
            self.ready.add(str(step.get("replica", "")))
            self._rows[name].ready, self._rows[name].note = _phases(step), detail
        return []

    def _exercised(self, name: str, step: Step, now_ns: int) -> list[str]:
        match step.get("state"):
            case "running":
                self._now(name, "answering its first example", now_ns)
                return []
            case "done":
                return self._settled(name, "answered its first example")
            case _:
                return self._settled(name, f"not exercised: {step.get('detail', '')}")

    def _now(self, name: str, doing: str, now_ns: int) -> None:
        row = self._rows.setdefault(name, _Row(name, doing, now_ns))
        if row.doing != doing:
            row.doing, row.since_ns, row.told_ns = doing, now_ns, 0

    def _settled(self, name: str, how: str) -> list[str]:
        row = self._rows.pop(name, None)
        ready = f"ready{row.ready}, " if row is not None else ""
        notes = [f"  {row.note}"] if row is not None and row.note else []
        return [f"{_mark('✓', 'green')} {name}: {ready}{how}", *notes]

    def _rest(self) -> list[str]:
        """Return those that needed no start: they serve as they are."""
        lines = [f"  {row.name}: as it was" for row in self._rows.values()]
        self._rows.clear()
        return lines


def _mark(mark: str, colour: str) -> str:
    return click.style(mark, fg=colour)


def _told(row: _Row, now_ns: int) -> str:
    seconds = (now_ns - row.since_ns) // SECOND
    return f"… {row.name}: {row.doing}{f' ({seconds} s)' if seconds else ''}"


def _phases(step: Step) -> str:
    phases = [one for one in step.get("phases", ()) if one["ns"] >= SHOWN_NS]
    told = ", ".join(f"{one['name']} {one['ns'] / SECOND:.2f} s" for one in phases)
    return f" ({told})" if told else ""


def _versions(keys: str) -> str:
    """Return "greet@v1" of "hello/greet@1"."""
    return ", ".join(key.rpartition("/")[2].replace("@", "@v") for key in keys.split(", "))
