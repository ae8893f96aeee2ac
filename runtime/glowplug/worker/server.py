"""Who may call this rank now, and when must a call end?

Permits are counted and enforced here, so that several gateways need no shared counters: a call beyond them is refused
as `busy`, unexecuted, and goes elsewhere. Where calls are short some are taken beyond the permits (`ahead`): they stand
in the queue of the compute threads and begin in order; when nothing begins for a while they are given back.

One timer serves all calls: it stands at the earliest end; calls that end before theirs (nearly all) cost it nothing.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from glowplug.clock import MILLISECOND, SECOND, Clock
from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.messages import Hello, Infer, pack
from glowplug.worker.ahead import PATIENCE_NS, Pace, patience_left_ns
from glowplug.worker.batching import Batching
from glowplug.worker.call import Call
from glowplug.worker.capture import Captured, LogFile
from glowplug.worker.compute import Compute, Outbox
from glowplug.worker.failures import fault
from glowplug.worker.program import Program

if TYPE_CHECKING:
    from glowplug.worker.link import Link

LINGER_NS = SECOND // 5  # ten times the lag that a gateway's loop may have
STUCK_GRACE_NS = SECOND  # a synchronous handler this long past its limit will not come back
LATE_NS = (
    MILLISECOND  # a loop that looks so late was held up itself, and perhaps the threads with it
)
LOWERED_NS = SECOND  # so long after a level went down calls may arrive that were sent before the gateway knew


class Server:
    """What all links of this rank share: permits, calls, counters. Everything runs on the loop's thread."""

    batching: Batching | None = None  # where calls of the program run together

    _left_ns = 0  # when gateways were told that it takes no more calls; 0 = it does

    def __init__(
        self,
        replica: str,
        clock: Clock,
        outbox: Outbox,
        compute: Compute,
        log: LogFile,
        captured: Captured,
    ) -> None:
        self.replica = replica
        self.now_ns = clock.now_ns
        self.loop = asyncio.get_running_loop()
        self.loop_thread = threading.get_ident()
        self.outbox = outbox
        self.compute = compute
        self.log = log
        self.captured = captured
        self.program: Program
        self.version = log.version
        self.state = "starting"
        self.epoch = 0
        self.permits = 0
        self.free = 0
        self.overdue = 0  # permits of calls that were answered, but whose threads still run
        self.calls: dict[Call, Call] = {}  # in the order of their arrival
        self.links: set[Link] = set()
        self.calls_done = self.busy_ns = 0
        self.run_ns = 0  # the limit of a call, from the program
        self.begun_ns = 0  # when a call last began on a thread; the threads write it
        self.on_idle: Callable[[], None] = _nothing
        self.on_stuck: Callable[[str], None] = _nothing_said
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._last_ns = 0  # when the last call ended; 0 = none has
        self._pace = Pace()
        self._goes_ahead = False
        self._patience: asyncio.TimerHandle | None = None  # stands only while something waits
        self._lowered_ns = -LOWERED_NS

    # -- what the rank tells it ------------------------------------------------------------------------

    def serve(self, program: Program, version: str) -> None:
        """Answer calls with this program from now on; calls under way end with theirs."""
        self.program = program
        self.version = version
        taken = self.permits - self.free
        spec = program.spec
        self.permits = spec.concurrency
        self.free = self.permits - taken
        self.run_ns = spec.timeouts.run_ns
        self.batching = Batching(self, program) if spec.batch.max else None
        self._pace = Pace()
        # Each thread takes the next call by itself, so there must not be more of them than permits.
        one_at_a_time = not (spec.is_async or spec.batch.max or program.contract.schema.streams)
        self._goes_ahead = one_at_a_time and self.compute.threads_max <= self.permits

    def announce(self, state: str, epoch: int) -> None:
        """Tell every gateway the state. A failed rank says `draining`: all a gateway must know is to send no more."""
        self.state = state
        self.epoch = epoch
        if state == "ready":
            self._left_ns = 0
        elif not self._left_ns:
            self._left_ns = self.now_ns()
        for link in self.links:
            link.greet()

    def hello(self, ring: str = "") -> bytes:
        """Return the greeting; `ring` is the memory that one link offers."""
        state = "draining" if self.state in ("failed", "stopped") else self.state
        return pack(
            Hello(
                "replica",
                self.replica,
                epoch=self.epoch,
                permits=max(0, self.permits - self.overdue),
                version=self.version,
                state=state,
                ahead=self._pace.level,
                ring=ring,
            )
        )

    def cancel_all(self) -> None:
        """End the calls under way: the drain's time is over."""
        for call in list(self.calls):
            call.abort(
                "replica_lost", "the replica was told to go, and the call did not end in time"
            )

    async def linger(self) -> None:
        """Go on refusing calls for a moment: those on their way when gateways heard that this replica leaves."""
        left_ns = self._left_ns + LINGER_NS - self.now_ns()
        if self.links and left_ns > 0:
            await asyncio.sleep(left_ns / SECOND)

    async def close(self) -> None:
        """Send what is queued, close every link and wait until they are; the caller bounds the wait."""
        for timer in (self._timer, self._patience):
            if timer is not None:
                timer.cancel()
        links = list(self.links)
        for link in links:
            link.close()
        for link in links:
            await link.gone.wait()

    # -- calls -------------------------------------------------------------------------------------------

    def admit(self, link: "Link", rid: int, infer: Infer, body: bytes) -> Call | None:
        """Take a permit (or a place ahead) and return the call, or refuse it unexecuted and return None."""
        has_room = self.free > 0 or self._fits_ahead(infer)
        if not has_room or self.state != "ready" or infer.protocol != "native":
            code, detail = self._refusal(infer)
            failed = fault(code, detail, "no", infer.request_id)
            link.send(Kind.ERROR, rid, failed.meta, failed.body, FLAG_END)
            return None
        self.free -= 1
        now_ns = self.now_ns()
        call = Call(self, link, rid, infer, body, now_ns)
        self.calls[call] = link.calls[rid] = call
        if self._timer is None or call.due_ns < self._timer_ns:
            self._arm(call.due_ns, now_ns)
        if self.free < 0 and self._patience is None:
            self._be_patient(PATIENCE_NS)
        return call

    def _refusal(self, infer: Infer) -> tuple[str, str]:
        if self.state != "ready":
            leaving = self.state in ("draining", "failed", "stopped")
            return ("draining" if leaving else "unavailable"), f"the replica is {self.state}"
        if infer.protocol != "native":
            return "bad_request", f"this replica does not speak {infer.protocol!r}"
        if self.now_ns() - self._lowered_ns < LOWERED_NS:
            return "handed_back", "the calls here take longer than they used to"
        return "busy", f"all {self.permits} permits are taken"

    def end(self, call: Call) -> None:
        """Give the permit back: nothing of the call runs any more."""
        link, rid = call.link, call.rid
        del self.calls[call]
        link.calls.pop(rid, None)
        if link.arriving:
            link.forget(rid)
        call.inside = call.task = None  # they know the call: no garbage for the collector
        self.free += 1
        if call.overdue:
            self._hold_back(-1)
        if not self.calls:
            self.on_idle()

    def _hold_back(self, permits: int) -> None:
        """Tell gateways of permits they hold no call for: a call sent there would be refused until then."""
        self.overdue += permits
        for link in self.links:
            link.greet()

    def note(self, call: Call, code: str, status: int) -> None:
        """Count and log an answered call."""
        self._last_ns = now_ns = self.now_ns()
        took_ns = now_ns - call.started_ns
        self.calls_done += 1
        self.busy_ns += took_ns
        self.log.call(call.infer.request_id, code, status, took_ns)

    @property
    def last_call_wall_ns(self) -> int:
        """Return when the last call ended, as a date; 0 = none has."""
        return self._clock.wall_ns() - (self.now_ns() - self._last_ns) if self._last_ns else 0

    @property
    def is_awaited(self) -> bool:
        """Say whether somebody waits for a call that still runs."""
        return any(not call.answered for call in self.calls)

    # -- ahead -------------------------------------------------------------------------------------------

    def learn(self, took_ns: int) -> None:
        """Note how long a synchronous call took; tell the gateways when that changes how many to send ahead."""
        if self._goes_ahead and self._pace.ended(took_ns):
            self._greet_all()

    def _fits_ahead(self, infer: Infer) -> bool:
        # A call that was made by another may wait for a permit which that one holds: strict permits only.
        return -self.free < self._pace.level and not infer.parent and not infer.chain

    def _be_patient(self, left_ns: int, *, is_last: bool = False) -> None:
        due_ns = self.now_ns() + left_ns
        self._patience = self.loop.call_later(left_ns / SECOND, self._look_ahead, due_ns, is_last)

    def _look_ahead(self, due_ns: int, is_last: bool) -> None:
        self._patience = None
        if self.free >= 0:
            return  # nothing waits
        now_ns = self.now_ns()
        left_ns = patience_left_ns(self.begun_ns, now_ns)
        if left_ns:
            self._be_patient(left_ns)
        elif now_ns - due_ns > LATE_NS and not is_last:
            self._be_patient(PATIENCE_NS, is_last=True)  # the machine is busy: once more
        else:
            self._hand_back()

    def _hand_back(self) -> None:
        """Return what waits beyond the permits: the gateways hear first that they should send no more."""
        if self._pace.held_up():
            self._greet_all()
        waiting = [call for call in self.calls if not call.running]
        entitled = max(0, self.permits - (len(self.calls) - len(waiting)))
        for call in waiting[entitled:]:
            call.hand_back()

    def _greet_all(self) -> None:
        self._lowered_ns = self.now_ns()
        for link in self.links:
            link.greet()

    # -- time --------------------------------------------------------------------------------------------

    def _arm(self, due_ns: int, now_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = due_ns
        self._timer = self.loop.call_later(max(due_ns - now_ns, 0) / SECOND, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now_ns = self.now_ns()
        dues = [
            due_ns for call in list(self.calls) if (due_ns := self._look(call, now_ns)) is not None
        ]
        if dues:
            self._arm(min(dues), now_ns)

    def _look(self, call: Call, now_ns: int) -> int | None:
        """End a call whose time is over; return when to look at it again."""
        if not call.expired:
            if now_ns < call.due_ns:
                return call.due_ns
            if call.running and call.task is None:
                call.overdue = True
                self._hold_back(1)  # before the answer, which would free the permit there
            call.expire()
        if call.ended or call.task is not None:
            return None
        limit_ns = call.program.spec.timeouts.run_ns
        lost_ns = call.started_ns + limit_ns + STUCK_GRACE_NS
        if now_ns < lost_ns:
            return lost_ns
        limit_s = limit_ns / SECOND
        self.on_stuck(
            f"request {call.infer.request_id} ran longer than {limit_s:g} s and its thread cannot be stopped"
        )
        return None


def _nothing() -> None:
    return


def _nothing_said(_: str) -> None:
    return
