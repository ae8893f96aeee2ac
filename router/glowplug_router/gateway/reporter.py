"""When does the controller hear of demand? At once when a call must wait, else a moment after something changed."""

import asyncio
from collections.abc import Callable

from glowplug.clock import MILLISECOND, SECOND
from glowplug.wire.messages import to_json
from glowplug_router.gateway.tally import Tallies, Tally
from glowplug_router.records.published import DemandReport

REPORT_EVERY_NS = 200 * MILLISECOND

Tell = Callable[[bytes], bool]  # sends the body of a report; False when there is no controller


class Reporter:
    """Collects what changed and sends it. Counters are absolute, so a report that is lost costs nothing but time."""

    def __init__(self, gateway: str, tallies: Tallies) -> None:
        self.tell: Tell | None = None
        self.snapshot = 0
        self._gateway = gateway
        self._tallies = tallies
        self._dirty: set[Tally] = set()
        self._number = 0
        self._timer: asyncio.Handle | None = None
        self._urgent = False

    def changed(self, tally: Tally) -> None:
        """Report this version's counts within REPORT_EVERY_NS; of no use while it `is_dirty`."""
        tally.is_dirty = True
        self._dirty.add(tally)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REPORT_EVERY_NS / SECOND, self.send)

    def wake(self, tally: Tally) -> None:
        """Report at the end of this turn of the loop: calls wait that the controller can help."""
        self._dirty.add(tally)
        self._hurry()

    def everything(self) -> None:
        """Report all counts: a controller has just connected and knows none."""
        self._dirty.update(self._tallies.by_key.values())
        self._hurry()

    def _hurry(self) -> None:
        if not self._urgent:
            self._urgent = True
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_soon(self.send)

    def send(self) -> None:
        """Send what changed; it is kept when nobody takes it."""
        self.close()
        if self.tell is None or not self._dirty:
            return
        self._number += 1
        report = DemandReport(
            gateway=self._gateway,
            number=self._number,
            demands=tuple(tally.demand() for tally in self._dirty),
            snapshot=self.snapshot,
            cold=tuple(call for tally in self._dirty for call in tally.cold),
        )
        if self.tell(to_json(report)):
            for tally in self._dirty:
                tally.is_dirty = False
                tally.cold.clear()
            self._dirty.clear()

    def close(self) -> None:
        """Drop the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._urgent = False
