"""What does a deployment ask of a version, whatever its demand?

A candidate wants exactly one replica to be tried out, on top of what the live version has. A version that is leaving
wants none: all drain. A live one gets its part of the endpoint's `max` by its share of the traffic.
"""

from collections.abc import Mapping, Sequence

from glowplug_router.records.observed import Replica, Served

WHOLE = 1000  # permille


def fixed_replicas(served: Served) -> int | None:
    """Return how many replicas the deployment wants, or None where demand decides."""
    if served.leaving:
        return 0
    return 1 if served.candidate else None


def max_replicas(served: Served) -> int:
    """Return how many replicas may start or be ready at once. Draining ones take no calls and do not count."""
    fixed = fixed_replicas(served)
    if fixed is not None:
        return fixed
    if not served.policy.max or not 0 < served.permille < WHOLE:
        return max(served.policy.max, 0)
    return max(1, -(-served.policy.max * served.permille // WHOLE))


def min_replicas(served: Served) -> int:
    """Return how many replicas are kept without any demand; a version without traffic keeps none."""
    if fixed_replicas(served) is not None:
        return max_replicas(served)
    return max(0, min(served.policy.min, max_replicas(served))) if served.permille else 0


def swappable(served: Served, replicas: Mapping[str, Sequence[Replica]]) -> Replica | None:
    """Return the replica that may become this version in place, if there is one: the longest ready."""
    if not served.swap_from or served.leaving:
        return None
    ready = [replica for replica in replicas.get(served.swap_from, ()) if replica.state == "ready"]
    return min(ready, key=lambda replica: (replica.since_ns, replica.id), default=None)
