"""What does a replay need of a simulated market? Machines that can be had, leave again, and cost money."""

from typing import Protocol

from glowplug_router.records.capacity import Offer, OfferTally
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Node


class Market(Protocol):
    """A market in virtual time. Whatever it draws, it draws from the `Random` that made it.

    All times are the replay's own monotonic nanoseconds and never go back. Calls with the same time are free of side
    effects after the first.
    """

    def offers(self, now_ns: int) -> tuple[Offer, ...]:
        """Return what could be asked for now, at which prices."""
        ...

    def tallies(self, now_ns: int) -> tuple[OfferTally, ...]:
        """Return what became of what was asked for."""
        ...

    def nodes(self, now_ns: int) -> tuple[Node, ...]:
        """Return the machines that are launching, there, leaving or stopped. One that is missing is gone."""
        ...

    def launch(self, action: Launch, now_ns: int) -> None:
        """Take an order; whether it is met shows in `nodes` or `tallies`. The same id again has no effect."""
        ...

    def terminate(self, action: Terminate, now_ns: int) -> None:
        """Give a machine back, or stop it."""
        ...

    def next_ns(self, now_ns: int) -> int | None:
        """Return when any of the answers changes next by itself; None = never."""
        ...

    def cost_micro_usd(self, now_ns: int) -> int:
        """Return what all machines have cost up to now."""
        ...
