"""What would another scale have made of the same traffic? A replay for each, and the figures that one compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glowplug.clock import HOUR, SECOND
from glowplug.spec import Policy
from glowplug_router.records.observed import Served
from glowplug_router.simulation.replay import (
    Endpoint,
    Fleet,
    Outcome,
    Request,
    Scene,
    StartTime,
    replay_apart,
)
from glowplug_router.simulation.replay.scene import devices

GPUS_PER_NODE = (
    8  # what the largest machines of one host have; room is not what a comparison is about
)
PERCENTILES = (500, 950, 990)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How endpoints are scaled, and how they behave. All endpoints of a trace have the same one."""

    name: str
    policy: Policy
    concurrency: int = 1
    start: StartTime
    price_micro_usd: int = 0  # a device held for an hour; 0 = not known
    run_ns: int = HOUR  # how long a replica that drains may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of one setup. A wait of None: so many calls never began."""

    name: str
    calls: int
    cold: int
    waits_ns: tuple[int | None, ...]  # at PERCENTILES
    share_in_time: float  # began within the limit that was asked for
    refused: int
    lost: int
    gpu_hours: float
    dollars: float | None
    starts: int
    drains: int

    def record(self) -> dict[str, Any]:
        """Return the figures for programs."""
        seconds = [None if wait is None else wait / SECOND for wait in self.waits_ns]
        waits = {f"wait_p{p / 10:g}_s": s for p, s in zip(PERCENTILES, seconds, strict=True)}
        return {
            "name": self.name,
            "calls": self.calls,
            "cold": self.cold,
            **waits,
            "share_in_time": self.share_in_time,
            "refused": self.refused,
            "lost": self.lost,
            "gpu_hours": self.gpu_hours,
            "dollars": self.dollars,
            "starts": self.starts,
            "drains": self.drains,
        }


def replayed(setup: Setup, traffic: Sequence[Request], seed: int = 0) -> Outcome:
    """Return what the real planner and dispatcher make of the traffic under a setup."""
    names = sorted({request.endpoint for request in traffic})
    scene = Scene(
        endpoints=tuple(_endpoint(setup, name) for name in names),
        traffic=traffic,
        fleet=Fleet(),
        # What `min` keeps has been there for long when a trace begins.
        lead_ns=2 * max(setup.start.p50_ns, setup.start.p90_ns) + SECOND,
    )
    fleet = devices(
        max(1, setup.policy.max), per_node=GPUS_PER_NODE, price_micro_usd=setup.price_micro_usd
    )
    return replay_apart(scene, lambda _: fleet, seed=seed)


def _endpoint(setup: Setup, name: str) -> Endpoint:
    served = Served(
        key=f"{name}@1",
        policy=setup.policy,
        permits=setup.concurrency,
        permille=1000,
        gpu_count=1,
        drain_ns=setup.run_ns,
    )
    return Endpoint(served=served, start=setup.start)


def summary(setup: Setup, outcome: Outcome, limit_ns: int) -> Summary:
    """Return the figures of a replay; `limit_ns` is what counts as in time."""
    waits, codes = outcome.calls.waits(), outcome.codes()
    uses = outcome.uses.values()
    return Summary(
        name=setup.name,
        calls=len(outcome.calls),
        cold=outcome.cold,
        waits_ns=tuple(waits.quantile_ns(permille) for permille in PERCENTILES),
        share_in_time=waits.share_within(limit_ns),
        refused=codes["refused"],
        lost=codes["lost"] + codes["open"],
        gpu_hours=outcome.device_hours,
        dollars=outcome.micro_usd / 1e6 if setup.price_micro_usd else None,
        starts=sum(use.starts for use in uses),
        drains=sum(use.drains for use in uses),
    )
