"""How is what dispatch decides carried out? Events in, effects out to links and callers; one timer.

A call is *over* when its caller has an answer or has gone; it is *settled* when its replica has finished with it and
the permit is free. Mostly both happen at once; after a disconnect the caller's side is over first.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import assert_never

from glowplug.clock import SECOND, Clock
from glowplug.wire.messages import Failure, Response, Trailer
from glowplug_router.dispatch import (
    Again,
    CallArrived,
    CallBegan,
    CallCancelled,
    CallEnded,
    CallRefused,
    Cancel,
    DispatchState,
    Effect,
    Event,
    Lost,
    Refuse,
    ReplicaLeaving,
    ReplicaLost,
    ReplicaReady,
    Send,
    Tick,
    Wake,
    step,
)
from glowplug_router.gateway.calls import Call, Carrier
from glowplug_router.gateway.mourning import Mourning
from glowplug_router.gateway.problems import Trouble, refusal
from glowplug_router.gateway.reporter import Reporter
from glowplug_router.gateway.routes import Lane
from glowplug_router.gateway.tally import Tallies

GRACE_NS = SECOND // 2  # the replica knows the deadline too and says more about it: it goes first
GONE = 499
_GO_ELSEWHERE = frozenset({"busy", "draining", "handed_back"})
_FAULTS = frozenset({"internal", "out_of_memory", "unavailable"})  # the replica's own


class Engine:
    """Calls, links and the state of dispatch of one gateway."""

    def __init__(self, clock: Clock, tallies: Tallies, reporter: Reporter) -> None:
        self.tallies = tallies
        self.calls: dict[int, Call] = {}  # every call that is not settled
        self.by_request: dict[str, Call] = {}  # the same, while a replica may act for one
        self.links: dict[str, Carrier] = {}  # replicas that may get calls, or still have some
        self.ready: dict[str, int] = {}  # version -> links that stand; none when there is none
        self.mourning = Mourning(self._bury)
        self._serves: dict[str, str] = {}  # replica -> version
        # Endpoint -> a version with traffic now; whoever knows the routes sets it.
        self.redraw: Callable[[str], Lane | None] = lambda _: None
        self._clock = clock
        self._reporter = reporter
        self._state = DispatchState()
        self._serial = 0
        self._events: deque[Event] = deque()  # what effects caused; empty between calls of `feed`
        self._feeding = False
        self._timer: asyncio.TimerHandle | None = None
        self._armed_ns = 0

    # -- the loop of events and effects --------------------------------------------------------------

    def feed(self, event: Event, now_ns: int) -> None:
        """Let dispatch take an event and do what it says; events that this causes come after it, in order."""
        if self._feeding:
            self._events.append(event)
            return
        self._feeding = True
        try:
            while True:
                for effect in step(self._state, event, now_ns):
                    if type(effect) is Send:  # nearly all are
                        self._send(effect, now_ns)
                    else:
                        self._carry_out(effect, now_ns)
                if not self._events:
                    break
                event = self._events.popleft()
        finally:
            self._feeding = False
        due_ns = self._state.timers.first_ns
        if due_ns is not None and (self._timer is None or due_ns < self._armed_ns):
            self._arm(due_ns, now_ns)

    def _carry_out(self, effect: Effect, now_ns: int) -> None:
        match effect:
            case Send():
                self._send(effect, now_ns)
            case Wake():
                self._reporter.wake(self.tallies.of(effect.version))
            case Refuse():
                self._refuse(effect, now_ns)
            case Cancel():
                call = self.calls.get(effect.call)
                if call is not None and call.link is not None:
                    call.link.cancel(call)
            case Lost():
                self._lost(effect, now_ns)
            case Again():
                self._wait_again(self.calls.get(effect.call))
            case _:
                assert_never(effect)

    def _arm(self, due_ns: int, now_ns: int) -> None:
        # A timer that fires too early costs a Tick; cancelling one for every call would cost more.
        if self._timer is not None:
            self._timer.cancel()
        self._armed_ns = due_ns
        self._timer = asyncio.get_running_loop().call_later(
            max(0, due_ns - now_ns) / SECOND, self._tick
        )

    def _tick(self) -> None:
        self._timer = None
        self.feed(Tick(), self._clock.now_ns())

    # -- from callers --------------------------------------------------------------------------------

    def arrive(self, call: Call) -> None:
        """Take a call whose body is here; it arrives now, unless whoever made it has looked at the clock."""
        now_ns = call.arrived_ns = call.arrived_ns or self._clock.now_ns()
        number = call.number = self._serial = self._serial + 1
        self.calls[number] = call
        self.by_request[call.request_id] = call
        lane = call.lane
        call.cold = lane.key not in self.ready
        tally = lane.tally
        tally.arrivals += 1
        tally.queued += 1
        tally.last_arrival_ns = now_ns
        if not tally.is_dirty:
            self._reporter.changed(tally)
        event = CallArrived(
            number, lane.key, call.deadline_ns, call.tenant, call.klass, call.parent, 1, call.has_asked,
            call.affinity, len(call.body),
        )  # fmt: skip  # a line each would hide the function
        self.feed(event, now_ns)

    def cancel(self, call: Call) -> None:
        """Note that the caller has gone; the replica is told."""
        if not call.over:
            self._over(call, GONE, self._clock.now_ns())
            self._withdraw(call)

    def _withdraw(self, call: Call) -> None:
        """Take a call that is over out of the queue, or have its replica stop it."""
        if call.link is None:
            call.lane.tally.queued -= 1
            self._forget(call.number)
            self._reporter.changed(call.lane.tally)
        self.feed(CallCancelled(call.number), self._clock.now_ns())

    # -- from links ----------------------------------------------------------------------------------

    def whole(self, call: Call, response: Response, body: bytes) -> None:
        """Take an answer that is all here."""
        if not call.over:
            call.begun = True
            call.caller.head(call, response, body, final=True)
        self._done(call, response.status, response.timings, response.executed)

    def begin(self, call: Call, response: Response, body: bytes) -> None:
        """Take the head of a streamed answer, and its first piece."""
        call.begun = True
        if not call.over:
            call.caller.head(call, response, body, final=False)
        self.feed(CallBegan(call.number), self._clock.now_ns())

    def chunk(self, call: Call, body: bytes) -> None:
        """Take a piece of a streamed answer; nobody waits for one of a call that is over."""
        if not call.over:
            call.caller.chunk(call, body)
        elif call.link is not None:
            # Or the replica might wait for ever before it sees the CANCEL.
            call.link.credit(call, len(body))

    def end(self, call: Call, trailer: Trailer) -> None:
        """Take the end of a streamed answer."""
        if not call.over:
            call.caller.end(call, trailer)
        self._done(call, 200, trailer.timings, trailer.executed)

    def fail(self, call: Call, failure: Failure, document: bytes) -> None:
        """Take a failure; one that says "busy" before anything ran goes back to the queue."""
        if (
            failure.code in _GO_ELSEWHERE
            and failure.executed == "no"
            and not call.begun
            and not call.over
        ):
            self._requeue(call, failure.code)
            return
        executed = failure.executed if failure.executed in ("no", "yes") else "maybe"
        trouble = Trouble(
            failure.code,
            failure.detail,
            executed=executed,  # type: ignore[arg-type]  # checked in the line above
            phase="run",
            retry_after_ns=failure.retry_after_ms * 1_000_000,
            document=document,
        )
        if not call.over:
            call.caller.fail(call, trouble)
        self._done(call, trouble.status, (), executed, is_fault=failure.code in _FAULTS)

    def replica_ready(self, link: Carrier, version: str, permits: int, ahead: int = 0) -> None:
        """Use a link from now on; called again when its permits changed, or its version (swapped in place)."""
        self._count_link(link.replica, version)
        self.links[link.replica] = link
        self.feed(ReplicaReady(link.replica, version, permits, ahead), self._clock.now_ns())

    def _count_link(self, replica: str, version: str) -> None:
        """Note which version a replica serves, "" for none any more."""
        before = self._serves.pop(replica, "")
        for key, change in ((before, -1), (version, 1)):
            if key:
                self.ready[key] = self.ready.get(key, 0) + change
                if not self.ready[key]:
                    del self.ready[key]
        if version:
            self._serves[replica] = version

    def replica_leaving(self, replica: str) -> None:
        """Send it no more calls."""
        self._count_link(replica, "")
        self.feed(ReplicaLeaving(replica), self._clock.now_ns())

    def replica_lost(self, replica: str) -> None:
        """Forget a link that is gone; the calls on it end."""
        if self.links.pop(replica, None) is not None:
            self._count_link(replica, "")
            self.feed(ReplicaLost(replica), self._clock.now_ns())

    # -- time ------------------------------------------------------------------------------------------

    def sweep(self, now_ns: int) -> None:
        """End calls that are past their deadline though their replica should have ended them; called with the pulse."""
        for call in list(self.calls.values()):
            if call.link is None:
                continue
            if call.over:  # cancelled: its replica ends it, or its link breaks
                continue
            run_until_ns = call.sent_ns + call.lane.run_ns
            # A stream that has begun may go on for as long as it may run, unless its caller said otherwise.
            wait_until_ns = call.deadline_ns if call.has_asked or not call.begun else run_until_ns
            if now_ns > min(wait_until_ns, run_until_ns) + GRACE_NS:
                code = "deadline" if wait_until_ns < run_until_ns else "run_timeout"
                detail = f"{call.lane.key}: no answer in time; the call was told to stop"
                self.give_up(call, Trouble(code, detail, executed="maybe", phase="run"))

    def give_up(self, call: Call, trouble: Trouble) -> None:
        """Answer a call that has no answer yet, and have its replica stop it."""
        if not call.over:
            call.caller.fail(call, trouble)
            self._over(call, trouble.status, self._clock.now_ns())
            self._withdraw(call)

    def stop(self) -> None:
        """Answer everything that waits: this process is about to end."""
        for call in [c for c in self.calls.values() if c.link is None and not c.over]:
            self.give_up(call, refusal("shutting_down", call.lane.key, retry_after_ns=SECOND))

    def abandon(self) -> None:
        """Answer everything that still runs: the drain's time is over."""
        for call in [c for c in self.calls.values() if not c.over]:
            detail = f"{call.lane.key}: the router stopped while the call ran"
            self.give_up(
                call, Trouble("shutting_down", detail, executed=call.executed_so_far, phase="run")
            )
        self.mourning.end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- carrying out ----------------------------------------------------------------------------------

    def _send(self, effect: Send, now_ns: int) -> None:
        call = self.calls.get(effect.call)
        if call is None:
            return
        link = self.links.get(effect.replica)
        if link is None:  # it broke in this turn: ReplicaLost is behind us in the queue of events
            self._events.append(CallRefused(effect.call, effect.replica, draining=True))
            return
        tally = call.lane.tally
        tally.queued -= 1
        tally.inflight += 1
        call.link = link
        call.sent_ns = now_ns
        call.attempt = effect.attempt
        link.carry(call, max(1, call.deadline_ns - now_ns) if call.has_asked else 0)

    def _refuse(self, effect: Refuse, now_ns: int) -> None:
        call = self._forget(effect.call)
        if call is None:
            return
        lane = call.lane
        lane.tally.queued -= 1
        self._reporter.changed(lane.tally)
        if effect.code == "version_not_found" and not (call.pinned or call.over):
            other = self.redraw(lane.name)
            if other is not None and other.key != lane.key:
                # Its version left while it waited, or was on its way to it: it never ran.
                call.lane = other
                call.arrived_ns = now_ns
                self.arrive(call)
                return
        if not call.over:
            why = lane.tally.failed if effect.code == "start_failed" else ""
            trouble = refusal(effect.code, lane.key, why=why, retry_after_ns=effect.retry_after_ns)
            call.caller.fail(call, trouble)
            self._over(call, trouble.status, now_ns)

    def _lost(self, effect: Lost, now_ns: int) -> None:
        call = self.calls.get(effect.call)
        if call is None:
            return
        self._unsettle(call)
        if not call.over:
            replica = call.link.replica if call.link is not None else "its replica"
            detail = f"{call.lane.key}: the connection to {replica} broke while it had the call"
            trouble = Trouble("replica_lost", detail, executed=effect.executed, phase="run")
            self.mourning.add(replica, call, trouble)

    def _bury(self, call: Call, trouble: Trouble) -> None:
        if not call.over:
            call.caller.fail(call, trouble)
            self._over(call, trouble.status, self._clock.now_ns())

    def _requeue(self, call: Call, code: str) -> None:
        assert call.link is not None, call.number
        replica = call.link.replica
        self._wait_again(call)
        refused = CallRefused(call.number, replica, code == "draining", code == "handed_back")
        self.feed(refused, self._clock.now_ns())

    def _wait_again(self, call: Call | None) -> None:
        if call is not None:
            call.link = None
            call.lane.tally.inflight -= 1
            call.lane.tally.queued += 1

    def _done(
        self,
        call: Call,
        status: int,
        timings: tuple[tuple[str, int], ...],
        executed: str,
        *,
        is_fault: bool = False,
    ) -> None:
        now_ns = self._clock.now_ns()
        service_ns = held_ns = 0
        if executed != "no":
            service_ns = now_ns - call.sent_ns
            for name, ns in timings:
                if name == "run":
                    service_ns = call.lane.within(ns)
                elif name == "batch":
                    # Its permit was taken while it waited for the batch before: load, too.
                    held_ns = call.lane.within(ns)
            tally = call.lane.tally
            tally.completed += 1
            tally.service_ns += service_ns + held_ns
        if not call.over:
            self._over(call, status, now_ns)
        link = call.link
        if link is not None and self._unsettle(call):
            self.feed(CallEnded(call.number, link.replica, service_ns, is_fault), now_ns)

    def _over(self, call: Call, status: int, now_ns: int) -> None:
        call.over = True
        call.body = b""
        tally = call.lane.tally
        tally.over(status, now_ns - call.arrived_ns)
        if call.cold:
            tally.met_none(call.met_none(status, now_ns, self._clock.wall_ns()))

    def _forget(self, number: int) -> Call | None:
        if (call := self.calls.pop(number, None)) and self.by_request.get(call.request_id) is call:
            del self.by_request[call.request_id]
        return call

    def _unsettle(self, call: Call) -> bool:
        if self._forget(call.number) is None:
            return False
        tally = call.lane.tally
        tally.inflight -= 1
        if not tally.is_dirty:
            self._reporter.changed(tally)
        return True
