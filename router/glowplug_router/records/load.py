"""What does the planner remember of a version's load and of its starts? Frozen, bounded, all integers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTimes:
    """How long replicas of a version took from being wanted to being ready. Failed starts say nothing of it."""

    recent_ns: tuple[int, ...] = ()  # the latest, oldest first
    p50_ns: int = 0  # of them; 0 = none is known
    p90_ns: int = 0
    pending: tuple[tuple[str, int], ...] = ()  # replicas that start: id, monotonic time since when


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """How many calls came in each five minutes of the week, for some weeks. Weeks begin at monotonic zero.

    Each byte codes a rate logarithmically (`policy.scaling.season`); zero is "not seen". So a week takes 2 KB.
    """

    weeks: tuple[bytes, ...] = ()  # the newest last
    week: int = 0  # number of the newest
    slot: int = -1  # of it, that goes on now; -1 = none yet
    arrivals: int = 0  # in this slot so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Arrivals as they came lately, in several resolutions."""

    bins: tuple[int, ...] = ()  # arrivals in each of the last spans of two seconds, the newest last
    bin: int = 0  # number of the newest
    since_ns: int = 0  # when calls began to come, after there were none
    since_calls: int = 0  # that came since then
    burst_milli: int = 0  # what the last seconds need that chance does not explain, as calls at once, in thousandths
    rush_milli: int = 0  # what comes of it, where it has lasted so long that it may go on; likewise
    trend_micro: int = (
        0  # how much the smoothed rate grows in a second, in millionths of a call a second
    )
    service_calls: int = 0  # that the mean service time stands on, up to a bound
    service_sum_ns: int = 0  # of these
    unfinished_ns: int = (
        0  # how long the calls that run have run, summed; kept while few have ended
    )
    warming: int = 0  # calls to come that may be the first ones of a new replica
    peaks_milli: tuple[int, ...] = ()  # most that bursts asked for in each of the last stretches
    means_milli: tuple[
        int, ...
    ] = ()  # highest mean load in each; both in thousandths of a call at once
    stretch_ns: int = 0  # when the newest began
    season: Season = Season()
