"""Who gets what at twice the capacity? Four classes of eight tenants each, 16 one-call replicas, two minutes.

Ours is the drill of the data plane's bench (`dataplane.virtual`): the real dispatcher. Others order the same calls;
bands with EDF get deadlines of 1, 5, 30 and 120 s by class.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from dataplane import virtual
from dataplane.fleet import Job

from glowplug.clock import SECOND
from glowplug.spec import Class
from policy.baselines.queueing import Order, RoundRobin, Work, bands, fifo, serve, strict
from policy.result import Result
from policy.scenes import OURS

NAME = "priority"
DEADLINES_S: dict[Class, int] = {"critical": 1, "interactive": 5, "standard": 30, "batch": 120}
ORDERS: dict[str, Callable[[], Order]] = {
    "fifo": lambda: fifo,
    "strict": lambda: strict,
    "bands + edf": lambda: bands,
    "drr": RoundRobin,
}


def run(seed: int) -> list[Result]:
    """Return critical calls' p99 over theirs alone, fairness inside classes, and what batch gets."""
    jobs = virtual._offered(Random(seed))
    found: dict[str, Mapping[str, float]] = {OURS: virtual.overload(seed)}
    found |= {name: _ordered(jobs, make) for name, make in ORDERS.items()}
    how = "4 classes × 8 tenants at 2 × capacity"
    return [
        Result(
            figure="priority_critical_p99_ratio",
            value=found[OURS]["critical_p99_ratio"],
            unit="ratio",
            bound=1.0,
            peers=_of(found, "critical_p99_ratio"),
            detail=how,
            at_most=1.2,
        ),
        Result(
            figure="priority_jain",
            value=found[OURS]["jain"],
            unit="index",
            bound=1.0,
            peers=_of(found, "jain"),
            detail=f"{how}; the least fair class below critical",
            at_least=0.95,
        ),
        Result(
            figure="priority_batch_share",
            value=found[OURS]["batch_share"],
            unit="share",
            peers=_of(found, "batch_share"),
            detail=how,
            at_least=0.05,
        ),
    ]


def _of(found: Mapping[str, Mapping[str, float]], metric: str) -> dict[str, float]:
    return {name: one[metric] for name, one in found.items()}


def _ordered(jobs: list[Job], make: Callable[[], Order]) -> Mapping[str, float]:
    critical = [job for job in jobs if job.klass == "critical"]
    alone = virtual._critical_p99(_served(critical, make()))
    mixed = _served(jobs, make())
    shares = {klass: virtual._device_s(mixed, klass) for klass in virtual.CLASSES}
    below = virtual.CLASSES[1:]
    return {
        "critical_p99_ratio": virtual._critical_p99(mixed) / alone,
        "jain": min(virtual._jain(mixed, klass) for klass in below if shares[klass]),
        "batch_share": shares["batch"] / sum(shares.values()),
    }


def _served(jobs: list[Job], order: Order) -> list[Job]:
    """Return what became of the jobs; nobody is dropped."""
    works = [
        Work(job.at_ns, job.service_ns, job.klass, job.tenant, job.at_ns + _deadline_ns(job))
        for job in jobs
    ]
    serve(works, virtual.SLOTS, order, "never")
    return [
        replace(job, sent_ns=work.sent_ns, done_ns=work.done_ns)
        for job, work in zip(jobs, works, strict=True)
    ]


def _deadline_ns(job: Job) -> int:
    return DEADLINES_S[job.klass] * SECOND
