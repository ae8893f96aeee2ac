"""How many servers does an offered load need, so that few calls wait long?

The smallest m with P(wait > slack) <= eps in the M/M/m queue: P = C(m, a) exp(-(m - a) slack / S), with C from
Erlang's recursion. Above `EXACT_MAX` the square-root rule m = a + beta sqrt(a), with Halfin and Whitt's (1981) limit
of C for beta. All in fixed point with 32 binary places, so that every platform comes to the same number; results are
kept by rounded arguments (load up to 1/64 of an octave, slack down to 1/4), so that asking again costs a look-up.
"""

from functools import lru_cache
from math import isqrt

ONE = 1 << 32
EXACT_MAX = 100_000  # a hundred calls at once, in thousandths: the square-root rule is exact to one server from there
SLACK_MAX = 32_000  # in thousandths of a call: exp(-32) is nothing in 32 places
# 1000 C at beta = 0, 1/8, 2/8 …: 1 / (1 + beta Phi(beta) / phi(beta)), rounded up
HALFIN_WHITT = (
    1000, 853, 721, 606, 505, 418, 342, 278, 224, 179, 141, 110, 85, 65, 49, 37,
    27, 20, 15, 10, 8, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1,
)  # fmt: skip  # a line each would hide the curve
_E_MILLI = 4_607_076_637_483_547_509  # exp(-1/1000) × 2^62, rounded


def servers(load_milli: int, slack_milli: int, eps_permille: int) -> int:
    """Return how many servers carry a load, both in thousandths: of calls at once, and of a mean call's time.

    0 for no load. Less than a thousandth for `eps` is asked for as a thousandth.
    """
    if load_milli <= 0:
        return 0
    slack = _rounded(min(max(slack_milli, 0), SLACK_MAX), 2, up=False)
    return _servers(_rounded(load_milli, 6, up=True), slack, max(eps_permille, 1))


def _rounded(number: int, places: int, *, up: bool) -> int:
    """Keep so many binary places after the first."""
    cut = max(0, number.bit_length() - 1 - places)
    return (-(-number >> cut) if up else number >> cut) << cut


@lru_cache(maxsize=8192)  # 20 octaves of load × 64 × a handful of slacks that are in use at a time
def _servers(load_milli: int, slack_milli: int, eps_permille: int) -> int:
    if load_milli > EXACT_MAX:
        return _by_square_root(load_milli, slack_milli, eps_permille)
    return _by_recursion(load_milli, slack_milli, eps_permille)


def _by_recursion(load_milli: int, slack_milli: int, eps_permille: int) -> int:
    eps = eps_permille * ONE // 1000
    blocked = ONE  # Erlang's B of m servers
    m = 0
    decay = _exp(slack_milli)  # of one more server
    late = 0
    while True:
        m += 1
        offered = load_milli * blocked
        blocked = offered * ONE // (m * 1000 * ONE + offered)
        if m * 1000 <= load_milli:
            continue
        if not late:
            late = _exp((m * 1000 - load_milli) * slack_milli // 1000)
        busy = ONE - load_milli * (ONE - blocked) // (m * 1000)
        if blocked * late // busy <= eps:
            return m
        late = late * decay // ONE


def _by_square_root(load_milli: int, slack_milli: int, eps_permille: int) -> int:
    eps = eps_permille * ONE // 1000
    root_milli = isqrt(load_milli * 1000)

    def is_late(eighths: int) -> bool:
        late = HALFIN_WHITT[eighths] * _exp(eighths * root_milli * slack_milli // 8000)
        return late // 1000 > eps

    rows = range(1, len(HALFIN_WHITT))
    eighths = next((row for row in rows if not is_late(row)), rows[-1])
    return -(-(load_milli + eighths * root_milli // 8) // 1000)


@lru_cache(maxsize=8192)
def _exp(milli: int) -> int:
    """Return exp(-milli / 1000) in fixed point, by squaring."""
    result, factor = ONE, _E_MILLI
    while milli > 0:
        if milli & 1:
            result = result * factor >> 62
        factor = factor * factor >> 62
        milli >>= 1
    return result
