"""How does a request for the site take its turn on a connection? In uvicorn's cycle, after those before it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class AsgiTurn:
    """A request for the site; an `Exchange` is one for an endpoint."""

    __slots__ = ("_cycle", "_size", "_start")

    def __init__(self, cycle: "RequestResponseCycle", start: Callable[[], None]) -> None:
        self._cycle = cycle
        self._start = start
        self._size = 0

    @property
    def keep_alive(self) -> bool:
        """Say whether the connection lives on after the answer; the cycle closes it otherwise."""
        return self._cycle.keep_alive

    @keep_alive.setter
    def keep_alive(self, value: bool) -> None:
        self._cycle.keep_alive = value

    def begin(self) -> None:
        """Start the task."""
        self._start()

    def gone(self) -> None:
        """Let the task see the disconnect."""
        self._cycle.disconnected = True
        self._cycle.message_event.set()

    def withdraw(self) -> bool:
        """Let another answer take its place; False when its own has begun."""
        self.gone()
        return not self._cycle.response_started

    def drained(self) -> None:
        """Do nothing: the cycle waits for the flow control itself."""

    def count(self, size: int) -> int:
        """Count bytes of the upload."""
        self._size += size
        return self._size
