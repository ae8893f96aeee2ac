"""What does /metrics say? Plain counters on the hot path, turned into Prometheus families when somebody asks."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from glowplug.clock import SECOND
from glowplug_router.gateway.tally import BOUNDS_NS, SIZES, Tallies

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """All counts of one gateway."""

    def __init__(self, tallies: Tallies) -> None:
        self.replicas: dict[str, int] = {}  # ready ones by "app/endpoint"
        self.lag_ns = 0
        self.lag_max_ns = 0
        self.held_bytes = 0
        self.refused: dict[str, int] = {}  # by problem code: requests that never became calls
        self._tallies = tallies
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def refuse(self, code: str) -> None:
        """Count a request that was refused at the door."""
        self.refused[code] = self.refused.get(code, 0) + 1

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
        for tally in list(self._tallies.by_key.values()):
            labels = _labels(tally.key)
            for status, count in sorted(tally.by_status.items()):
                calls.add_metric((*labels, str(status)), count)
            seconds.add_metric(labels, _cumulated(_BOUNDS_S, tally.spans), tally.took_ns / SECOND)
            cold.add_metric(labels, tally.cold_starts)
        yield from (calls, seconds, cold)
        yield from self._batches()
        yield from self._gauges()

    def _batches(self) -> Iterator[Metric]:
        batches = CounterMetricFamily(
            "glowplug_batches",
            "Batches that replicas ran, by why they were cut.",
            labels=("app", "endpoint", "reason"),
        )
        sizes = HistogramMetricFamily("glowplug_batch_size", "Calls in a batch.", labels=_LANE)
        reasons: dict[tuple[str, str, str], int] = {}
        for tally in list(self._tallies.by_key.values()):
            labels = _labels(tally.key)
            for reason, count in tally.batches.items():
                key = (*labels[:2], reason)
                reasons[key] = reasons.get(key, 0) + count
            if tally.batches:
                sizes.add_metric(labels, _cumulated(_SIZES, tally.sizes), tally.batched)
        for key, count in sorted(reasons.items()):
            batches.add_metric(key, count)
        yield from (batches, sizes)

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
_BOUNDS_S = (*(str(bound / SECOND) for bound in BOUNDS_NS), "+Inf")
_SIZES = (*(str(float(size)) for size in SIZES), "+Inf")


def _labels(key: str) -> tuple[str, str, str]:
    name, _, version = key.rpartition("@")
    app, _, endpoint = name.partition("/")
    return app, endpoint, version


def _cumulated(bounds: tuple[str, ...], counts: list[int]) -> list[tuple[str, float]]:
    rows: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        rows.append((bound, total))
    return rows
