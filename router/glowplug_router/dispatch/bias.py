"""How wrong were the waits that were foretold? A factor for each class, learned from those that came to pass.

What is foretold knows the calls that wait now. It does not know the better ones still to come, the permits held back,
or what other gateways send to the same replicas; all of that shows in how long the last ones really waited.
"""

from glowplug.clock import SECOND

FORGET_NS = (
    10 * SECOND
)  # without news the factor goes back to one, or nobody would be let in to bring news
FACTOR_MIN, FACTOR_MAX = 0.25, 16.0
# Weights of the newest wait: four times as much when it was longer than foretold, so that most waits are shorter.
_WEIGHT_LONGER, _WEIGHT_SHORTER = 1 / 4, 1 / 16


class Bias:
    """Factors between foretold and real waits."""

    __slots__ = ("_factors", "_learned_ns")

    def __init__(self) -> None:
        self._factors = [1.0, 1.0, 1.0, 1.0]
        self._learned_ns = [0, 0, 0, 0]

    def note(self, rank: int, expected_ns: float, waited_ns: int, now_ns: int) -> None:
        """Learn from a call that waited, before the factor `expected_ns`."""
        ratio = min(max(waited_ns / expected_ns, FACTOR_MIN), FACTOR_MAX)
        factor = self.factor(rank, now_ns)
        weight = _WEIGHT_LONGER if ratio > factor else _WEIGHT_SHORTER
        self._factors[rank] = factor + (ratio - factor) * weight
        self._learned_ns[rank] = now_ns

    def factor(self, rank: int, now_ns: int) -> float:
        """Return what a foretold wait of the class is to be multiplied with."""
        kept = max(0.0, 1 - (now_ns - self._learned_ns[rank]) / FORGET_NS)
        return 1 + (self._factors[rank] - 1) * kept
