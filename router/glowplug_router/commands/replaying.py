"""How far is a replay? A percentage in place on a terminal; elsewhere a line when it takes long."""

from collections.abc import Iterable, Iterator

import click

from glowplug.clock import SECOND, Clock
from glowplug.commands.output import Output
from glowplug_router.simulation.replay import Request

LIVE_NS = SECOND // 5
LINE_NS = 10 * SECOND
LOOK_EVERY = 256  # calls between two looks at the clock


class ReplayBar:
    """Counts the calls of all replays as they arrive."""

    def __init__(self, out: Output, clock: Clock, calls: int) -> None:
        self._out, self._clock, self._calls = out, clock, calls
        self._arrived = 0
        self._every_ns = LIVE_NS if out.is_live else LINE_NS
        self._due_ns = clock.now_ns() + self._every_ns
        self._is_drawn = False

    def over(self, traffic: Iterable[Request]) -> Iterator[Request]:
        """Yield the calls of a replay, and show how many of all have been."""
        for request in traffic:
            self._arrived += 1
            if self._arrived % LOOK_EVERY == 0 and self._clock.now_ns() >= self._due_ns:
                self._show()
            yield request

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._is_drawn:
            click.echo("\r\033[K", nl=False, err=True)

    def _show(self) -> None:
        self._due_ns = self._clock.now_ns() + self._every_ns
        text = f"… {100 * self._arrived // self._calls} % of the calls replayed"
        if self._out.is_live:
            self._is_drawn = True
            click.echo(f"\r{text}\033[K", nl=False, err=True)
        else:
            self._out.note(text)
