"""Which faults are planted to see that each invariant is really checked?"""

from dataclasses import replace
from itertools import count

from msgspec import structs

from glowplug.clock import SECOND
from glowplug_router.control.machines import MachineBook
from glowplug_router.dispatch import (
    CallArrived,
    CallEnded,
    DispatchState,
    Effect,
    Event,
    Refuse,
    ReplicaLeaving,
    ReplicaLost,
    ReplicaReady,
    Send,
    VersionSet,
    step,
)
from glowplug_router.plan import plan
from glowplug_router.records.decided import Drain, Launch, Plan, Start, Terminate
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Node, Observed
from glowplug_router.simulation.node import Order, Rank, SimNode
from glowplug_router.simulation.run import Subject

Effects = tuple[Effect, ...]


def forgets_refusals(state: DispatchState, event: Event, now_ns: int) -> Effects:
    return tuple(e for e in step(state, event, now_ns) if not isinstance(e, Refuse))


def refuses_twice(state: DispatchState, event: Event, now_ns: int) -> Effects:
    effects = step(state, event, now_ns)
    return effects + tuple(e for e in effects if isinstance(e, Refuse))


def sends_to_two(state: DispatchState, event: Event, now_ns: int) -> Effects:
    effects = step(state, event, now_ns)
    sends = [e for e in effects if isinstance(e, Send)]
    return effects + tuple(
        Send(e.call, other, e.attempt) for e in sends for other in list(state.replicas)[:2]
    )


def ignores_permits(state: DispatchState, event: Event, now_ns: int) -> Effects:
    if isinstance(event, ReplicaReady):
        event = replace(event, permits=event.permits + 3)
    return step(state, event, now_ns)


def ignores_leaving(state: DispatchState, event: Event, now_ns: int) -> Effects:
    if isinstance(event, ReplicaLeaving | ReplicaLost):
        return ()
    return step(state, event, now_ns)


def loses_ends(state: DispatchState, event: Event, now_ns: int) -> Effects:
    if isinstance(event, CallEnded) and event.call % 5 == 0:
        return ()
    return step(state, event, now_ns)


def drops_calls(state: DispatchState, event: Event, now_ns: int) -> Effects:
    if isinstance(event, CallArrived) and event.call % 5 == 0:
        return ()
    return step(state, event, now_ns)


def leaves_permits_idle(state: DispatchState, event: Event, now_ns: int) -> Effects:
    effects = step(state, event, now_ns)
    for replica in state.replicas.values():
        if len(replica.calls) == replica.permits:
            replica.permits += 1
            replica.usable += 1
            replica.version.pool.settle(replica)
    return effects


def forgets_those_that_made_way(state: DispatchState, event: Event, now_ns: int) -> Effects:
    effects = step(state, event, now_ns)
    if not isinstance(event, CallArrived):
        return effects
    full = ("hold_full", "overloaded")
    return tuple(
        e
        for e in effects
        if not (isinstance(e, Refuse) and e.code in full and e.call != event.call)
    )


def sends_nested_calls_ahead(state: DispatchState, event: Event, now_ns: int) -> Effects:
    if isinstance(event, CallArrived):
        event = structs.replace(event, parent=0)
    return step(state, event, now_ns)


def sends_after_the_deadline(state: DispatchState, event: Event, now_ns: int) -> Effects:
    if isinstance(event, CallArrived):
        event = structs.replace(event, deadline_ns=event.deadline_ns + 5 * SECOND)
    return step(state, event, now_ns)


def runs_everything_again(state: DispatchState, event: Event, now_ns: int) -> Effects:
    if isinstance(event, VersionSet):
        event = replace(event, retry_safe=True)
    return step(state, event, now_ns)


def knows_no_tenants(state: DispatchState, event: Event, now_ns: int) -> Effects:
    if isinstance(event, CallArrived):
        event = structs.replace(event, tenant="")
    return step(state, event, now_ns)


def never_serves_the_lower_first(state: DispatchState, event: Event, now_ns: int) -> Effects:
    for version in state.versions.values():
        version.classes.credit = [0.0, 0.0, 0.0, 0.0]
    return step(state, event, now_ns)


def plans_above_max(
    observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
) -> Plan:
    decided = plan(observed, demand, memory, now_ns)
    extra = tuple(
        replace(a, id=f"{a.id}{n}", replica=f"{a.replica}-{n}")
        for a in decided.actions
        if isinstance(a, Start)
        for n in range(4)
    )
    return replace(decided, actions=decided.actions + extra)


def forgets_what_starts(
    observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
) -> Plan:
    seen = tuple(replica for replica in observed.replicas if replica.state != "starting")
    return plan(replace(observed, replicas=seen), demand, memory, now_ns)


def gives_one_gpu_to_all(
    observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
) -> Plan:
    decided = plan(observed, demand, memory, now_ns)
    first = {node.id: node.gpus[0][0] for node in observed.nodes if node.gpus}
    actions = tuple(
        replace(a, gpus=(first[a.node],)) if isinstance(a, Start) and a.gpus else a
        for a in decided.actions
    )
    return replace(decided, actions=actions)


def never_drains(
    observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
) -> Plan:
    decided = plan(observed, demand, memory, now_ns)
    kept = tuple(a for a in decided.actions if not isinstance(a, Drain))
    return replace(decided, actions=kept)


def sends_nobody_away(
    observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
) -> Plan:
    decided = plan(observed, demand, memory, now_ns)
    kept = tuple(a for a in decided.actions if not isinstance(a, Drain) or a.reason != "makes_way")
    return replace(decided, actions=kept)


def lets_candidates_wait(
    observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
) -> Plan:
    """As if none of them had to start now."""
    hidden = {served.key for served in observed.served if served.candidate}
    decided = plan(observed, demand, memory, now_ns)
    kept = tuple(
        a
        for a in decided.actions
        if not isinstance(a, Drain | Start)
        or (isinstance(a, Drain) and a.reason != "makes_way")
        or (isinstance(a, Start) and a.version not in hidden)
    )
    rows = tuple(
        replace(row, rule="no_room") if row.subject in hidden else row for row in decided.explain
    )
    return replace(decided, actions=kept, explain=rows)


def launches_too_many(
    observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
) -> Plan:
    decided = plan(observed, demand, memory, now_ns)
    extra = tuple(
        replace(a, id=f"{a.id}{n}", node=f"{a.node}-{n}")
        for a in decided.actions
        if isinstance(a, Launch)
        for n in range(20)
    )
    return replace(decided, actions=decided.actions + extra)


def forgets_what_is_launched(
    observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
) -> Plan:
    seen = tuple(node for node in observed.nodes if node.state != "launching")
    return plan(replace(observed, nodes=seen), demand, memory, now_ns)


def gives_nothing_back(
    observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
) -> Plan:
    decided = plan(observed, demand, memory, now_ns)
    kept = tuple(a for a in decided.actions if not isinstance(a, Terminate))
    return replace(decided, actions=kept)


class CredulousBook(MachineBook):
    def nodes(self, reported: tuple[Node, ...], now_ns: int) -> tuple[Node, ...]:
        """Count a machine that is gone for as long as its agent's last report does."""
        self._gone = {}
        return super().nodes(reported, now_ns)


class UnfencedNode(SimNode):
    def is_stale(self, order: Order) -> bool:
        return False


class HoardingNode(SimNode):
    def end_unwanted(self, rank: Rank) -> None:
        """Keep it."""


FAULTS: dict[str, tuple[Subject, ...]] = {
    "answered_once": (
        Subject(step=forgets_refusals),
        Subject(step=refuses_twice),
        Subject(step=forgets_those_that_made_way),
    ),
    "ahead": (Subject(step=sends_nested_calls_ahead),),
    "expired": (Subject(step=sends_after_the_deadline),),
    "run_once": (Subject(step=runs_everything_again),),
    "tenant_share": (Subject(step=knows_no_tenants),),
    "class_share": (Subject(step=never_serves_the_lower_first),),
    "one_owner": (Subject(step=sends_to_two),),
    "permits": (Subject(step=ignores_permits),),
    "no_dispatch_to_leaving": (Subject(step=ignores_leaving),),
    "conservation": (Subject(step=loses_ends), Subject(step=drops_calls)),
    "no_idle_permit": (Subject(step=leaves_permits_idle),),
    "max": (Subject(planner=plans_above_max),),
    "makes_way": (Subject(planner=sends_nobody_away), Subject(planner=lets_candidates_wait)),
    "room": (Subject(planner=gives_one_gpu_to_all),),
    "idempotence": (
        Subject(planner=forgets_what_starts),
        Subject(planner=forgets_what_is_launched),
    ),
    "epoch": (Subject(node=UnfencedNode),),
    "reaches_zero": (Subject(planner=never_drains),),
    "machines": (Subject(planner=launches_too_many),),
    "machine_gone": (Subject(book=CredulousBook),),
    "machine_idle": (Subject(planner=gives_nothing_back),),
    "unowned": (Subject(node=HoardingNode),),
}


def forgetful() -> Subject:
    """Return a subject that is not the same twice: it numbers replicas over all runs."""
    numbers = count(1_000)

    def planner(
        observed: Observed, demand: tuple[Demand, ...], memory: Memory, now_ns: int
    ) -> Plan:
        return plan(observed, demand, replace(memory, serial=memory.serial + next(numbers)), now_ns)

    return Subject(planner=planner)
