"""How many of a replica's permits may be used now?

All of them, but for three reasons:

- **Penalty.** It refused a call: its permits are with another gateway, so it is left alone, twice as long each time.
- **Slow start.** It came beside others: its caches are cold, so its permits come into use one after the other.
- **Ejection.** Five calls in a row failed through its own fault, or its calls surely take three times as long as those
  of the others: it gets no calls for ten seconds, twice as long each time, then one call on trial. At most a third of
  a version's replicas are ejected; with one or two there is no telling who is to blame.

Calls of a language model differ a hundredfold in length, and whoever has a few long ones is not slow. So logarithms are
compared, and what chance makes of calls that differ so much is allowed for: an EWMA control chart (Roberts 1959).
"""

from math import log, sqrt
from statistics import median_low

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.dispatch.events import CallEnded
from glowplug_router.dispatch.state import Call, DispatchState, Replica, Version

# After a refusal its permits are with another gateway: leave the replica alone, twice as long after each more.
PENALTY_NS = 10 * MILLISECOND
PENALTY_MAX_NS = SECOND
SLOW_START_NS = (
    2 * SECOND
)  # a few hundred calls of a usual model: caches and allocators are warm then
SLOW_START_STEPS = 8
FAULTS_MAX = 5  # in a row; like Envoy's consecutive_5xx
EJECT_NS = 10 * SECOND
EJECT_MAX_NS = 300 * SECOND  # like Envoy's max_ejection_time
SLOW_LOG = log(3.0)
SLOW_SIGMAS = 3.0  # beyond chance: by itself once in 741 looks (Shewhart's limits)
POOL_MIN = 3  # replicas of which one may be ejected, and of each three more one more
COMPARE_EVERY_NS = SECOND
COMPARED_MAX = 64  # replicas whose median is taken: enough to know what is usual
LEARNS = 1 / 8  # weight of the newest call in what a replica's calls take
SAMPLES_WORTH = (2 - LEARNS) / LEARNS  # calls that such a mean is as sure as, at most
VARIANCE_LEARNS = 1 / 64  # less, since a replica that is slow is not to explain itself
SAMPLES_MIN = 8  # calls of a replica before it is compared


def refresh(state: DispatchState, replica: Replica, now_ns: int) -> None:
    """Work out the permits to be used, and have it done again when they change by themselves."""
    due_ns = 0
    replica.usable = replica.permits
    if replica.is_leaving:
        replica.usable = 0
    elif now_ns < replica.shut_until_ns:
        replica.usable, due_ns = 0, replica.shut_until_ns
    else:
        replica.shut_until_ns = 0
        if replica.is_ejected:
            _readmit(replica)
        if replica.is_on_trial:
            replica.usable = min(1, replica.permits)
        elif replica.new_since_ns:
            due_ns = _slow_start(replica, now_ns)
    if due_ns:
        state.timers.set(replica, due_ns)
    else:
        state.timers.clear(replica)
    replica.version.pool.settle(replica)


def _slow_start(replica: Replica, now_ns: int) -> int:
    """Limit the permits of a replica that is new; return when there are more of them."""
    steps = (now_ns - replica.new_since_ns) * SLOW_START_STEPS // SLOW_START_NS
    if steps >= SLOW_START_STEPS or replica.version.replicas < 2 or replica.permits < 2:
        replica.new_since_ns = 0
        return 0
    replica.usable = min(replica.permits, max(1, replica.permits * steps // SLOW_START_STEPS))
    return replica.new_since_ns + (steps + 1) * SLOW_START_NS // SLOW_START_STEPS


def punish(state: DispatchState, replica: Replica, now_ns: int) -> None:
    """Leave a replica alone that refused a call."""
    penalty_ns = min(PENALTY_NS << min(replica.refusals, 16), PENALTY_MAX_NS)
    replica.refusals += 1
    replica.shut_until_ns = max(replica.shut_until_ns, now_ns + penalty_ns)
    refresh(state, replica, now_ns)


def absolve(state: DispatchState, replica: Replica, now_ns: int) -> None:
    """Use a replica again that had no room: a call ended there, whoever took it before."""
    replica.refusals = 0
    if not replica.is_ejected:
        replica.shut_until_ns = 0
    refresh(state, replica, now_ns)


def learn(
    state: DispatchState, replica: Replica, call: Call, ended: CallEnded, now_ns: int
) -> None:
    """Take in how a call went that ended at a replica."""
    version, service_ns = replica.version, ended.service_ns
    if service_ns and call.version is version:
        version.service.note(service_ns)
        _note(replica, service_ns)
    if replica.refusals:
        absolve(state, replica, now_ns)
    if ended.is_fault or replica.faults or replica.is_on_trial:
        judge(state, replica, service_ns, ended.is_fault, now_ns)
    elif version.replicas >= POOL_MIN and now_ns >= replica.compare_after_ns:
        compare(state, replica, now_ns)


def _note(replica: Replica, service_ns: int) -> None:
    took = log(service_ns)
    replica.samples += 1
    if replica.samples == 1:
        replica.mean_ns, replica.log_mean = service_ns, took
        return
    replica.mean_ns += (service_ns - replica.mean_ns) * LEARNS
    version, off = replica.version, took - replica.log_mean
    version.log_variance += (off * off - version.log_variance) * VARIANCE_LEARNS
    replica.log_mean += off * LEARNS


def judge(
    state: DispatchState, replica: Replica, service_ns: int, is_fault: bool, now_ns: int
) -> None:
    """Draw the conclusions from a call that ended badly, or after one that did, or on trial."""
    replica.faults = replica.faults + 1 if is_fault else 0
    if replica.is_on_trial:
        replica.is_on_trial = False
        if is_fault or (service_ns and _is_slow(replica.version, log(service_ns), 1)):
            eject(state, replica, now_ns)
        refresh(state, replica, now_ns)
    elif replica.faults >= FAULTS_MAX:
        eject(state, replica, now_ns)


def compare(state: DispatchState, replica: Replica, now_ns: int) -> None:
    """Eject a replica whose calls take far longer than those of the others."""
    replica.compare_after_ns = now_ns + COMPARE_EVERY_NS
    samples = replica.samples
    if samples >= SAMPLES_MIN and _is_slow(replica.version, replica.log_mean, samples):
        eject(state, replica, now_ns)


def _is_slow(version: Version, log_mean: float, samples: int) -> bool:
    compared = [r.log_mean for _, _, r in version.pool.ring[:COMPARED_MAX] if r.samples]
    if len(compared) < POOL_MIN - 1:
        return False
    by_chance = SLOW_SIGMAS * sqrt(version.log_variance / min(samples, SAMPLES_WORTH))
    return log_mean - median_low(compared) > SLOW_LOG + by_chance


def eject(state: DispatchState, replica: Replica, now_ns: int) -> None:
    """Send a replica nothing for a while, unless too many of the others are in that state."""
    version = replica.version
    if replica.is_ejected or replica.is_leaving or (version.ejected + 1) * 3 > version.replicas:
        return
    if now_ns - replica.ejected_until_ns > EJECT_MAX_NS:
        replica.ejections = 0  # it was well for long: it begins anew
    for_ns = min(EJECT_NS << min(replica.ejections, 16), EJECT_MAX_NS)
    replica.ejections += 1
    replica.ejected_until_ns = replica.shut_until_ns = now_ns + for_ns
    replica.is_ejected = True
    replica.faults = replica.samples = 0
    replica.mean_ns = replica.log_mean = 0.0  # it is like the others until it shows that it is not
    version.ejected += 1
    refresh(state, replica, now_ns)


def recall(state: DispatchState, version: Version, now_ns: int) -> None:
    """Take back ejections when replicas left, until they are no more than a third of what is there."""
    ejected = (replica for _, _, replica in tuple(version.pool.ring) if replica.is_ejected)
    while version.ejected * 3 > version.replicas:
        replica = next(ejected)
        replica.shut_until_ns = 0
        refresh(state, replica, now_ns)


def _readmit(replica: Replica) -> None:
    replica.is_ejected = False
    replica.is_on_trial = True
    replica.version.ejected -= 1


def leave(state: DispatchState, replica: Replica, now_ns: int) -> None:
    """Take a replica out of use for good, and out of what is counted."""
    if replica.is_ejected:
        replica.is_ejected = False
        replica.version.ejected -= 1
    replica.is_on_trial = False
    replica.faults = replica.shut_until_ns = replica.new_since_ns = 0
    refresh(state, replica, now_ns)
