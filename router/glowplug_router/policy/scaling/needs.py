"""How many replicas does a load need, by each of the targets its owner set?

Without any, as many as let few calls wait longer than their class may (`staffing`): the servers of the queue are
permits. With several, the one that wants most wins.
"""

from dataclasses import dataclass

from glowplug.clock import SECOND
from glowplug_router.policy.scaling.following import There
from glowplug_router.policy.scaling.newsvendor import SLACK_NS, late_permille
from glowplug_router.policy.scaling.staffing import servers
from glowplug_router.records.observed import Demand, Served

WHOLE = 1000  # permille
P95_EPS_PERMILLE = 50


@dataclass(frozen=True, slots=True)
class LoadNow:
    """What is to be carried: a forecast, not what waits."""

    steady_milli: int  # calls at once, in thousandths: a mean, around which chance has its play
    peak_milli: int  # what bursts need so that their calls begin in time
    service_ns: int  # mean; 0 = no call has ended yet


def needed_replicas(served: Served, load: LoadNow, permille: int = WHOLE) -> int:
    """Return how many replicas carry the load when each may be used up to so many thousandths of what it can."""
    policy = served.policy
    targets = policy.targets
    steady = load.steady_milli * WHOLE // permille
    most = max(steady, load.peak_milli * WHOLE // permille)
    slots = slots_milli(served)
    wanted = -(-most // slots)
    if targets.util_permille > 0:
        wanted = max(wanted, -(-most * WHOLE // (slots * targets.util_permille)))
    if targets.qps_milli > 0 and load.service_ns:
        each = targets.qps_milli * load.service_ns // SECOND
        wanted = max(wanted, -(-most // max(each, 1)))
    if targets.p95_ns > 0:
        wait_ns = max(0, targets.p95_ns - load.service_ns)
        return max(wanted, _staffed(served, steady, load.service_ns, wait_ns, P95_EPS_PERMILLE))
    if policy.target_concurrency > 0 or targets.util_permille > 0 or targets.qps_milli > 0:
        return wanted
    eps = late_permille(policy.priority, steady, slots)
    slack_ns = SLACK_NS[policy.priority]
    return max(wanted, _staffed(served, steady, load.service_ns, slack_ns, eps))


def queue_target_replicas(served: Served, demand: Demand, there: There) -> int:
    """Return how many replicas keep the queue at the target of each, if there is one; what starts is waited for."""
    target_milli = served.policy.targets.queue_milli
    if target_milli <= 0 or there.starting:
        return 0
    return min(-(-demand.queued * WHOLE // target_milli), max(2 * there.ready, 1))


def slots_milli(served: Served) -> int:
    """Return how many calls at once a replica should carry, in thousandths: never more than it can."""
    permits_milli = max(served.permits, 1) * WHOLE
    asked_milli = int(served.policy.target_concurrency * WHOLE)
    return min(asked_milli, permits_milli) if asked_milli > 0 else permits_milli


def _staffed(served: Served, steady: int, service_ns: int, wait_ns: int, eps: int) -> int:
    if not service_ns:
        return 0
    slots = servers(steady, wait_ns * WHOLE // service_ns, eps)
    return -(-slots // max(served.permits, 1))
