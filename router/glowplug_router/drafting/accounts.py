"""What is written down of a decision for whoever asks why later? The numbers it saw, and where it put things."""

from collections.abc import Iterable

from glowplug_router.policy.placement import Place, Rooms
from glowplug_router.policy.reasons import needs_text
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Demand, Replica, Served


def numbers_of(
    served: Served,
    demand: Demand | None,
    memory: EndpointMemory,
    replicas: Iterable[Replica],
    now_ns: int,
) -> tuple[tuple[str, int], ...]:
    """Return what the rules saw of a version; a name ends with its unit, counts have none."""
    asked = demand or Demand(key=served.key)
    states = [replica.state for replica in replicas]
    return (
        ("starting", states.count("starting")),
        ("draining", states.count("draining")),
        ("min", served.policy.min),
        ("max", served.policy.max),
        ("queued", asked.queued),
        ("inflight", asked.inflight),
        ("rate_micro", memory.rate_micro),
        ("service_ns", memory.mean_service_ns),
        ("start_ns", memory.start.p90_ns or served.start_prior_ns),
        ("idle_ns", now_ns - asked.last_arrival_ns if asked.last_arrival_ns else -1),
        ("zero_after_ns", served.policy.zero_after_ns),
        ("permits", served.permits),
    )


def placed_text(replica: str, served: Served, spot: Place, rooms: Rooms) -> str:
    """Return where a replica starts, and what the choice was among."""
    room = rooms.left[spot.node]
    nodes = len(rooms.left)
    among = (
        f"of {nodes} nodes first by cost for its speed, what it holds and free room"
        if nodes > 1
        else "the only node"
    )
    gpus = f" with {', '.join(spot.gpus)}" if spot.gpus else ""
    memory = "" if room.memory_bytes is None else f", {max(0, room.memory_bytes) >> 20} MiB"
    left = f"{room.free} {'devices' if served.needs else 'GPU'}{memory} left there"
    return f"{replica} starts on {spot.node}{gpus}, {among}; needs {needs_text(served)}; {left}"
