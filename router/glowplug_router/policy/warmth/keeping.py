"""How long does an idle version keep its last replica, when its owner leaves that to us?"""

from glowplug.clock import MINUTE
from glowplug_router.records import EndpointMemory, Served

AUTO_NS = -1  # `Policy.zero_after_ns`: decide from what is learned
_UNKNOWN_NS = 5 * MINUTE  # the default of `Scale.zero_after`


def keep_ns(served: Served, memory: EndpointMemory, now_ns: int) -> int:
    """Return after how long without a call the last replica may go, in nanoseconds."""
    after_ns = served.policy.zero_after_ns
    return _UNKNOWN_NS if after_ns == AUTO_NS else after_ns
