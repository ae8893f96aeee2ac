"""Does the money last, and what is given up when it does not?

The budget of a month is spent evenly: who is ahead of that by more than `LEAD_PERMILLE` of it is strained, until the
time has caught up. Only what has been spent decides, not what runs: that would change with the decision, and back.
"""

from dataclasses import dataclass

from glowplug_router.records.capacity import Limits, Need, Offer

LEAD_PERMILLE = 100  # three days of a month: a burst is no habit [I]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What may be done."""

    text: str = ""  # why it is not everything, or soon will not be
    is_strained: bool = False
    launches: bool = True
    on_demand: bool = True  # beyond the critical reservation
    batch: bool = True


def allowance(limits: Limits, was_strained: bool) -> Allowance:
    """Return what may be done with what has been spent so far."""
    budget = limits.budget_micro_usd
    if not budget:
        return Allowance()
    due = budget * limits.month_passed_permille // 1000
    lead = 0 if was_strained else budget * LEAD_PERMILLE // 1000
    if limits.spent_micro_usd <= due + lead and limits.spent_micro_usd < budget:
        return Allowance()
    text = (
        f"${limits.spent_micro_usd / 1e6:.2f} of ${budget / 1e6:.2f} spent, "
        f"{limits.month_passed_permille / 10:.0f} % of the month is over: {limits.degrade}"
    )
    return Allowance(
        text=text,
        is_strained=True,
        launches=limits.degrade != "cap",
        on_demand=limits.degrade != "spot_only",
        batch=limits.degrade != "stop_batch",
    )


def units_allowed(need: Need, allowed: Allowance) -> int:
    """Return how much of the need is had."""
    return max(0, need.units_permille - (0 if allowed.batch else need.batch_permille))


def on_demand_allowed(units: int, critical: int, allowed: Allowance) -> int:
    """Return for how much of so many units on-demand may stand in."""
    return units if allowed.on_demand else min(units, critical)


def is_allowed(offer: Offer, limits: Limits, allowed: Allowance) -> bool:
    """Say whether nodes of an offer may be launched at all."""
    if not allowed.launches or offer.market not in limits.markets:
        return False
    return not limits.price_cap_micro_usd or offer.price_micro_usd <= limits.price_cap_micro_usd
