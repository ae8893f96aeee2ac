"""How many calls a second must begin, so that those of the last seconds begin in time?

Calls that came within a span must begin before the last of them has waited too long, so they have the span and the
slack to do so, and one call more than the time they take: `calls / (span + slack + S)`. It is the least rate of
service that keeps a delay bound under an arrival curve (Cruz 1991; Le Boudec and Thiran, Network Calculus, §1.4),
asked of spans of 2, 4 … 32 seconds. Unlike a mean it has its variation in it, so nothing is added for chance.

That is what would have been enough. For who comes after them, more than chance that has lasted long enough to go on
(`newsvendor.lasting_ns`) is a *rush*: its rate is what comes until a replica wanted now is ready.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import isqrt

from glowplug.clock import SECOND
from glowplug_router.policy.scaling.evidence import sure_milli
from glowplug_router.records.load import Load

BIN_NS = 2 * SECOND  # Knative's tick
BINS = 16  # so that they reach over the longest window that is averaged
SPANS = (2, 4, 8, 16)  # in bins, of which the newest is not over
SURE_SIGMAS = (
    4  # of a Poisson count: by chance once in 30,000 looks, so not once a day at one a second
)
SURE_CALLS = 2  # and so many more, since few calls are no Gaussian
MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Bursts:
    """Calls a second, in thousandths."""

    most_milli: int = 0  # that any span asks for
    sure_milli: int = 0  # that a span asks for which chance does not explain
    rush_milli: int = 0  # that surely came in such a span, if it has lasted


def bursts(load: Load, rate_micro: int, within_ns: int, lasting_ns: int, now_ns: int) -> Bursts:
    """Return what the last spans ask for, from bins that end now, beside what usually comes."""
    bins = load.bins
    calls = bins[-1] if bins else 0
    span_ns = now_ns % BIN_NS + 1
    most = sure = rush = 0
    begin = BINS - 1
    for length in SPANS if any(bins) else ():
        calls += sum(bins[BINS - length : begin])
        span_ns += (begin - (BINS - length)) * BIN_NS
        begin = BINS - length
        asked = calls * 1000 * SECOND // (span_ns + within_ns)
        most = max(most, asked)
        if is_sure(calls, rate_micro * span_ns // SECOND):
            sure = max(sure, asked)
            if span_ns >= lasting_ns:
                rush = max(rush, sure_milli(calls) * SECOND // span_ns)
    return Bursts(most, sure, rush)


def binned(load: Load, number: int, arrivals: int) -> tuple[int, ...]:
    """Return the bins up to one; what came while nobody looked is spread over the time it came in."""
    if not load.bins:
        return (0,) * (BINS - 1) + (arrivals,)
    missed = number - load.bin
    if missed <= 0:
        return (*load.bins[:-1], load.bins[-1] + arrivals)
    each, rest = divmod(arrivals, missed)
    if not rest:
        return (*load.bins, *(each,) * min(missed, BINS))[-BINS:]
    ends = [arrivals * at // missed for at in range(max(0, missed - BINS), missed + 1)]
    return (*load.bins, *(after - before for before, after in pairwise(ends)))[-BINS:]


def is_sure(calls: int, usual_micro: int) -> bool:
    """Say whether so many calls are more than chance makes of so many millionths that usually come."""
    more = (calls - SURE_CALLS) * MICRO - usual_micro
    return more > 0 and more > SURE_SIGMAS * isqrt(usual_micro * MICRO)  # a root is dear
