"""What if nothing ever scaled? So many replicas, always."""

from glowplug_router.policy.scaling.following import Target
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Served


class Fixed:
    """A fixed number: prewarmed where that is few, always-on where it is the peak."""

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas

    def __call__(
        self,
        served: Served,
        demand: Demand,
        memory: EndpointMemory,
        ready: int,
        starting: int,
        now_ns: int,
    ) -> Target:
        """Return the number."""
        return Target(self._replicas, "baseline", "fixed", memory)
