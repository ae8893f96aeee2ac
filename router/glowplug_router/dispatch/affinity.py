"""Which replica do calls of one affinity like best?

Rendezvous hashing: every replica gets a score for the text, the highest wins. When a replica comes or goes, only the
texts that liked it, or like it now, move. In a large pool only a window of the ring takes part, so that choosing costs
the same there; a window that lost one gains one, so a few more texts move.
"""

from bisect import bisect_left
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

WINDOW = 32  # replicas that are scored
_MASK = (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads neighbours apart (Knuth)

R = TypeVar("R")


def seed_of(text: str) -> int:
    """Return 64 bits that stand for a text, the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def preferred(ring: Sequence[tuple[int, str, R]], affinity: str) -> R:
    """Return the replica that calls with this text like best; `ring` is sorted and not empty."""
    wanted = seed_of(affinity)
    if len(ring) > WINDOW:
        start = bisect_left(ring, (wanted, ""))
        ring = [*ring[start : start + WINDOW], *ring[: max(0, start + WINDOW - len(ring))]]
    return max(ring, key=lambda entry: (_score(entry[0] ^ wanted), entry[1]))[2]


def _score(mixed: int) -> int:
    mixed = (mixed * _ODD) & _MASK
    return ((mixed ^ (mixed >> 32)) * _ODD) & _MASK
