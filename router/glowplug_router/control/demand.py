"""What was asked of each version, summed over gateways that come and go?

A gateway counts from its own start. When its counters fall, it has been restarted: what it had counted is kept in
`_past`, so that the sums only grow. A connection that breaks says nothing about the counters (the same gateway may be
back in a moment), but queue and calls in flight are of now, so those of a gateway that is away are zero.
"""

from collections.abc import Iterable
from dataclasses import replace

from glowplug_router.records.observed import Demand
from glowplug_router.records.published import DemandReport


class DemandBook:
    """The last word of each gateway, and what former ones had counted."""

    def __init__(self) -> None:
        self._now: dict[str, dict[str, Demand]] = {}  # gateway -> version key -> demand
        self._past: dict[str, Demand] = {}
        self._numbers: dict[str, int] = {}

    def take(self, report: DemandReport) -> bool:
        """Take a report; False when it says nothing new. One that was overtaken by a later one is dropped."""
        if report.number <= self._numbers.get(report.gateway, 0):
            return False  # of this connection: a restarted gateway comes on another, after `away`
        known = self._now.get(report.gateway, {})
        said = {demand.key: demand for demand in report.demands}
        if any(_restarted(known[key], demand) for key, demand in said.items() if key in known):
            self._fold(report.gateway)
            known = {}
        self._numbers[report.gateway] = report.number
        changed = any(known.get(key) != demand for key, demand in said.items())
        # A delta: versions it does not name are as they were.
        self._now[report.gateway] = {**known, **said}
        return changed

    def away(self, gateway: str) -> None:
        """Note that a gateway's connection is gone."""
        self._numbers.pop(gateway, None)
        known = self._now.get(gateway, {})
        self._now[gateway] = {key: _idle(demand) for key, demand in known.items()}

    def _fold(self, gateway: str) -> None:
        for key, demand in self._now.pop(gateway, {}).items():
            self._past[key] = _sum(key, (self._past.get(key), _idle(demand)))

    def forget(self, keep: Iterable[str]) -> None:
        """Drop versions that are served no more."""
        kept = set(keep)
        for demands in (self._past, *self._now.values()):
            for key in [key for key in demands if key not in kept]:
                del demands[key]

    def total(self) -> tuple[Demand, ...]:
        """Return the sums, by version key."""
        keys = sorted({*self._past, *(key for demands in self._now.values() for key in demands)})
        return tuple(
            _sum(key, (self._past.get(key), *(demands.get(key) for demands in self._now.values())))
            for key in keys
        )


def _idle(demand: Demand) -> Demand:
    return replace(demand, queued=0, inflight=0)


def _restarted(before: Demand, now: Demand) -> bool:
    return now.arrivals < before.arrivals or now.completed < before.completed


def _sum(key: str, parts: Iterable[Demand | None]) -> Demand:
    demands = [part for part in parts if part is not None]
    return Demand(
        key=key,
        arrivals=sum(one.arrivals for one in demands),
        completed=sum(one.completed for one in demands),
        service_ns=sum(one.service_ns for one in demands),
        queued=sum(one.queued for one in demands),
        inflight=sum(one.inflight for one in demands),
        last_arrival_ns=max((one.last_arrival_ns for one in demands), default=0),
    )
