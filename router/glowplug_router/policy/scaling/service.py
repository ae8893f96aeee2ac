"""How long does a call run?

The mean of the last calls, from sums of those that ended. Two things would mislead it:

- *First calls* of a new replica, which make threads, buffers and caches (dynamo#12430: they polluted its model of
  capacity). Sums do not say whose call ended, but calls go round: after a replica became ready, as many are left out
  as it takes for each permit of all that are ready to have had one; but while few have ended they count.
- *Unfinished calls*: the first to end are the short ones. While few have ended, the time that those still running
  have run so far is added to the sum and not to the count, which for exponential times is the likeliest mean (time on
  test over failures, in the words of reliability). It at most doubles the mean: the few that ended may not be all
  that were begun.
"""

from dataclasses import dataclass, replace

from glowplug_router.records.load import Load

CALLS_MIN = 256  # that the mean looks back: of exponential times its error is then 6 %
FEW = 32  # of exponential times their error is 18 %
LOOKBACK_S = 60  # or those of a minute, where more come


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of calls since the last look."""

    calls: int
    service_ns: int  # summed run time of these
    ran_ns: int  # summed time that any call ran since


def service_noted(load: Load, ended: Ended, rate_micro: int) -> Load:
    """Return the load with these calls in its sums."""
    calls, is_known = load.service_calls, load.service_calls >= FEW
    unfinished = max(0, load.unfinished_ns + ended.ran_ns - ended.service_ns)
    warming = max(0, load.warming - ended.calls)
    if not ended.calls or (is_known and load.warming):
        return replace(load, warming=warming, unfinished_ns=0 if is_known else unfinished)
    lookback = max(rate_micro * LOOKBACK_S // 1_000_000, CALLS_MIN)
    share = min(ended.calls, lookback)
    kept = min(calls, lookback - share)
    before_ns = load.service_sum_ns * kept // calls if kept else 0
    return replace(
        load,
        warming=warming,
        unfinished_ns=0 if is_known else unfinished,
        service_calls=kept + share,
        service_sum_ns=before_ns + ended.service_ns * share // ended.calls,
    )


def mean_service_ns(load: Load) -> int:
    """Return the mean run time in nanoseconds; 0 before any call has ended."""
    if not load.service_calls:
        return 0
    unfinished = load.unfinished_ns if load.service_calls < FEW else 0
    return (load.service_sum_ns + min(unfinished, load.service_sum_ns)) // load.service_calls
