"""What does the gateway of a replay do? Feeds the real dispatcher with calls, and times what it sends.

Between gateway and replica no time passes: waits are those that policy makes. What the planner is told of demand is
told as the real gateway tells it: at once when a call must wait, else at most every `report_every_ns`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from glowplug_router.dispatch import (
    Again,
    CallArrived,
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
    VersionSet,
    Wake,
)
from glowplug_router.records.observed import Demand
from glowplug_router.simulation.faults import Post
from glowplug_router.simulation.replay import meters as meter
from glowplug_router.simulation.replay.audit import Audit
from glowplug_router.simulation.replay.batching import Device, Heard
from glowplug_router.simulation.replay.meters import Meters, Use
from glowplug_router.simulation.replay.ranks import Call, Rank
from glowplug_router.simulation.replay.scene import Batch, Endpoint, Request, Scene
from glowplug_router.simulation.world import World

Step = Callable[[DispatchState, Event, int], tuple[Effect, ...]]
Report = Callable[[Sequence[Demand]], None]


@dataclass(slots=True)
class _Site:
    """What the gateway counts of one endpoint."""

    key: str
    use: Use
    arrivals: int = 0
    completed: int = 0
    service_ns: int = 0
    last_ns: int = 0
    ready: int = 0
    is_changed: bool = False


class Gateway:
    """The gateway of a replay."""

    def __init__(
        self,
        world: World,
        scene: Scene,
        step: Step,
        meters: Meters,
        audit: Audit,
        post: Post | None,
        report: Report,
    ) -> None:
        self._world, self._step, self._post, self._meters = world, step, post, meters
        self._audit, self._report = audit, report
        self._report_every_ns = scene.report_every_ns
        self._begin_ns = world.now_ns + scene.lead_ns
        self.state = DispatchState()
        self.open: dict[int, Call] = {}
        self.ranks: dict[str, Rank] = {}
        self._devices: dict[str, Device] = {}  # of replicas that take batches
        self._sites: dict[str, _Site] = {}
        self._changed: list[_Site] = []
        self._will_report = False
        self._tick_ns: int | None = None
        for endpoint in scene.endpoints:
            use = meters.uses.setdefault(endpoint.name, Use())
            self._sites[endpoint.name] = _Site(endpoint.served.key, use)
            self._take(_limits(endpoint))

    # -- calls

    def arrive(self, request: Request) -> None:
        """Take a call in."""
        now_ns, site = self._world.now_ns, self._sites[request.endpoint]
        at_ns = now_ns - self._begin_ns
        id = self._meters.calls.add(at_ns, request.endpoint, request.klass, request.tenant)
        call = self.open[id] = Call(id, request, now_ns)
        self._meters.timeline.at(now_ns).arrivals += 1
        self._meters.waiting(1, now_ns)
        site.use.calls += 1
        if not site.ready:
            site.use.cold += 1
            self._meters.calls.is_cold[id] = 1
            self._meters.timeline.at(now_ns).cold += 1
        site.arrivals += 1
        site.last_ns = now_ns
        self._note(site)
        self._take(
            CallArrived(
                id,
                site.key,
                call.deadline_ns,
                tenant=request.tenant,
                klass=request.klass,
                has_deadline=call.deadline_ns > 0,
                affinity=request.affinity,
            )
        )

    def _send(self, id: int, replica: str) -> None:
        call, rank = self.open[id], self.ranks[replica]
        self._audit.sent(rank)
        if self._post is not None and self._post.is_busy():
            self._world.after(0, partial(self._refused, id, replica))
        elif replica in self._devices:
            call.sent_ns = self._world.now_ns
            rank.running[id] = call
            self._devices[replica].take(call)
        elif len(rank.running) < rank.record.permits and not rank.early:
            self._begin(call, rank)
        else:
            rank.early.append(call)

    def _begin(self, call: Call, rank: Rank) -> None:
        now_ns = call.sent_ns = self._world.now_ns
        rank.running[call.id] = call
        self._world.record(f"begin {call.id} {rank.id}")
        self._begun(call)
        service_ns = call.service_ns * 1000 // rank.speed_permille
        ends_ns = now_ns + service_ns
        if 0 < call.deadline_ns < ends_ns:
            self._world.at(call.deadline_ns, partial(self._run_out, call, rank, call.run))
        else:
            self._world.after(service_ns, partial(self._end, call, rank, call.run, meter.DONE))

    def _begun(self, call: Call) -> None:
        now_ns = self._world.now_ns
        wait_ns = now_ns - call.arrived_ns
        call.run += 1
        call.began_ns = now_ns
        self._meters.calls.wait_ns[call.id] = wait_ns
        self._meters.waiting(-1, now_ns)
        bucket = self._meters.timeline.at(now_ns)
        bucket.begun += 1
        if wait_ns > bucket.wait_max_ns:
            bucket.wait_max_ns = wait_ns

    def _run_out(self, call: Call, rank: Rank, run: int) -> None:
        """End a call whose deadline passed while it ran: nobody waits for it any more."""
        if call.run == run and call.id in rank.running:
            self._take(CallCancelled(call.id))
            self._end(call, rank, run, meter.LATE)

    def _end(self, call: Call, rank: Rank, run: int, code: int) -> None:
        if call.run != run or rank.running.pop(call.id, None) is None:
            return  # its replica was lost
        service_ns = self._world.now_ns - call.began_ns
        self._sites[call.endpoint].use.busy_ns += service_ns
        self._finish(call, code)
        is_fault = self._is_fault(rank)
        if rank.early:
            self._begin(rank.early.popleft(), rank)
        self._take(CallEnded(call.id, rank.id, max(1, service_ns), is_fault))
        self._look_whether_gone(rank)

    def _finish(self, call: Call, code: int) -> None:
        """Count a call that a replica had, as replicas tell of it: what it waited for its batch is load, too."""
        site = self._sites[call.endpoint]
        site.completed += 1
        site.service_ns += self._world.now_ns - call.sent_ns
        self._note(site)
        self._close(call.id, code)

    def _is_fault(self, rank: Rank) -> bool:
        return rank.is_sick and self._post is not None and self._post.is_fault()

    def _look_whether_gone(self, rank: Rank) -> None:
        if not rank.running and rank.gone is not None:
            rank.gone()

    # -- calls that run together

    def _device(self, rank: Rank, batch: Batch) -> Device:
        heard = Heard(self._begun, partial(self._end_together, rank), partial(self._too_late, rank))
        tuning = rank.endpoint.served.policy.batch
        return Device(self._world, batch, tuning, rank.speed_permille, heard)

    def _end_together(self, rank: Rank, calls: tuple[Call, ...], took_ns: int) -> None:
        now_ns, use = self._world.now_ns, self._sites[rank.endpoint.name].use
        use.busy_ns += took_ns
        use.batches += 1
        use.batched += len(calls)
        for call in calls:
            del rank.running[call.id]
            self._finish(call, meter.LATE if 0 < call.deadline_ns < now_ns else meter.DONE)
            self._take(CallEnded(call.id, rank.id, max(1, took_ns), self._is_fault(rank)))
        self._look_whether_gone(rank)

    def _too_late(self, rank: Rank, call: Call) -> None:
        """Hear that the replica did not run a call: it would have ended after its deadline."""
        del rank.running[call.id]
        self._turn_away(call.id, meter.REFUSED, "deadline")
        self._take(CallEnded(call.id, rank.id))
        self._look_whether_gone(rank)

    def _refused(self, id: int, replica: str) -> None:
        if id in self.open:
            self._take(CallRefused(id, replica))

    def _close(self, id: int, code: int) -> None:
        call = self.open.pop(id)
        self._meters.calls.code[id] = code
        if code == meter.DONE:
            self._meters.calls.end_ns[id] = self._world.now_ns - call.arrived_ns

    # -- replicas

    def link(self, rank: Rank) -> None:
        """Hear that a replica is ready."""
        self.ranks[rank.id] = rank
        self._sites[rank.endpoint.name].ready += 1
        version, batch = rank.record.version, rank.endpoint.batch
        if batch is not None:
            self._devices[rank.id] = self._device(rank, batch)
        self._take(ReplicaReady(rank.id, version, rank.record.permits, rank.endpoint.ahead))

    def leave(self, rank: Rank) -> None:
        """Hear that a replica drains."""
        self._sites[rank.endpoint.name].ready -= 1
        self._take(ReplicaLeaving(rank.id))

    def lose(self, rank: Rank) -> None:
        """Hear that a replica is gone, with what it had."""
        if self.ranks.pop(rank.id, None) is None:
            return
        site = self._sites[rank.endpoint.name]
        site.ready -= rank.record.state == "ready"
        device = self._devices.pop(rank.id, None)
        if device is not None:
            device.off()
        for call in rank.running.values():
            call.run += 1
            if call.began_ns:  # else it waited for a batch, and still waits
                site.use.busy_ns += 0 if device else self._world.now_ns - call.began_ns
                self._meters.waiting(1, self._world.now_ns)
            call.began_ns = 0
        rank.running.clear()
        rank.early.clear()
        self._note(site)
        self._take(ReplicaLost(rank.id))

    # -- the dispatcher

    def _take(self, event: Event) -> None:
        now_ns = self._world.now_ns
        for effect in self._step(self.state, event, now_ns):
            if type(effect) is Send:
                self._send(effect.call, effect.replica)
            else:
                self._do(effect)
        self._audit.stepped(self.state, self.open, now_ns)
        due_ns = self.state.next_due_ns
        if due_ns is not None and (self._tick_ns is None or due_ns < self._tick_ns):
            self._tick_ns = due_ns
            self._world.at(due_ns, partial(self._tick, due_ns))

    def _tick(self, due_ns: int) -> None:
        if self._tick_ns == due_ns:
            self._tick_ns = None
            self._take(Tick())

    def _do(self, effect: Effect) -> None:
        match effect:
            case Refuse(call=id, code=code):
                self._turn_away(id, meter.REFUSED, code)
            case Lost(call=id):
                self._turn_away(id, meter.LOST, "replica_lost")
            case Wake():
                self._send_demand()
            case Send() | Again() | Cancel():
                pass  # sent above; it waits again; ended by whoever cancelled it

    def _turn_away(self, id: int, code: int, reason: str) -> None:
        now_ns = self._world.now_ns
        self._world.record(f"{reason} {id}")
        self._meters.refusals[reason] += 1
        self._meters.timeline.at(now_ns).refused += 1
        self._meters.waiting(-1, now_ns)
        self._meters.calls.wait_ns[id] = meter.NEVER
        self._note(self._sites[self.open[id].endpoint])
        self._close(id, code)

    # -- demand

    def _note(self, site: _Site) -> None:
        if not site.is_changed:
            site.is_changed = True
            self._changed.append(site)
            if not self._will_report:
                self._will_report = True
                self._world.after(self._report_every_ns, self._report_later)

    def _report_later(self) -> None:
        self._will_report = False
        self._send_demand()

    def _send_demand(self) -> None:
        if self._changed:
            rows = [self._demand(site) for site in self._changed]
            self._changed.clear()
            if self._post is None:
                self._report(rows)
            else:
                self._post.send(partial(self._report, rows))

    def _demand(self, site: _Site) -> Demand:
        site.is_changed = False
        return Demand(
            key=site.key,
            arrivals=site.arrivals,
            completed=site.completed,
            service_ns=site.service_ns,
            queued=self.state.queued(site.key),
            inflight=self.state.inflight(site.key),
            last_arrival_ns=self._post.stamped(site.last_ns) if self._post else site.last_ns,
        )


def _limits(endpoint: Endpoint) -> VersionSet:
    served = endpoint.served
    return VersionSet(
        version=served.key,
        hold=served.policy.hold,
        queue_ns=endpoint.queue_ns,
        start_ns=endpoint.start_limit_ns,
        max_permits=served.policy.max * served.permits,
        retry_safe=endpoint.retry_safe,
    )
