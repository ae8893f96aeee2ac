"""How many replicas should a version have?

What it is *worth* comes from offered load: arrivals per second × seconds each takes = calls at once. The queue itself
is no measure, because a cold start fills it: it counts only when nothing is starting any more, and then at most doubles
what is ready. How fast we follow: up at once (or after `up_after`), down when fewer would have done for all of
`down_after`, and to zero (to `min`) when no call was seen for `zero_after`.
"""

from dataclasses import dataclass, replace

from glowplug.clock import SECOND
from glowplug_router.policy.rollout import max_replicas, min_replicas
from glowplug_router.records import Demand, EndpointMemory, Served

MICRO = 1_000_000
RATE_WINDOW_NS = 10 * SECOND  # short: going down is damped by down_after anyway
SERVICE_CALLS = 8  # how many calls the mean service time looks back
TARGET_PERMILLE = 700  # of a replica's permits: what Knative keeps free for variation
CALM_PERMILLE = (
    850  # of the target: fewer replicas must be well below it, or the next burst brings them back
)
BACKLOG_WORTH_NS = (
    5 * SECOND
)  # a queue that is gone sooner than a replica can start is not worth one
SAMPLE_NS = SECOND  # look again while the smoothed load may fall below what is there


@dataclass(frozen=True, slots=True)
class Target:
    """How many replicas, why, and when the answer may change by itself."""

    replicas: int
    rule: str
    text: str
    memory: EndpointMemory
    due_ns: int | None = None


@dataclass(frozen=True, slots=True)
class _Worth:
    replicas: int
    calm: int  # with so many it would be safe to go down
    rule: str
    text: str
    is_idle: bool = False
    idle_at_ns: int | None = None  # when it will be idle if nothing comes


def demand_noted(memory: EndpointMemory, demand: Demand, now_ns: int) -> EndpointMemory:
    """Return the memory with rate and service time brought up to `now_ns`. A smaller counter started again at zero."""
    arrivals = _grown(demand.arrivals, memory.arrivals)
    completed = _grown(demand.completed, memory.completed)
    service_ns = _grown(demand.service_ns, memory.service_ns)
    is_first = not memory.sampled_ns
    passed_ns = 0 if is_first else max(0, now_ns - memory.sampled_ns)
    is_busy = demand.queued + demand.inflight > 0
    return replace(
        memory,
        arrivals=demand.arrivals,
        completed=demand.completed,
        service_ns=demand.service_ns,
        sampled_ns=now_ns,
        first_seen_ns=memory.first_seen_ns or now_ns,
        busy_ns=now_ns if is_busy else memory.busy_ns,
        rate_micro=_smoothed_rate(memory.rate_micro, 0 if is_first else arrivals, passed_ns),
        mean_service_ns=_smoothed_service(memory.mean_service_ns, completed, service_ns),
    )


def desired_replicas(
    served: Served, demand: Demand, memory: EndpointMemory, ready: int, starting: int, now_ns: int
) -> Target:
    """Return how many replicas to have now, from memory that has noted this demand."""
    worth = _worth(served, demand, memory, ready, starting, now_ns)
    have = ready + starting
    lowest = min_replicas(served)
    if worth.replicas > have:
        return _up(served, worth, memory, have, lowest, now_ns)
    if worth.replicas < have:
        return _down(served, worth, memory, have, now_ns)
    return _stay(worth, memory, have, now_ns)


def _grown(now: int, before: int) -> int:
    return now - before if now >= before else now


def _smoothed_rate(before_micro: int, arrivals: int, passed_ns: int) -> int:
    if (
        passed_ns <= 0
    ):  # without passing time there is no rate yet: these arrivals are lost to it, not to the queue
        return before_micro
    kept = before_micro * RATE_WINDOW_NS // (RATE_WINDOW_NS + passed_ns)
    return kept + arrivals * MICRO * SECOND // (RATE_WINDOW_NS + passed_ns)


def _smoothed_service(before_ns: int, completed: int, service_ns: int) -> int:
    if completed <= 0:
        return before_ns
    mean_ns = service_ns // completed
    if not before_ns:
        return mean_ns
    weight = min(completed, SERVICE_CALLS)
    return before_ns + (mean_ns - before_ns) * weight // SERVICE_CALLS


def _worth(
    served: Served, demand: Demand, memory: EndpointMemory, ready: int, starting: int, now_ns: int
) -> _Worth:
    lowest, highest = min_replicas(served), max_replicas(served)
    present = demand.queued + demand.inflight
    idle_since_ns = max(demand.last_arrival_ns, memory.busy_ns)
    idle_at_ns = idle_since_ns + served.policy.zero_after_ns
    if not present and (not idle_since_ns or now_ns >= idle_at_ns):
        return _idle(served, memory, ready + starting, idle_since_ns, now_ns)

    target_micro = _target_micro(served)
    load_micro = memory.rate_micro * memory.mean_service_ns // SECOND
    backlog = _backlog(served, demand, memory, ready, starting)
    # No more than are there: the calls beyond their permits were taken ahead, milliseconds of work.
    running = min(-(-demand.inflight // max(served.permits, 1)), ready)
    steady = -(-load_micro // target_micro)
    calm = -(-load_micro * 1000 // (target_micro * CALM_PERMILLE))
    loaded = max(steady, running, 1) + served.policy.buffer
    wanted = min(max(loaded, backlog, lowest), highest)
    # Fewer must do for the queue as well, or what goes now is wanted back at once.
    calm = max(calm + served.policy.buffer, _queue_worth(served, demand, memory), wanted)
    calm = min(calm, highest)
    rule = "backlog" if backlog > loaded else "load"
    text = (
        f"{memory.rate_micro / MICRO:.2f} calls/s × {memory.mean_service_ns / SECOND:.3f} s = {load_micro / MICRO:.2f}"
        f" at once, {target_micro / MICRO:g} a replica; {demand.queued} wait, {demand.inflight} run;"
        f" min {lowest}, max {highest}, buffer {served.policy.buffer}"
    )
    return _Worth(wanted, calm, rule, text, idle_at_ns=None if present else idle_at_ns)


def _target_micro(served: Served) -> int:
    """Return how many calls at once a replica should carry, in millionths: never more than it can."""
    permits_micro = max(served.permits, 1) * MICRO
    asked_micro = int(served.policy.target_concurrency * MICRO)
    if asked_micro <= 0:
        return max(permits_micro * TARGET_PERMILLE // 1000, MICRO)
    return min(asked_micro, permits_micro)


def _backlog(
    served: Served, demand: Demand, memory: EndpointMemory, ready: int, starting: int
) -> int:
    """Return how many replicas the queue is worth: what is there while some start, else at most twice the ready."""
    if not demand.queued:
        return 0
    if starting or not ready:
        return ready + starting
    permits = max(served.permits, 1)
    drain_ns = demand.queued * memory.mean_service_ns // (permits * ready)
    if memory.mean_service_ns and drain_ns <= BACKLOG_WORTH_NS:
        return 0
    return min(_queue_worth(served, demand, memory), 2 * ready)


def _queue_worth(served: Served, demand: Demand, memory: EndpointMemory) -> int:
    """Return how many replicas bring the queue to its end in good time."""
    permits = max(served.permits, 1)
    if memory.mean_service_ns:
        return -(-demand.queued * memory.mean_service_ns // (permits * BACKLOG_WORTH_NS))
    # No call has ended yet, so they may be long.
    return -(-(demand.queued + demand.inflight) // permits)


def _idle(
    served: Served, memory: EndpointMemory, have: int, idle_since_ns: int, now_ns: int
) -> _Worth:
    """Return `min`, unless memory is younger than the patience: after a restart what is there gets all of it."""
    lowest, highest = min_replicas(served), max_replicas(served)
    patience_ns = memory.first_seen_ns + served.policy.zero_after_ns
    zero_after = f"zero_after {served.policy.zero_after_ns / SECOND:g} s; min {lowest}"
    if have > lowest and now_ns < patience_ns:
        kept = max(lowest, min(have, highest))
        text = f"found {have}, no call known yet, {zero_after}"
        return _Worth(kept, kept, "found", text, idle_at_ns=patience_ns)
    if not idle_since_ns:
        return _Worth(lowest, lowest, "idle", f"no call yet; min {lowest}", is_idle=True)
    text = f"no call for {(now_ns - idle_since_ns) / SECOND:.1f} s, {zero_after}"
    return _Worth(lowest, lowest, "idle", text, is_idle=True)


def _up(
    served: Served, worth: _Worth, memory: EndpointMemory, have: int, lowest: int, now_ns: int
) -> Target:
    since_ns = memory.high_since_ns or now_ns
    memory = replace(memory, high_since_ns=since_ns, low_since_ns=0, low_peak=0)
    due_ns = since_ns + served.policy.up_after_ns
    if have and now_ns < due_ns:
        text = f"{worth.text}; worth {worth.replicas}, up_after passes in {(due_ns - now_ns) / SECOND:.1f} s"
        return Target(
            max(have, lowest), "up_after", text, memory, _earliest(due_ns, worth.idle_at_ns)
        )
    return Target(worth.replicas, worth.rule, worth.text, memory, worth.idle_at_ns)


def _down(served: Served, worth: _Worth, memory: EndpointMemory, have: int, now_ns: int) -> Target:
    highest = max_replicas(served)
    if worth.is_idle:
        return Target(worth.replicas, worth.rule, worth.text, _rested(memory))
    if have > highest:
        return Target(highest, "max", worth.text, _rested(memory), now_ns + SAMPLE_NS)
    if worth.calm >= have:
        return _stay(worth, memory, have, now_ns)
    since_ns = memory.low_since_ns or now_ns
    peak = max(memory.low_peak, worth.calm)
    due_ns = since_ns + served.policy.down_after_ns
    if now_ns >= due_ns:
        text = f"{worth.text}; {peak} would have done for {(now_ns - since_ns) / SECOND:.0f} s"
        return Target(peak, "down_after", text, _rested(memory), now_ns + SAMPLE_NS)
    text = f"{worth.text}; worth {worth.replicas}, down_after passes in {(due_ns - now_ns) / SECOND:.1f} s"
    memory = replace(memory, low_since_ns=since_ns, low_peak=peak, high_since_ns=0)
    return Target(have, "down_after", text, memory, _earliest(due_ns, worth.idle_at_ns))


def _stay(worth: _Worth, memory: EndpointMemory, have: int, now_ns: int) -> Target:
    due_ns = worth.idle_at_ns
    if have > 1 and memory.rate_micro and not worth.is_idle:
        due_ns = _earliest(now_ns + SAMPLE_NS, due_ns)
    return Target(have, worth.rule, worth.text, _rested(memory), due_ns)


def _earliest(due_ns: int, other_ns: int | None) -> int:
    return due_ns if other_ns is None else min(due_ns, other_ns)


def _rested(memory: EndpointMemory) -> EndpointMemory:
    if not (memory.low_since_ns or memory.high_since_ns or memory.low_peak):
        return memory
    return replace(memory, low_since_ns=0, low_peak=0, high_since_ns=0)
