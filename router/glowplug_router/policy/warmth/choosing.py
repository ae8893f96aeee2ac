"""After how long to step down, knowing the gaps there were?

Between two levels one pays rent until one steps down, and a wake if the call comes later: ski rental, with the break-
even age B the time for which rent is as dear as a wake. Stepping down at B costs at most twice the best, whatever
comes. With gaps known, the age that would have been cheapest for them costs less, but whoever sends the gaps can turn
that against us: an age T can cost `|T - B|` more than twice the best, once, and no gap makes it more.

So each step keeps its *slack*: twice the best possible, less what was paid, over all gaps so far. An age is allowed
only if slack remains whatever the next gap is. Therefore the cost is never above twice the best, and there is slack
to learn with: the first start is paid by whoever knows the future as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from glowplug_router.policy.warmth.gaps import WEIGHT, Bin
from glowplug_router.records.warmth import Preheat

GAPS_MIN = 10  # before anything is learned of them (router.md §5.4)
# What the ski rental's answer weighs, in gaps: a prior worth one observation (Kass and Wasserman 1995).
PRIOR_GAPS = 1
# Slack beyond so many wakes is forgotten: what a change of habits may cost, as many as it took to learn them.
SLACK_WAKES = GAPS_MIN


@dataclass(frozen=True, slots=True)
class Rental:
    """A step down: its break-even age, the device time of a start, and what slack there is."""

    break_even_ns: int
    start_ns: int
    slack_ns: int


@dataclass(frozen=True, slots=True)
class Choice:
    """When to step down, and when to come back before anybody calls."""

    keep_ns: int
    preheat: Preheat | None = None
    busy_ns: int = (
        0  # how long the calls before the gap took, when the preheat counts from their beginning
    )

    def cost_ns(self, gap_ns: int, rental: Rental) -> int:
        """Return what a gap of this length costs."""
        if gap_ns <= self.keep_ns:
            return gap_ns
        if self.preheat is None:
            return self.keep_ns + rental.break_even_ns
        begin = max(self.keep_ns, self.preheat.after_ns - self.busy_ns)
        end = max(begin, self.preheat.until_ns - self.busy_ns)
        if gap_ns <= begin:
            return self.keep_ns + rental.break_even_ns
        if gap_ns <= end:
            # Until the replica is ready, a call waits for the rest of its start.
            left = max(0, rental.start_ns - (gap_ns - begin))
            late = rental.break_even_ns * left // max(1, rental.start_ns)
            return self.keep_ns + max(rental.start_ns, gap_ns - begin) + late
        return self.keep_ns + max(rental.start_ns, end - begin) + rental.break_even_ns

    def regret_ns(self, rental: Rental) -> int:
        """Return how much more than twice the best the next gap can cost at most."""
        gaps = [self.keep_ns + 1, rental.break_even_ns]
        if self.preheat:
            begin = max(self.keep_ns, self.preheat.after_ns - self.busy_ns)
            end = max(begin, self.preheat.until_ns - self.busy_ns)
            gaps += [begin + 1, end, end + 1]
        # Between these, the cost grows no faster than the best of it.
        return max(self.cost_ns(gap, rental) - 2 * best_ns(gap, rental) for gap in gaps)


def best_ns(gap_ns: int, rental: Rental) -> int:
    """Return what a gap costs who knows its length and does not come back ahead of calls."""
    return min(gap_ns, rental.break_even_ns)


def is_allowed(choice: Choice, rental: Rental) -> bool:
    """Say whether the cost stays at most twice the best whatever the next gap is."""
    return choice.regret_ns(rental) <= rental.slack_ns


def paid(choice: Choice, rental: Rental, gap_ns: int) -> int:
    """Return the slack after a gap that this choice met."""
    slack = rental.slack_ns + 2 * best_ns(gap_ns, rental) - choice.cost_ns(gap_ns, rental)
    return min(slack, SLACK_WAKES * rental.break_even_ns)


def learned(filled: Sequence[Bin], rental: Rental) -> Choice:
    """Return the allowed age that is cheapest for the gaps there were, the ski rental's own if nothing is cheaper."""
    even = rental.break_even_ns
    least, most = max(0, even - rental.slack_ns), even + max(0, rental.slack_ns)
    ages = {even, least, most, *(bin.end_ns for bin in filled if least <= bin.end_ns <= most)}
    by_age = sorted(ages)
    kept_ns = kept_weight = at = 0
    weight = sum(bin.weight for bin in filled)
    best = (0, 0, 0)
    for number, age in enumerate(by_age):
        while at < len(filled) and filled[at].typical_ns <= age:
            kept_ns += filled[at].typical_ns * filled[at].weight
            kept_weight += filled[at].weight
            at += 1
        off = abs(age - even)
        cost = kept_ns + (age + even) * (weight - kept_weight) + PRIOR_GAPS * WEIGHT * off
        if number == 0 or (cost, off, age) < best:
            best = (cost, off, age)
    return Choice(best[2])


def ordered(keeps_ns: Sequence[int], even_ns: Sequence[int]) -> tuple[int, ...]:
    """Return ages of several steps so that none is taken before the one above it.

    Each is moved towards its own break-even age only, so what was allowed remains so. These ascend.
    """
    found: list[int] = []
    for keep, even in zip(keeps_ns, even_ns, strict=True):
        if found and keep < found[-1]:
            keep = max(keep, min(found[-1], even))
            found = [min(above, keep) for above in found]
        found.append(keep)
    return tuple(found)
