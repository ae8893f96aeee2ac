"""How long does a start of this version take?

What is learned is the time from a replica being wanted to its being ready, as replicas are observed. A start that
failed never became ready, so it says nothing and is left out: dynamo#14251 and #12430 tell what happens otherwise.
"""

from collections.abc import Sequence
from dataclasses import replace

from glowplug_router.records.load import StartTimes
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Replica, Served

STARTS_MAX = 16  # of these the 90th percentile is the second largest: the least that one outlier does not make
PENDING_MAX = 256  # starts watched at once; those beyond are not learned from
WARMUP_CALLS = 1  # of each permit: threads, streams and allocators are made at its first call


def horizon_ns(served: Served, memory: EndpointMemory) -> int:
    """Return how far ahead a replica must be wanted: the launch of its machine, if it needs one, and its start.

    That is the p90 of the starts seen, or an assumption before the first.
    """
    return served.launch_ns + (memory.start.p90_ns or served.start_prior_ns)


def expected_ns(served: Served, memory: EndpointMemory, now_ns: int) -> tuple[int, ...]:
    """Return in how many nanoseconds each replica that starts should be ready, soonest first; late ones: now."""
    horizon = horizon_ns(served, memory)
    start_ns = horizon - served.launch_ns  # a replica that starts has its machine
    soon = sorted(max(0, since + start_ns - now_ns) for _, since in memory.start.pending)
    return (*soon, *[horizon] * memory.awaited)


def starts_noted(
    memory: EndpointMemory, served: Served, replicas: Sequence[Replica]
) -> EndpointMemory:
    """Return the memory with what became of starts, and with the first calls of new replicas marked as such."""
    before = memory.start
    if not before.pending and not any(replica.state == "starting" for replica in replicas):
        return memory
    pending, took_ns = _watched(before.pending, replicas)
    if pending == before.pending and not took_ns:
        return memory
    recent = (*before.recent_ns, *took_ns)[-STARTS_MAX:]
    start = StartTimes(
        recent_ns=recent,
        p50_ns=_quantile(recent, 500),
        p90_ns=_quantile(recent, 900),
        pending=pending,
    )
    load = memory.load
    if took_ns:
        # Calls go round: until the new ones have had theirs, all that are ready end about as many.
        ready = sum(replica.state == "ready" for replica in replicas)
        load = replace(load, warming=WARMUP_CALLS * max(served.permits, 1) * ready)
    return replace(memory, start=start, load=load)


def _watched(
    before: tuple[tuple[str, int], ...], replicas: Sequence[Replica]
) -> tuple[tuple[tuple[str, int], ...], list[int]]:
    """Return who starts now and since when, and how long those took that are ready since."""
    known = dict(before)
    pending: list[tuple[str, int]] = []
    took_ns: list[int] = []
    for replica in replicas:
        since = known.get(replica.id)
        if replica.state == "starting" and len(pending) < PENDING_MAX:
            pending.append((replica.id, replica.since_ns if since is None else since))
        elif replica.state == "ready" and since is not None:
            took_ns.append(max(1, replica.since_ns - since))
    return tuple(pending), took_ns


def _quantile(sample: Sequence[int], permille: int) -> int:
    """Return the smallest of the sample that so many thousandths do not exceed; 0 without any."""
    if not sample:
        return 0
    return sorted(sample)[-(-len(sample) * permille // 1000) - 1]
