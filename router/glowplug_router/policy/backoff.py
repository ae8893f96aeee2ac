"""When may a version that failed to start be tried again?

A start that never became ready is a *failure*: it waits 1 s, 2 s, 4 s … 30 s, and after `FAILURES_MAX` in a row the
version is failed until another one is deployed: the same code will not start the sixth time. The end of a replica
that had been ready is a *crash*, which costs less: the first two are followed at once, more make it wait, none makes
it fail. Replicas that die at the same time are one crash.
"""

from collections.abc import Sequence
from dataclasses import replace

from glowplug.clock import MINUTE, SECOND
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Replica

FAILURES_MAX = 5
CRASHES_FREE = 2  # an accident and its repetition; a third within a minute has a cause
DELAY_NS = SECOND
DELAY_MAX_NS = 30 * SECOND
STABLE_NS = MINUTE  # ready for so long: earlier crashes are forgiven


def is_failed(memory: EndpointMemory) -> bool:
    """Say whether the version has failed for good: nothing of it is started any more."""
    return memory.failures >= FAILURES_MAX


def delay_ns(failures: int, crashes: int) -> int:
    """Return how long to wait before the next start."""
    doublings = failures + max(0, crashes - CRASHES_FREE) - 1
    return min(DELAY_NS << min(doublings, 16), DELAY_MAX_NS) if doublings >= 0 else 0


def outcomes_noted(
    memory: EndpointMemory, replicas: Sequence[Replica], now_ns: int
) -> EndpointMemory:
    """Return the memory with what became of the starts; a failed replica counts once, however long it is reported."""
    if not replicas and not memory.seen_ready and not memory.counted:
        return memory
    ready = {replica.id for replica in replicas if replica.state == "ready"}
    failed = [replica.id for replica in replicas if replica.state == "failed"]
    is_even = not (failed or memory.counted or memory.failures or memory.crashes)
    if is_even and ready == set(memory.seen_ready):
        return memory  # as nearly always: nothing to forgive, nothing to count
    fresh = [id for id in failed if id not in memory.counted]
    is_stable = any(r.state == "ready" and now_ns - r.since_ns >= STABLE_NS for r in replicas)
    crashed = sum(id in memory.seen_ready for id in fresh)
    failures = (0 if ready else memory.failures) + len(fresh) - crashed
    crashes = (0 if is_stable else memory.crashes) + min(crashed, 1)
    observed = {replica.id for replica in replicas}
    return replace(
        memory,
        failures=failures,
        crashes=crashes,
        retry_at_ns=now_ns + delay_ns(failures, crashes) if fresh else memory.retry_at_ns,
        seen_ready=tuple(sorted(ready | (observed & set(memory.seen_ready)))),
        counted=tuple(sorted(failed)),
    )
