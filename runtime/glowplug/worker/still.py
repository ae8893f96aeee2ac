"""How does the loop wait for a batch that takes no longer than a wake-up?

Two threads of one interpreter that both have work take turns at its lock, and whoever gives it up around a few
microseconds of arithmetic may get it back milliseconds later. For a short batch the loop stands still instead: the
thread runs undisturbed, and its result is here without a wake-up. The wait is bounded; whoever is late posts.
"""

import threading
from collections.abc import Callable

from glowplug.clock import MICROSECOND, MILLISECOND, SECOND

SHORT_NS = (
    500 * MICROSECOND
)  # of a batch that is waited for: about what a turn of the loop with its calls takes
WAIT_S = 2 * MILLISECOND / SECOND  # then the loop goes on: less than a person or a deadline notices


class Still:
    """The loop's wait for one batch: the result is either handed over here, once, or has to be posted."""

    __slots__ = ("_done", "_left", "_lock", "_result")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = threading.Lock()
        self._done.acquire()
        self._left = False
        self._result: Callable[[], None] | None = None

    def give(self, result: Callable[[], None]) -> bool:
        """Hand over what the loop does next; False when it waits no more. On the thread."""
        with self._lock:
            if self._left:
                return False
            self._result = result
            self._done.release()
            return True

    def wait(self) -> Callable[[], None] | None:
        """Return what was handed over in time. On the loop."""
        self._done.acquire(timeout=WAIT_S)
        with self._lock:
            self._left = True
            return self._result
