"""What is shown while a call waits for a replica to start? The phases of the start, as the router tells them."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from glowplug.commands.output import Output

if TYPE_CHECKING:
    from glowplug.client import Reply

SHOWN_FROM_S = 0.5  # left to wait
_WORDS = {
    "queued": "waiting for a replica to be planned",
    "capacity": "waiting for room on a node",
    "launch": "waiting for the node",
    "fetch": "fetching the code",
    "env": "building the environment",
    "fork": "starting the process",
    "load": "loading",
    "warm": "warming up",
}


class Wait:
    """The wait of one call."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._phase = ""
        self._run: Mapping[str, Any] | None = None  # said when a replica has the call

    def take(self, status: Mapping[str, Any]) -> None:
        """Take what the router tells, and show each phase once."""
        phase = str(status.get("phase", ""))
        if phase == "run":
            self._run = status
        elif phase != self._phase:
            self._phase = phase
            eta_s = status.get("eta_s")
            if isinstance(eta_s, int | float) and eta_s < SHOWN_FROM_S:
                return  # over before anybody has read that it began
            about = f", about {eta_s:.1f} s more" if isinstance(eta_s, int | float) else ""
            self._out.note(f"{_WORDS.get(phase, phase)}{about}")

    def answered(self, reply: "Reply") -> "Reply":
        """Return the answer as it would be without the wait: its head came as an event."""
        if not (reply.headers.get("glowplug-cold") and _is_events(reply)):
            return reply
        first = next(reply.pieces, None)  # by now the event that says what follows has come
        run = self._run or {}
        headers = reply.headers | _headers(run)
        if run.get("whole"):
            kind = str(run.get("content_type", "application/json"))
            body = first or b""
            if not kind.startswith("application/json"):
                body = base64.b64decode(json.loads(body)["base64"])
            return replace(reply, headers=headers | {"content-type": kind}, pieces=iter((body,)))
        pieces: Iterator[bytes] = reply.pieces if first is None else chain((first,), reply.pieces)
        return replace(reply, headers=headers, pieces=pieces)


def _is_events(reply: "Reply") -> bool:
    return reply.headers.get("content-type", "").startswith("text/event-stream")


def _headers(run: Mapping[str, Any]) -> dict[str, str]:
    """Return what the head would have said."""
    timings = run.get("timings_ms") or {}
    told = {
        "glowplug-version": run.get("version"),
        "glowplug-attempts": run.get("attempts"),
        "glowplug-executed": run.get("executed"),
        "server-timing": ", ".join(f"{name};dur={ms:.3f}" for name, ms in timings.items()),
    }
    return {name: str(value) for name, value in told.items() if value}
