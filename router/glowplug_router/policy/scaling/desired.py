"""How many replicas should a version have?

What it is *worth* comes from offered load: the calls a second that are expected when a replica wanted now would be
ready, times the seconds each takes, make calls at once (`forecast`); enough permits for these that few calls wait
long make replicas (`needs`). The queue itself is no measure, because a cold start fills it: it counts only as far as
replicas beyond these pay (`backlog`). How fast that is followed: `following`.

While few calls have ended, what they took may be far from what others will. Then the answer is what is sure already
(`evidence`), or twice the replicas that are ready, if that is more: they will show it soon.
"""

from dataclasses import replace

from glowplug.clock import SECOND
from glowplug_router.policy.rollout import max_replicas, min_replicas
from glowplug_router.policy.scaling.backlog import Drain, backlog_replicas, rush_slots_milli
from glowplug_router.policy.scaling.bursts import MICRO
from glowplug_router.policy.scaling.evidence import sure_service_ns
from glowplug_router.policy.scaling.following import Target, There, Worth, followed
from glowplug_router.policy.scaling.forecast import (
    Forecast,
    forecast,
    is_expected,
    next_slot_ns,
    usual_milli,
)
from glowplug_router.policy.scaling.measuring import load_milli
from glowplug_router.policy.scaling.needs import (
    LoadNow,
    needed_replicas,
    queue_target_replicas,
    slots_milli,
)
from glowplug_router.policy.scaling.newsvendor import SLACK_NS
from glowplug_router.policy.scaling.service import FEW
from glowplug_router.policy.scaling.starts import expected_ns, horizon_ns
from glowplug_router.policy.warmth.keeping import keep_ns
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Served

# Of what the replicas that are left can carry. Dynamo goes down below 0.8 of its target whatever is left; we ask what
# the survivors would carry, so a little more is safe: Knative's 0.7 of what can be, on two replicas less one, is
# 0.84.
RHO_DOWN_PERMILLE = 850


def desired_replicas(
    served: Served, demand: Demand, memory: EndpointMemory, ready: int, starting: int, now_ns: int
) -> Target:
    """Return how many replicas to have now, from memory that has noted this demand."""
    there = There(ready, starting, min_replicas(served), max_replicas(served))
    present = demand.queued + demand.inflight
    idle_since_ns = max(demand.last_arrival_ns, memory.busy_ns)
    idle_at_ns = idle_since_ns + keep_ns(served, memory, now_ns)
    is_idle = not present and (not idle_since_ns or now_ns >= idle_at_ns)
    if is_idle and not is_expected(served, memory, now_ns):
        worth = _idle(served, memory, there, idle_since_ns, now_ns)
    else:
        due_ns = next_slot_ns(served, memory, now_ns) if is_idle else idle_at_ns
        worth = _loaded(served, demand, memory, there, None if present else due_ns, now_ns)
    return followed(served, worth, memory, there, now_ns)


def _loaded(
    served: Served,
    demand: Demand,
    memory: EndpointMemory,
    there: There,
    due_ns: int | None,
    now_ns: int,
) -> Worth:
    expected = forecast(served, memory, now_ns)
    drain = None
    if demand.queued or memory.load.rush_milli:
        drain = _drain(served, demand, memory, there, now_ns)
        expected = _rushed(expected, drain, memory.load.rush_milli)
    load = LoadNow(expected.steady_milli, expected.peak_milli, memory.mean_service_ns)
    # No more than are there: the calls beyond their permits were taken ahead, milliseconds of work.
    running = min(-(-demand.inflight // max(served.permits, 1)), there.ready)
    needed, more = _asked(served, load, drain)
    if memory.load.service_calls < FEW:
        sure_needed, sure_more = _asked(served, *_surely(served, demand, memory, drain))
        needed = max(min(needed, 2 * there.ready), sure_needed)
        more = max(min(more, there.ready - there.starting), sure_more)
    steady = _buffered(served, max(needed, running, 1))
    backlog = 0
    if demand.queued:
        # What starts is not sent away while calls wait.
        backlog = there.have + more if more > 0 or there.starting else 0
        backlog = max(backlog, queue_target_replicas(served, demand, there))
    wanted = calm = min(max(steady, backlog, there.lowest), there.highest)
    if wanted < there.have:  # else nobody could go
        usual = LoadNow(usual_milli(served, memory, expected), load.peak_milli, load.service_ns)
        least = needed_replicas(served, usual, RHO_DOWN_PERMILLE)
        calm = _buffered(served, max(least, running, 1))
        # Fewer must do for the queue as well, or what goes now is wanted back at once.
        if drain is not None and demand.queued and drain.left_with(calm) > 0:
            calm = there.have
        calm = min(max(calm, wanted), there.highest)
    return Worth(
        replicas=wanted,
        calm=calm,
        rule="backlog" if backlog > steady else "load",
        text=_text(served, demand, memory, expected, there),
        due_ns=due_ns,
    )


def _rushed(expected: Forecast, drain: Drain, rush_milli: int) -> Forecast:
    """Return what is expected, or what a rush needs until a replica wanted now is ready, if that is more."""
    slots = rush_slots_milli(replace(drain, load_milli=rush_milli))
    if slots <= expected.peak_milli:
        return expected
    return replace(expected, peak_milli=slots, peak_view="rush")


def _asked(served: Served, load: LoadNow, drain: Drain | None) -> tuple[int, int]:
    """Return how many replicas the load needs, and how many more than there are the queue is worth."""
    return needed_replicas(served, load), 0 if drain is None else backlog_replicas(drain)


def _surely(
    served: Served, demand: Demand, memory: EndpointMemory, drain: Drain | None
) -> tuple[LoadNow, Drain | None]:
    """Return the load, and how the queue will end, by what calls surely take."""
    start_ns = horizon_ns(served, memory)
    service = sure_service_ns(memory.load, demand.inflight, served.permits, start_ns)
    steady = load_milli(memory.rate_micro, service)
    if drain is not None:
        drain = replace(drain, service_ns=service, load_milli=steady)
    return LoadNow(steady, 0, service), drain


def _text(
    served: Served, demand: Demand, memory: EndpointMemory, expected: Forecast, there: There
) -> str:
    policy, service = served.policy, memory.mean_service_ns
    rate = (
        expected.steady_milli * SECOND / (1000 * service) if service else memory.rate_micro / MICRO
    )
    view = "" if expected.steady_view == "mean" else f" ({expected.steady_view})"
    if expected.peak_milli > expected.steady_milli:
        view += f", {expected.peak_milli / 1000:.2f} in bursts ({expected.peak_view})"
    buffer = f"{policy.buffer}" + (
        f" + {policy.buffer_permille / 10:g} %" if policy.buffer_permille else ""
    )
    return (
        f"{rate:.2f} calls/s × {service / SECOND:.3f} s = {expected.steady_milli / 1000:.2f} at once{view},"
        f" {slots_milli(served) / 1000:g} a replica; {demand.queued} wait, {demand.inflight} run;"
        f" min {there.lowest}, max {there.highest}, buffer {buffer}"
    )


def _buffered(served: Served, replicas: int) -> int:
    policy = served.policy
    return replicas + policy.buffer + -(-replicas * policy.buffer_permille // 1000)


def _drain(
    served: Served, demand: Demand, memory: EndpointMemory, there: There, now_ns: int
) -> Drain:
    start_ns = horizon_ns(served, memory)
    expected = expected_ns(served, memory, now_ns)[: there.starting]
    return Drain(
        queued=demand.queued,
        service_ns=memory.mean_service_ns,
        load_milli=load_milli(memory.rate_micro, memory.mean_service_ns),
        slots_milli=max(served.permits, 1) * 1000,
        ready=there.ready,
        expected_ns=expected + (start_ns,) * (there.starting - len(expected)),
        start_ns=start_ns,
        slack_ns=SLACK_NS[served.policy.priority],
        hold_ns=served.policy.down_after_ns,
    )


def _idle(
    served: Served, memory: EndpointMemory, there: There, idle_since_ns: int, now_ns: int
) -> Worth:
    """Return `min`, unless memory is younger than the patience: after a restart what is there gets all of it."""
    lowest = there.lowest
    keep = keep_ns(served, memory, now_ns)
    patience_ns = memory.first_seen_ns + keep
    zero_after = f"zero_after {keep / SECOND:g} s; min {lowest}"
    if there.have > lowest and now_ns < patience_ns:
        kept = max(lowest, min(there.have, there.highest))
        text = f"found {there.have}, no call known yet, {zero_after}"
        return Worth(kept, kept, "found", text, due_ns=patience_ns)
    due_ns = next_slot_ns(served, memory, now_ns)
    text = f"no call yet; min {lowest}"
    if idle_since_ns:
        text = f"no call for {(now_ns - idle_since_ns) / SECOND:.1f} s, {zero_after}"
    return Worth(lowest, lowest, "idle", text, is_idle=True, due_ns=due_ns)
