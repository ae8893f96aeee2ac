"""How long does a call take? Learned from those that ended: the mean, and between which times eight of ten lie."""

LEARNED_MIN = 8  # calls before which what was learned is an anecdote
_ALPHA = 1 / 16  # weight of the newest call in the mean
_YOUNG = 16  # calls that are all looked at closely
_SAMPLED = 4  # of the later ones, one in so many
_STEP = 1 / 8  # of the typical deviation: how far one call moves a quantile


class Service:
    """What is known of the run times of one version."""

    __slots__ = ("_spread_ns", "count", "high_ns", "low_ns", "mean_ns")

    def __init__(self) -> None:
        self.count = 0
        self.mean_ns = 0.0
        self.low_ns = 0.0  # one in ten takes less
        self.high_ns = 0.0  # one in ten takes more
        self._spread_ns = 0.0  # how far a call is from the mean, typically

    def note(self, service_ns: int) -> None:
        """Learn from one call."""
        self.count = count = self.count + 1
        if count > _YOUNG:
            self.mean_ns += (service_ns - self.mean_ns) * _ALPHA
            # A quantile needs no more than a sample, and every call pays for this.
            if count % _SAMPLED:
                return
        elif count == 1:
            self.mean_ns = self.low_ns = self.high_ns = float(service_ns)
        else:
            self.mean_ns += (service_ns - self.mean_ns) / count  # of few calls, the plain mean
        self._learn_spread(service_ns)

    def _learn_spread(self, service_ns: int) -> None:
        off_ns = service_ns - self.mean_ns
        self._spread_ns += (abs(off_ns) - self._spread_ns) * _ALPHA
        # A quantile goes up a little when a call lies above it, and down when below, in the proportion it stands for.
        step_ns = self._spread_ns * _STEP
        self.low_ns += step_ns * (0.1 if service_ns > self.low_ns else -0.9)
        self.high_ns += step_ns * (0.9 if service_ns > self.high_ns else -0.1)

    @property
    def is_learned(self) -> bool:
        """Say whether enough calls ended to tell."""
        return self.count >= LEARNED_MIN

    @property
    def shortest_ns(self) -> float:
        """Return what nine of ten calls take at least."""
        return min(max(self.low_ns, 0.0), self.mean_ns)

    @property
    def longest_ns(self) -> float:
        """Return what nine of ten calls take at most; of a long tail, twice the mean."""
        return min(max(self.high_ns, self.mean_ns), 2 * self.mean_ns)
