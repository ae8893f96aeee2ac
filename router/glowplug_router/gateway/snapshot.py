"""What changes when a new snapshot comes, and where is the last one kept?"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from glowplug.spec import qualified
from glowplug_router.dispatch import Event, VersionGone, VersionSet
from glowplug_router.records.published import RouteLoss, RouteReplica, RouteVersion, Snapshot

Listed = tuple[str, RouteReplica]  # version key, replica

_DECODER = msgspec.json.Decoder(Snapshot)


def is_newer(old: Snapshot | None, new: Snapshot) -> bool:
    """Say whether `new` replaces `old`: a later controller always wins, however it counts."""
    return (
        old is None or new.epoch > old.epoch or (new.epoch == old.epoch and new.number > old.number)
    )


def changes(old: Snapshot | None, new: Snapshot) -> tuple[Event, ...]:
    """Return what dispatch must hear about versions; replicas are told of when their links stand."""
    before = dict(_versions(old))
    after = dict(_versions(new))
    events: list[Event] = [
        _set(key, version) for key, version in after.items() if _differs(before.get(key), version)
    ]
    events.extend(VersionGone(key) for key in before if key not in after)
    return tuple(events)


def replicas(snapshot: Snapshot) -> dict[str, Listed]:
    """Return every replica that may be dialled."""
    return {
        replica.id: (key, replica)
        for key, version in _versions(snapshot)
        for replica in version.replicas
        if replica.address
    }


def losses(snapshot: Snapshot) -> tuple[RouteLoss, ...]:
    """Return what is known of replicas that died."""
    return tuple(version.loss for _, version in _versions(snapshot) if version.loss is not None)


def _versions(snapshot: Snapshot | None) -> Iterator[tuple[str, RouteVersion]]:
    for route in snapshot.endpoints if snapshot is not None else ():
        for version in route.versions:
            yield f"{qualified(route.app, route.endpoint)}@{version.number}", version


def _differs(old: RouteVersion | None, new: RouteVersion) -> bool:
    return old is None or _set("", old) != _set("", new)


def _set(key: str, version: RouteVersion) -> VersionSet:
    return VersionSet(
        version=key,
        hold=version.hold,
        queue_ns=version.queue_ns,
        start_ns=version.start_ns,
        max_permits=version.permits * version.max_replicas,
        failed=version.failed,
        retry_safe=version.retry_safe,
    )


def decode(data: bytes) -> Snapshot:
    """Read a snapshot, or raise `msgspec.MsgspecError`."""
    return _DECODER.decode(data)


def load(path: Path) -> Snapshot | None:
    """Return the last snapshot kept on disk; None when there is none, or none that can be read."""
    try:
        return decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None
