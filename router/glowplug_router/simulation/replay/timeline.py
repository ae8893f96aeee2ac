"""How did it go over time? Arrivals, queue and replicas in buckets, few enough for a plot whatever the span."""

from dataclasses import dataclass

BUCKETS_MAX = 1024  # about as many as a plot has columns; beyond, two become one


@dataclass(slots=True)
class Bucket:
    """What happened in one stretch of time. The `_ns` of replicas are summed over replicas."""

    arrivals: int = 0
    begun: int = 0
    cold: int = 0
    refused: int = 0
    starts: int = 0
    drains: int = 0
    queued_max: int = 0
    wait_max_ns: int = 0
    ready_ns: int = 0
    starting_ns: int = 0

    def joined(self, other: "Bucket") -> "Bucket":
        """Return both as one."""
        return Bucket(
            self.arrivals + other.arrivals,
            self.begun + other.begun,
            self.cold + other.cold,
            self.refused + other.refused,
            self.starts + other.starts,
            self.drains + other.drains,
            max(self.queued_max, other.queued_max),
            max(self.wait_max_ns, other.wait_max_ns),
            self.ready_ns + other.ready_ns,
            self.starting_ns + other.starting_ns,
        )


class Timeline:
    """Buckets of one length, which doubles whenever there would be more than `BUCKETS_MAX`."""

    def __init__(self, begin_ns: int, bucket_ns: int) -> None:
        self.bucket_ns = bucket_ns
        self.buckets = [Bucket()]
        self._last = self.buckets[0]
        self._begin_ns = begin_ns
        self._end_ns = begin_ns + bucket_ns
        self._counted_ns = begin_ns  # up to here, replicas are summed
        self._ready = self._starting = 0
        self.queued = 0  # calls that wait now; a bucket begins with those of the one before

    def at(self, now_ns: int) -> Bucket:
        """Return the bucket of a time, which never goes back."""
        while now_ns >= self._end_ns:
            self._sum_up(self._end_ns)
            if len(self.buckets) >= BUCKETS_MAX:
                self._double()
            else:
                self._last = Bucket(queued_max=self.queued)
                self.buckets.append(self._last)
            self._end_ns = self._begin_ns + len(self.buckets) * self.bucket_ns
        return self._last

    @property
    def held_ns(self) -> int:
        """Return the time of all replicas that started or were ready, summed over replicas."""
        return sum(bucket.ready_ns + bucket.starting_ns for bucket in self.buckets)

    def count(self, ready: int, starting: int, now_ns: int) -> None:
        """Note how many replicas there are from now on."""
        self.at(now_ns)
        self._sum_up(max(now_ns, self._begin_ns))
        self._ready, self._starting = ready, starting

    def _sum_up(self, until_ns: int) -> None:
        passed_ns = until_ns - self._counted_ns
        self._last.ready_ns += self._ready * passed_ns
        self._last.starting_ns += self._starting * passed_ns
        self._counted_ns = until_ns

    def _double(self) -> None:
        pairs = zip(self.buckets[::2], self.buckets[1::2], strict=True)
        self.buckets = [one.joined(other) for one, other in pairs]
        self.bucket_ns *= 2
        self._last = Bucket(queued_max=self.queued)
        self.buckets.append(self._last)
