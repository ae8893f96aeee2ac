"""What does /metrics say? Plain counters on the hot path, turned into Prometheus families when somebody asks."""

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from glowplug.clock import MILLISECOND, SECOND
from glowplug_router.gateway.routes import Lane
from glowplug_router.gateway.tally import Tallies

# Milliseconds: from a warm echo to the longest wait the edge allows.
BOUNDS_NS = tuple(
    ms * MILLISECOND
    for ms in (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 110_000)
)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Series:
    """Counts of one version: calls by status, and how long they took."""

    __slots__ = ("buckets", "by_status", "cold_starts", "lane", "sum_ns")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.by_status: dict[int, int] = {}
        self.buckets = [0] * (len(BOUNDS_NS) + 1)
        self.sum_ns = 0
        self.cold_starts = 0


class Metrics(Collector):
    """All counts of one gateway."""

    def __init__(self, tallies: Tallies) -> None:
        self.replicas: dict[str, int] = {}  # ready ones by "app/endpoint"
        self.lag_ns = 0
        self.lag_max_ns = 0
        self.held_bytes = 0
        self.refused: dict[str, int] = {}  # by problem code: requests that never became calls
        self._tallies = tallies
        self._series: dict[str, Series] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def done(self, lane: Lane, status: int, took_ns: int, *, cold: bool) -> None:
        """Count a call that is over."""
        series = self._series.get(lane.key)
        if series is None:
            series = self._series[lane.key] = Series(lane)
        series.by_status[status] = series.by_status.get(status, 0) + 1
        series.buckets[bisect_left(BOUNDS_NS, took_ns)] += 1
        series.sum_ns += took_ns
        series.cold_starts += cold

    def refuse(self, code: str) -> None:
        """Count a request that was refused at the door."""
        self.refused[code] = self.refused.get(code, 0) + 1

    def forget(self, key: str) -> None:
        """Drop a version that is served no more, so that the series stay as many as the versions."""
        self._series.pop(key, None)

    def lag(self, late_ns: int) -> None:
        """Note how late the loop was."""
        self.lag_ns = late_ns
        self.lag_max_ns = max(self.lag_max_ns, late_ns)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        calls = CounterMetricFamily(
            "glowplug_calls", "Calls by outcome.", labels=("app", "endpoint", "version", "code")
        )
        seconds = HistogramMetricFamily(
            "glowplug_call_seconds", "From the last byte in to the last byte out.", labels=_LANE
        )
        cold = CounterMetricFamily(
            "glowplug_cold_starts", "Calls that met no replica.", labels=_LANE
        )
        for series in self._series.values():
            labels = _labels(series.lane.key)
            for status, count in sorted(series.by_status.items()):
                calls.add_metric((*labels, str(status)), count)
            seconds.add_metric(labels, _cumulated(series.buckets), series.sum_ns / SECOND)
            cold.add_metric(labels, series.cold_starts)
        yield from (calls, seconds, cold)
        yield from self._gauges()

    def _gauges(self) -> Iterator[Metric]:
        queued = GaugeMetricFamily(
            "glowplug_queued_calls", "Calls that wait for a permit.", labels=_LANE
        )
        inflight = GaugeMetricFamily("glowplug_inflight_calls", "Calls at a replica.", labels=_LANE)
        for tally in list(self._tallies.by_key.values()):
            queued.add_metric(_labels(tally.key), tally.queued)
            inflight.add_metric(_labels(tally.key), tally.inflight)
        replicas = GaugeMetricFamily(
            "glowplug_replicas", "Replicas with a data link.", labels=("app", "endpoint")
        )
        for name, count in sorted(self.replicas.items()):
            replicas.add_metric(name.partition("/")[::2], count)
        refused = CounterMetricFamily(
            "glowplug_refused_requests", "Requests refused at the door.", labels=("code",)
        )
        for code, count in sorted(self.refused.items()):
            refused.add_metric((code,), count)
        yield from (queued, inflight, replicas, refused)
        yield GaugeMetricFamily(
            "glowplug_loop_lag_seconds", "How late the loop was, last.", self.lag_ns / SECOND
        )
        yield GaugeMetricFamily(
            "glowplug_loop_lag_max_seconds", "The same, at worst.", self.lag_max_ns / SECOND
        )
        yield GaugeMetricFamily("glowplug_held_bytes", "Request bodies in memory.", self.held_bytes)


_LANE = ("app", "endpoint", "version")


def _labels(key: str) -> tuple[str, str, str]:
    name, _, version = key.rpartition("@")
    app, _, endpoint = name.partition("/")
    return app, endpoint, version


def _cumulated(buckets: list[int]) -> list[tuple[str, float]]:
    rows: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*BOUNDS_NS, None), buckets, strict=True):
        total += count
        rows.append(("+Inf" if bound is None else str(bound / SECOND), total))
    return rows
