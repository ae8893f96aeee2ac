"""Why did the replica die? The node knows a moment later: calls it had wait so long before they are told.

A broken connection says only that the replica is gone. Its agent sees the exit status, and whether the kernel killed it
for memory, within milliseconds, and the next snapshot carries that.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from glowplug_router.gateway.calls import Call
from glowplug_router.gateway.problems import Trouble
from glowplug_router.records.published import RouteLoss

REASON_MAX_S = 0.25  # kill to snapshot takes about 10 ms; a node that is gone itself never says
_CODES = frozenset(
    {"out_of_memory", "run_timeout"}
)  # any other end is a `replica_lost` that says how

End = Callable[[Call, Trouble], None]


class Mourning:
    """Calls whose replica is gone, and which have not been told yet."""

    def __init__(self, end: End) -> None:
        self._end = end
        self._waiting: dict[str, list[tuple[Call, Trouble]]] = {}

    def add(self, replica: str, call: Call, trouble: Trouble) -> None:
        """Hold a call's answer back; `trouble` is what it is told if nobody knows better."""
        if replica not in self._waiting:
            self._waiting[replica] = []
            asyncio.get_running_loop().call_later(REASON_MAX_S, self._tell, replica, None)
        self._waiting[replica].append((call, trouble))

    def learn(self, losses: Iterable[RouteLoss]) -> None:
        """Take what a snapshot says about replicas that died."""
        for loss in losses:
            self._tell(loss.replica, loss)

    def end(self) -> None:
        """Tell everybody now."""
        for replica in list(self._waiting):
            self._tell(replica, None)

    def _tell(self, replica: str, loss: RouteLoss | None) -> None:
        for call, trouble in self._waiting.pop(replica, ()):
            if loss is not None and loss.detail:
                code = loss.code if loss.code in _CODES else trouble.code
                trouble = replace(trouble, code=code, detail=f"{call.lane.key}: {loss.detail}")
            self._end(call, trouble)
