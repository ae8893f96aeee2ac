"""How much do versions need of machines that are launched?

Versions whose replicas ask for the same devices and memory share a need, and so the machines. It is counted in
replicas on the reference device: who runs on devices twice as fast was measured there, and needs twice as much.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from glowplug_router.policy.capacity.offers import units_of
from glowplug_router.policy.packing.devices import asked
from glowplug_router.records.capacity import Need, Offer
from glowplug_router.records.devices import WHOLE, DeviceNeeds
from glowplug_router.records.observed import Served

REFERENCE = 1000  # permille: the speed of the reference device


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one version wants beyond the machines that are simply there."""

    served: Served
    replicas: int
    reserve: int = 0  # of them, that are only there for the loss of a zone
    speed_permille: int = REFERENCE  # of the devices its replicas have now, on average
    lost_work_ns: int = 0  # of each replica, when its machine is lost


def shape_of(served: Served, offers: Iterable[Offer], kinds: frozenset[str]) -> Need:
    """Return what one replica wants: of the devices that would do, the first that any offer has.

    Args:
        served: the version.
        offers: what could be launched.
        kinds: of the devices that there are or could be launched.
    """
    own = {needs.kind for needs in served.needs} or {"nvidia"}
    alternatives = asked(served, not kinds.isdisjoint(own))
    shapes = [_shape(served, needs) for needs in alternatives] or [_shape(served, None)]
    offers = tuple(offers)
    return next((s for s in shapes if any(units_of(o, s) for o in offers)), shapes[0])


def _shape(served: Served, needs: DeviceNeeds | None) -> Need:
    if needs is None:
        needs = DeviceNeeds(kind="", count=0)
    named = f"{needs.count} {needs.kind}" if needs.count else "no device"
    of = f" ({' or '.join(needs.models)})" if needs.models else ""
    part = f", {needs.share_permille / 10:g} % each" if needs.share_permille < WHOLE else ""
    sizes = (needs.memory_bytes, served.memory_bytes, served.cpu_milli)
    return Need(
        key=f"{named}{of}{part}, {sizes[0] >> 20}+{sizes[1] >> 20} MiB, {sizes[2] / 1000:g} CPUs",
        units_permille=needs.share_permille,
        kind=needs.kind,
        count=needs.count,
        models=needs.models,
        device_memory_bytes=needs.memory_bytes,
        memory_bytes=served.memory_bytes,
        cpu_milli=served.cpu_milli,
    )


def needs_of(
    wanted: Iterable[Wanted], offers: Iterable[Offer], kinds: frozenset[str]
) -> tuple[dict[str, str], tuple[Need, ...]]:
    """Return the need of each version by its key, and the needs with what is wanted of each."""
    found: dict[str, Need] = {}
    keys: dict[str, str] = {}
    offers = tuple(offers)
    for want in wanted:
        shape = shape_of(want.served, offers, kinds)
        keys[want.served.key] = shape.key
        found[shape.key] = _plus(found.get(shape.key), shape, want)
    return keys, tuple(found.values())


def _plus(known: Need | None, shape: Need, want: Wanted) -> Need:
    one = want.speed_permille * shape.units_permille
    units = -(-want.replicas * one // WHOLE)
    firm = -(-max(0, want.replicas - want.reserve) * one // WHOLE)
    before = known or replace(shape, units_permille=0)
    priority = want.served.policy.priority
    return replace(
        before,
        units_permille=before.units_permille + units,
        critical_permille=before.critical_permille + (firm if priority == "critical" else 0),
        batch_permille=before.batch_permille + (units if priority == "batch" else 0),
        lost_work_ns=max(before.lost_work_ns, want.lost_work_ns),
    )


def mean_speed(speeds: Mapping[str, int], nodes: Iterable[str]) -> int:
    """Return the average speed of the devices of nodes (one entry a replica), 1000 where none is known."""
    known = [speeds[node] for node in nodes if node in speeds]
    return sum(known) // len(known) if known else REFERENCE
