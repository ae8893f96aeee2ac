"""What is sure already, while little has been seen?

The mean of few is no mean, yet it says something: two standard errors below it (of a Poisson count, of exponential
times) is where the true one is not in 97 of 100 cases. So much may be acted on before means are known. A step is
answered by what its first calls show, and one odd call starts no fleet.
"""

from math import isqrt

from glowplug.clock import SECOND
from glowplug_router.records.load import Load

SIGMAS = 2  # 97.7 % on one side: wrong once in forty steps, and then by little
CALLS_MIN = 4  # of fewer, one that hangs makes the mean; of four it is divided by eight
WHOLE = 1000  # permille


def sure_milli(calls: int) -> int:
    """Return how many calls, in thousandths, usually come at least where this time so many came."""
    return max(0, calls * WHOLE - SIGMAS * isqrt(calls * WHOLE * WHOLE))


def sure_rate_micro(calls: int, passed_ns: int) -> int:
    """Return the rate, in millionths of a call a second, that so many calls in this time surely show."""
    return sure_milli(calls) * WHOLE * SECOND // max(passed_ns, 1)


def sure_service_ns(load: Load, inflight: int, permits: int, start_ns: int) -> int:
    """Return how long calls surely take in the mean, by those that ended and by how long the others have run.

    The first call of a permit may have to finish what the start left undone. So until as many have ended as a replica
    has permits, a call says nothing before it has run for longer than a start.
    """
    begun = load.service_calls + inflight
    if begun < CALLS_MIN:
        return 0
    ran_ns = load.service_sum_ns + load.unfinished_ns
    if load.service_calls < permits:
        ran_ns -= begun * start_ns
    return max(0, ran_ns) // (begun + isqrt(SIGMAS * SIGMAS * begun))
