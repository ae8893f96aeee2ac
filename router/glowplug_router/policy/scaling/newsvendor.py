"""How sure must we be to have enough?

Holding one replica too many for the time of a start costs `price × h`. Having one too few costs `c_miss`: the calls
that it would have run in that time come late. The newsvendor's answer is the quantile c_miss / (c_miss + price × h)
of what may come. Nobody tells us what a late call costs in money, so it is counted in what running it costs: a class
says how many times that it is worth not to be late. Price and time cancel out, and what is left holds for any
machine.

What a replica is held for may end before it is paid off. Then only the time in which it is of use is on the side of
the miss, and the longer a start takes the surer we must be: `peak_permille` of what recurs, `lasting_ns` of a rush.
"""

from glowplug.clock import SECOND
from glowplug.spec import Class

# A late call costs so many times what running it does. Their quantiles are those people provision by: 99.9 % and 99 %
# are the usual objectives of what must not and of what should not be late (router.md §7), the 95th percentile that of
# what may be (billing of bandwidth, Kubernetes' vertical autoscaler), the median that of what nobody waits for.
MISS_WORTH: dict[Class, int] = {"critical": 999, "interactive": 99, "standard": 19, "batch": 1}

# How long a call may wait, by what its caller does meanwhile (Nielsen 1993): one second keeps a thought, ten keep the
# attention; `Timeouts.queue` ends what waits longer than a minute.
SLACK_NS: dict[Class, int] = {
    "critical": SECOND,
    "interactive": SECOND,
    "standard": 10 * SECOND,
    "batch": 60 * SECOND,
}
NEVER_NS = 1 << 62


def newsvendor_permille(miss: int, hold: int) -> int:
    """Return miss / (miss + hold) in thousandths, rounded down; both in the same unit, and not negative."""
    return miss * 1000 // (miss + hold) if miss + hold > 0 else 0


def quantile_permille(klass: Class) -> int:
    """Return how many thousandths of what may come a version whose calls are of this class should stand."""
    return newsvendor_permille(MISS_WORTH[klass], 1)


def peak_permille(klass: Class, use_ns: int, stretch_ns: int) -> int:
    """Return how many thousandths of the stretches to be ready for, when a peak needs the replica for part of one."""
    return newsvendor_permille(MISS_WORTH[klass] * min(use_ns, stretch_ns), stretch_ns)


def lasting_ns(klass: Class, start_ns: int, hold_ns: int) -> int:
    """Return how long a rush must have lasted until a replica pays that is ready only after a start.

    What has lasted `t` lasts `x` more with probability t / (t + x) (Gott 1993, Nature 363: as long again in the
    median). A replica that is paid for `start + hold` is of use while the rush lasts after the start: at least
    `hold t / (t + start + hold / 2)`, by Jensen.
    """
    paid_ns = start_ns + hold_ns
    gain_ns = MISS_WORTH[klass] * hold_ns - paid_ns
    return paid_ns * (start_ns + hold_ns // 2) // gain_ns if gain_ns > 0 else NEVER_NS


def late_permille(klass: Class, load_milli: int, slots_milli: int) -> int:
    """Return how many calls of a thousand may be late before one more replica is worth what it costs.

    A load of `a` calls at once with a part `eps` late loses `worth × a × eps`, a replica costs its slots. A small
    load may have more late calls than a large one: a machine that waits all day for the few that overlap saves nobody
    much.
    """
    usual = 1000 - quantile_permille(klass)
    return max(usual, min(1000, slots_milli * 1000 // max(1, MISS_WORTH[klass] * load_milli)))
