"""How many replicas would Knative's autoscaler have?

knative/serving @98e5ef90, `pkg/autoscaler/scaling/autoscaler.go`, `pkg/reconciler/autoscaling/kpa/scaler.go` and
`config/core/configmaps/autoscaler.yaml`, as told in research/router.md §1.1.
"""

from dataclasses import dataclass
from math import ceil, floor

from glowplug.clock import SECOND
from glowplug_router.records.observed import Served
from policy.baselines.ticking import Seen, Ticking

TICK_NS = 2 * SECOND
STABLE_NS = 60 * SECOND  # stable-window
PANIC_NS = 6 * SECOND  # panic-window-percentage 10
PANIC_THRESHOLD = 2.0  # panic-threshold-percentage 200
TARGET_UTILISATION = 0.70  # container-concurrency-target-percentage
UP_RATE = 1000.0  # max-scale-up-rate
DOWN_RATE = 2.0  # max-scale-down-rate
GRACE_NS = 30 * SECOND  # scale-to-zero-grace-period
DECAY_REST = 0.0001  # of a weighted window, what its oldest bucket may still weigh
DECAY_MIN = 0.2


@dataclass(frozen=True, slots=True)
class Panic:
    """Since when it panics, and the most it wanted meanwhile."""

    since_ns: int = -1  # -1 = it does not
    most: int = 0

    @property
    def is_on(self) -> bool:
        """Say whether it panics."""
        return self.since_ns >= 0


def clamped(wanted: int, ready: int) -> int:
    """Return what may be wanted at once: from half of the ready ones to a thousand times as many."""
    pods = max(1, ready)
    return min(max(wanted, floor(pods / DOWN_RATE)), ceil(pods * UP_RATE))


def desired(
    stable: float, panicky: float, target: float, ready: int, panic: Panic, now_ns: int
) -> tuple[int, Panic]:
    """Return how many pods are wanted with these mean concurrencies, and how it panics from now on."""
    by_stable, by_panic = ceil(stable / target), ceil(panicky / target)
    is_over = by_panic / max(1, ready) >= PANIC_THRESHOLD
    if is_over:
        panic = Panic(now_ns, panic.most)
    elif panic.is_on and now_ns > panic.since_ns + STABLE_NS:
        panic = Panic()
    wanted = clamped(by_stable, ready)
    if not panic.is_on:
        return wanted, panic
    most = max(panic.most, wanted, clamped(by_panic, ready))
    return most, Panic(panic.since_ns, most)


def decay(buckets: int) -> float:
    """Return the weight of the newest of so many buckets in an exponentially weighted window."""
    return float(max(1 - DECAY_REST ** (1 / buckets), DECAY_MIN))


class Kpa(Ticking):
    """Knative's autoscaler with its defaults; `least` is min-scale."""

    every_ns = TICK_NS

    def __init__(self, *, least: int = 0) -> None:
        super().__init__(least=least)
        self._panics: dict[str, Panic] = {}
        self._zero_since_ns: dict[str, int] = {}

    def decided(self, served: Served, seen: Seen, ready: int, starting: int, now_ns: int) -> int:
        """Return what is wanted; zero only after the grace period."""
        target = served.permits * TARGET_UTILISATION
        wanted, panic = desired(
            seen.mean_concurrency(STABLE_NS),
            seen.mean_concurrency(PANIC_NS),
            target,
            ready,
            self._panics.get(served.key, Panic()),
            now_ns,
        )
        self._panics[served.key] = panic
        if wanted:
            self._zero_since_ns.pop(served.key, None)
            return wanted
        since_ns = self._zero_since_ns.setdefault(served.key, now_ns)
        if now_ns < since_ns + GRACE_NS:
            return min(seen.replicas, 1)
        seen.forget()
        return 0
