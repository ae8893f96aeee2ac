"""Which offers make up the capacity, so that it is cheap and no lost zone takes too much of it?

The cheapest set by greedy choice: each node is of the offer with the lowest risk-adjusted price whose zone has room
under the cap. The cap of a zone is what may be lost: all but the critical reservation. A pool is (type, zone); what
holds for the loss of a whole zone holds for any pool in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from glowplug_router.records.capacity import Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """An offer with what it gives and costs for one need."""

    offer: Offer
    units: int
    risk_micro_usd: int  # an hour of one unit, with what its loss costs
    room: int  # nodes that may still be launched
    hazard: int


def total_needed(units: int, critical: int, zones: int) -> int:
    """Return the least capacity that can lose any one of so many zones, evenly filled, and keep `critical`."""
    if not critical or zones < 2:
        return units
    return max(units, -(-critical * zones // (zones - 1)))


def zone_cap(total: int, critical: int, largest: int) -> int:
    """Return how much of the total one zone may hold; one node always fits, or nothing would."""
    return max(largest, total - critical)


def chosen(
    offers: Sequence[Priced], wanted: int, held: Mapping[str, int], cap: int
) -> tuple[list[Offer], int]:
    """Return the offers to launch, one entry a node, until `wanted` units are had; and what could not be had.

    `held` is what each zone has already. Ties go to the emptier zone, then by name.
    """
    zones = dict(held)
    room = {priced.offer.id: priced.room for priced in offers}
    found: list[Offer] = []
    while wanted > 0:
        best = min(
            (
                priced
                for priced in offers
                if room[priced.offer.id] > 0
                and zones.get(priced.offer.zone, 0) + priced.units <= cap
            ),
            key=lambda priced: (
                priced.risk_micro_usd,
                zones.get(priced.offer.zone, 0),
                priced.offer.id,
            ),
            default=None,
        )
        if best is None:
            break
        room[best.offer.id] -= 1
        zones[best.offer.zone] = zones.get(best.offer.zone, 0) + best.units
        wanted -= best.units
        found.append(best.offer)
    return found, max(0, wanted)


def usable_zones(offers: Iterable[Priced], held: Mapping[str, int]) -> int:
    """Return over how many zones capacity can be spread."""
    return len({p.offer.zone for p in offers if p.room > 0} | {z for z, n in held.items() if n})
