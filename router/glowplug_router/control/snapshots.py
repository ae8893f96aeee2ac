"""What must a gateway know to serve alone? The table of routes, built whole each time and numbered when it differs."""

from collections.abc import Iterable, Mapping

from glowplug_router.control.openapi import document
from glowplug_router.control.world import World
from glowplug_router.policy.backoff import is_failed
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Replica
from glowplug_router.records.published import (
    RouteEndpoint,
    RouteKey,
    RouteLoss,
    RouteReplica,
    RouteVersion,
    Snapshot,
)
from glowplug_router.records.stored import Deployment, Version

# What an agent calls a start's states -> what callers that wait for it are told.
PHASES = {
    "fetching": "fetch",
    "building": "env",
    "starting": "fork",
    "loading": "load",
    "warming": "warm",
}
PHASE_ORDER = ("launch", *PHASES.values())
NO_ROOM = frozenset({"no_room", "makes_way", "waits_for_room"})  # the planner's rules
FAILED_MAX_CHARS = 300  # of a failure's text in the table: the first line is what a caller needs


def snapshot(world: World, number: int, now_ns: int) -> Snapshot:
    """Return the table as it is now."""
    catalog = world.catalog
    replicas: dict[str, list[Replica]] = {}
    for replica in world.fleet.replicas(now_ns):
        # A replica that is being swapped answers as the version it still is.
        residency = world.fleet.residency(replica.id)
        actual = (
            residency.version
            if residency is not None and residency.state == "ready"
            else replica.version
        )
        replicas.setdefault(actual, []).append(replica)
    live = [deployment for _, deployment in sorted(catalog.live.items())]
    return Snapshot(
        number=number,
        epoch=catalog.epoch,
        endpoints=tuple(
            one for deployment in live for one in _endpoints(world, deployment, replicas)
        ),
        keys=tuple(_key(world)),
        pepper=catalog.pepper,
        token_secret=catalog.token_secret,
        openapi=tuple(
            (deployment.app, document(catalog, deployment))
            for deployment in live
            if not deployment.stopped
        ),
    )


def _key(world: World) -> Iterable[RouteKey]:
    for key in world.catalog.keys:
        if not key.revoked:
            yield RouteKey(
                id=key.id,
                mac=key.mac,
                tenant=key.tenant,
                scopes=key.scopes,
                expires_wall_ns=key.expires_wall_ns,
            )


def _endpoints(
    world: World, deployment: Deployment, replicas: Mapping[str, list[Replica]]
) -> Iterable[RouteEndpoint]:
    versions = world.catalog.versions
    for route in deployment.routes:
        name = f"{deployment.app}/{route.endpoint}"
        shares = {f"{name}@{share.version}": share.permille for share in route.shares}
        # Those that leave still finish their calls; those on trial that are ready may be dialled ahead of the switch.
        others = [
            key
            for key, found in replicas.items()
            if key.rpartition("@")[0] == name
            and key not in shares
            and key in versions
            and any(one.address and one.state in {"ready", "draining"} for one in found)
        ]
        stable = max(route.shares, key=lambda share: share.permille).version
        policy = world.catalog.policy(versions[f"{name}@{stable}"])
        yield RouteEndpoint(
            app=deployment.app,
            endpoint=route.endpoint,
            auth=policy.auth,
            versions=tuple(
                _version(world, versions[key], shares.get(key, 0), replicas.get(key, ()))
                for key in (*shares, *sorted(others))
            ),
            stable=stable,
            stopped=deployment.stopped,
            default_class=policy.priority,
        )


def _version(
    world: World, version: Version, permille: int, replicas: Iterable[Replica]
) -> RouteVersion:
    found = tuple(replicas)
    policy = world.catalog.policy(version)
    usable = tuple(
        RouteReplica(
            id=one.id,
            address=one.address,
            permits=one.permits,
            draining=one.state == "draining",
            phases=_phases(world, one),
        )
        for one in found
        if one.address and (one.state in {"ready", "draining"} or _swapping(world, one))
    )
    return RouteVersion(
        number=version.number,
        permille=permille,
        replicas=usable,
        permits=version.spec.concurrency,
        max_replicas=policy.max,
        hold=policy.hold,
        queue_ns=version.spec.timeouts.queue_ns,
        start_ns=version.spec.timeouts.start_ns,
        run_ns=version.spec.timeouts.run_ns,
        retry_safe=version.spec.retry_safe,
        failed=_failed(world, version, found),
        dev=version.key in world.fleet.dev,
        loss=_loss(world, version),
        starting="" if usable else _starting(world, version, found),
    )


def _starting(world: World, version: Version, replicas: Iterable[Replica]) -> str:
    """Return how far the first replica of a version has come, for those who wait for it."""
    starting = [one for one in replicas if one.state == "starting"]
    if not starting:
        reason = world.explained.get(version.key)
        return "capacity" if reason is not None and reason.rule in NO_ROOM else ""
    known = [world.fleet.residency(one.id) for one in starting]
    phases = [PHASES.get(one.state, "launch") if one is not None else "launch" for one in known]
    return max(phases, key=PHASE_ORDER.index)


def _loss(world: World, version: Version) -> RouteLoss | None:
    error = world.fleet.errors.get(version.key)
    if error is None:
        return None
    # How it ended comes first; what it printed last may follow.
    first_line = error.detail.strip().partition("\n")[0][:FAILED_MAX_CHARS]
    return RouteLoss(replica=error.id, code=error.code, detail=first_line)


def _phases(world: World, replica: Replica) -> tuple[tuple[str, int], ...]:
    residency = world.fleet.residency(replica.id)
    return () if residency is None else tuple((one.name, one.ns) for one in residency.phases)


def _swapping(world: World, replica: Replica) -> bool:
    residency = world.fleet.residency(replica.id)
    return replica.state == "starting" and residency is not None and residency.state == "ready"


def _failed(world: World, version: Version, replicas: Iterable[Replica]) -> str:
    """Say why nothing can start, once the planner has given the version up; else "": calls wait for the next try."""
    error = world.fleet.errors.get(version.key)
    if error is None or any(one.state in {"ready", "starting"} for one in replicas):
        return ""
    remembered = memory_of(world, version.key)
    if remembered is None or not is_failed(remembered):
        return ""
    return _last_line(error.detail) or error.code or "start_failed"


def _last_line(text: str) -> str:
    """Return what a traceback, or a message, comes down to."""
    return text.strip().rpartition("\n")[2][:FAILED_MAX_CHARS]


def memory_of(world: World, key: str) -> EndpointMemory | None:
    """Return what the planner remembers of a version."""
    return next((one for one in world.memory.versions if one.key == key), None)
