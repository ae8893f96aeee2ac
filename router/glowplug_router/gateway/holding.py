"""What does a caller hear while its call waits for a replica to start? In which phase it is, and for how long still.

A caller that reads events (SSE or NDJSON) need not look at a silent connection: as soon as its call must wait for a
start, the answer begins, with a `status` event at each change and every other second. What the replica answers then
follows in the same stream, as if it had been streamed from the start: `output` … `done`; a failure is an `error` event
that has the problem document. Everybody else waits for the answer's head as ever.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import orjson

from glowplug.clock import MILLISECOND, SECOND
from glowplug.events import ndjson_event, sse_event
from glowplug.wire.messages import Response, Trailer
from glowplug_router.gateway.calls import Call
from glowplug_router.gateway.problems import Trouble, document
from glowplug_router.records.published import Snapshot

if TYPE_CHECKING:
    from glowplug_router.gateway.exchange import Exchange

SAY_EVERY_NS = 2 * SECOND  # proxies take a stream for dead after half a minute at the earliest
EVENTS = "text/event-stream"
NDJSON = "application/x-ndjson"
_JSON = "application/json"
_FRAMES: dict[str, Callable[[str, bytes], bytes]] = {EVENTS: sse_event, NDJSON: ndjson_event}

Phases = tuple[tuple[str, int], ...]  # of a start that has been timed, in order

# Phase of a start -> its timed parts, in order; what comes before the first has not begun.
_PARTS: dict[str, tuple[str, ...]] = {
    "queued": (),
    "capacity": (),
    "launch": (),
    "fetch": ("fetch",),
    "env": ("env",),
    "fork": ("refused", "fork", "exec", "import"),
    "load": ("load",),
    "warm": ("warm", "check"),
}


def left_ns(learned: Phases, phase: str, in_phase_ns: int) -> int | None:
    """Return how long a start still takes if it goes as the last one did; None when there was none."""
    if not learned:
        return None
    order = list(_PARTS)
    here = order.index(phase) if phase in _PARTS else 0
    spent = {part for name in order[:here] for part in _PARTS[name]}
    now = set(_PARTS.get(phase, ()))
    current_ns = sum(ns for name, ns in learned if name in now)
    later_ns = sum(ns for name, ns in learned if name not in spent | now)
    return max(0, current_ns - in_phase_ns) + later_ns


def form_of(accept: str) -> str:
    """Return the kind of events a caller reads, "" for one that asked for none, or for raw bytes as well."""
    kinds = [one.partition(";")[0].strip().lower() for one in accept.split(",")]
    if "application/octet-stream" in kinds:
        return ""
    return next((kind for kind in kinds if kind in _FRAMES), "")


class Holding:
    """The calls of this gateway that wait for a start and whose callers are told of it."""

    def __init__(self) -> None:
        self._held: dict[Call, Held] = {}
        self._phases: dict[str, tuple[str, int]] = {}  # version -> phase of its start, since when
        self._learned: dict[str, Phases] = {}  # endpoint -> its last start

    def begin(self, exchange: "Exchange", call: Call, accept: str, now_ns: int) -> None:
        """Answer a call that waits with events from now on, if its caller reads them."""
        form = form_of(accept)
        if not form:
            return
        held = Held(self, exchange, form)
        exchange.open_stream(call, form)
        call.caller = held
        call.offload = False  # an answer in events is here, however large it is
        self._held[call] = held
        # Its place is not looked up: a crowd that arrives at once would look through itself for each.
        self._say(call, held, 0, now_ns)

    def learn(self, snapshot: Snapshot, now_ns: int) -> None:
        """Take what a snapshot says about starts."""
        phases = {}
        for route in snapshot.endpoints:
            name = f"{route.app}/{route.endpoint}"
            for version in route.versions:
                key = f"{name}@{version.number}"
                known = self._phases.get(key)
                # A replica that is ready and not dialled yet: it is as far as it was said to be last.
                still = known[0] if known and version.replicas else "queued"
                phase = version.starting or still
                phases[key] = known if known and known[0] == phase else (phase, now_ns)
                for replica in version.replicas:
                    if replica.phases:
                        self._learned[name] = replica.phases
        self._phases = phases
        names = {f"{route.app}/{route.endpoint}" for route in snapshot.endpoints}
        self._learned = {name: known for name, known in self._learned.items() if name in names}

    def __len__(self) -> int:
        return len(self._held)

    def tick(self, calls: Iterable[Call], now_ns: int) -> None:
        """Tell those who wait what has changed, and the others now and then that nothing has."""
        if not self._held:
            return
        for gone in [
            call for call in self._held if call.over
        ]:  # their callers left while they waited
            del self._held[gone]
        places: dict[str, int] = {}
        for call in calls:
            if call.over or call.link is not None:
                continue
            place = places[call.lane.key] = places.get(call.lane.key, 0) + 1
            held = self._held.get(call)
            if held is not None and held.is_due(self.phase_of(call), now_ns):
                self._say(call, held, place, now_ns)

    def forget(self, call: Call) -> None:
        """Leave a call alone from now on."""
        self._held.pop(call, None)

    def phase_of(self, call: Call) -> str:
        """Return in which phase the start is that a call waits for."""
        return self._phases.get(call.lane.key, ("queued", 0))[0]

    def _say(self, call: Call, held: "Held", place: int, now_ns: int) -> None:
        phase, since_ns = self._phases.get(call.lane.key, ("queued", now_ns))
        still_ns = left_ns(self._learned.get(call.lane.name, ()), phase, now_ns - since_ns)
        status: dict[str, object] = {
            "phase": phase,
            "eta_s": None if still_ns is None else round(still_ns / SECOND, 3),
            "waited_s": round((now_ns - call.arrived_ns) / SECOND, 3),
            "version": f"v{call.lane.number}",
        }
        if place:
            status["position"] = place
        held.say("status", status)
        held.said, held.said_ns = phase, now_ns


class Held:
    """A caller whose answer has begun with events."""

    def __init__(self, holding: Holding, exchange: "Exchange", form: str) -> None:
        self.said = ""  # the phase that was told last
        self.said_ns = 0
        self._holding = holding
        self._exchange = exchange
        self._form = form
        self._frame = _FRAMES[form]
        self._is_passed_on = (
            False  # the replica writes events of the same kind: they go through as they are
        )

    def is_due(self, phase: str, now_ns: int) -> bool:
        """Say whether there is something to tell."""
        return phase != self.said or now_ns - self.said_ns >= SAY_EVERY_NS

    def say(self, event: str, data: Mapping[str, object]) -> None:
        """Write an event of ours."""
        self._exchange.say(self._frame(event, orjson.dumps(data)))

    # -- Caller ----------------------------------------------------------------------------------------

    def head(self, call: Call, response: Response, body: bytes, *, final: bool) -> None:
        self._holding.forget(call)
        kind = next((v for name, v in response.headers if name == "content-type"), _JSON)
        self._is_passed_on = not final and kind.partition(";")[0].strip() == self._form
        how = {"whole": final, "content_type": kind}
        self.say("status", self._answered(call, response) | how)
        if self._is_passed_on:
            self._exchange.chunk(call, body)
            return
        self._exchange.say(self._frame("output", _as_json(kind, body)))
        if final:
            self.say("done", {})
            self._exchange.end(call, Trailer())

    def _answered(self, call: Call, response: Response) -> dict[str, object]:
        started = call.link.phases if call.link is not None else ()
        waited_ns = call.sent_ns - call.arrived_ns
        timings = (("queue", waited_ns), *started, *response.timings)
        return {
            "phase": "run",
            "version": f"v{call.lane.number}",
            "attempts": call.attempt,
            "executed": response.executed,
            "timings_ms": {name: round(ns / MILLISECOND, 3) for name, ns in timings},
        }

    def chunk(self, call: Call, body: bytes) -> None:
        if self._is_passed_on:
            self._exchange.chunk(call, body)
        elif body:
            self._exchange.chunk(call, self._frame("output", _as_json("", body)))

    def end(self, call: Call, trailer: Trailer) -> None:
        if not self._is_passed_on:
            self.say("done", {})
        self._exchange.end(call, trailer)

    def fail(self, call: Call, trouble: Trouble) -> None:
        self._holding.forget(call)
        if not (self._is_passed_on and trouble.document):  # else the replica has written the event
            self._exchange.say(self._frame("error", document(trouble, call.request_id)))
        self._exchange.end(call, Trailer())


def _as_json(kind: str, body: bytes) -> bytes:
    """Return an answer as the data of an event; what is not JSON is carried as base64."""
    if kind.partition(";")[0].strip() == _JSON:
        return body
    return orjson.dumps({"base64": b64encode(body).decode()})
