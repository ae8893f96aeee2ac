"""When is an offer that had no capacity asked again?"""

from dataclasses import replace
from hashlib import blake2b

from glowplug.clock import MINUTE
from glowplug_router.records.capacity import OfferMemory, OfferTally

# router.md §5.6: per offer and never per service, 3 min, twice as long each time, 30 min at most.
DELAY_NS = 3 * MINUTE
DELAY_MAX_NS = 30 * MINUTE
JITTER_PERMILLE = 100  # each way: planners that were refused together do not come back together [I]


def refusals_noted(memory: OfferMemory, tally: OfferTally, seed: int, now_ns: int) -> OfferMemory:
    """Return the memory with the wait that new refusals cost; must see the tally before `hazard.noted` does."""
    if tally.refused > memory.refused:
        refusals = memory.refusals + 1
        delay_ns = jittered_ns(seed, memory.offer, tally.refused, delay_of(refusals))
        since_ns = min(tally.last_refused_ns or now_ns, now_ns)
        return replace(memory, refusals=refusals, retry_at_ns=since_ns + delay_ns)
    if tally.launched > memory.launched:
        return replace(memory, refusals=0, retry_at_ns=0)
    return memory


def delay_of(refusals: int) -> int:
    """Return how long to wait after so many refusals in a row, in nanoseconds, without jitter."""
    return min(DELAY_NS << min(max(0, refusals - 1), 8), DELAY_MAX_NS)


def jittered_ns(seed: int, offer: str, count: int, delay_ns: int) -> int:
    """Return the delay moved by up to a tenth, by the `count`th number of the offer's own stream."""
    drawn = blake2b(f"{seed}|{offer}|{count}".encode(), digest_size=8).digest()
    permille = int.from_bytes(drawn, "big") % (2 * JITTER_PERMILLE + 1) - JITTER_PERMILLE
    return delay_ns + delay_ns * permille // 1000
