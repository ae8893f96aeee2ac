"""Which items have failed a batch lately? One that comes again runs alone, so that it costs its neighbours nothing."""

from glowplug.clock import MINUTE

KEPT_NS = 5 * MINUTE  # clients retry for about that long
KEPT_MAX = 256  # items; the oldest goes first
WHOLE_MAX = 64 * 1024  # bytes of a body that are looked at whole; of a larger one both ends
_END = WHOLE_MAX // 2


class Poison:
    """A short memory of bodies, by their hash. Two bodies of one hash only mean that one of them runs alone."""

    def __init__(self) -> None:
        self._until_ns: dict[int, int] = {}

    def add(self, mark: int, now_ns: int) -> None:
        """Remember an item that failed."""
        self._until_ns.pop(mark, None)
        while len(self._until_ns) >= KEPT_MAX:
            del self._until_ns[next(iter(self._until_ns))]
        self._until_ns[mark] = now_ns + KEPT_NS

    def has(self, mark: int, now_ns: int) -> bool:
        """Say whether the item failed lately."""
        if not self._until_ns:
            return False
        until_ns = self._until_ns.get(mark, 0)
        if until_ns and until_ns <= now_ns:
            del self._until_ns[mark]
        return now_ns < until_ns


def mark_of(body: bytes, query: str) -> int:
    """Return what tells this item from others; seeded anew in each process, so nobody can prepare collisions."""
    if len(body) > WHOLE_MAX:
        return hash((body[:_END], body[-_END:], len(body), query))
    return hash((body, query)) if query else hash(body)
