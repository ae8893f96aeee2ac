"""How is what runs shown to people and tools? Plain JSON for `status`, made from the same records the planner sees."""

from collections.abc import Collection, Iterable

import msgspec

from glowplug.spec import Json
from glowplug_router.control.world import World
from glowplug_router.records.calls import ColdCall
from glowplug_router.records.observed import Demand, Replica
from glowplug_router.records.stored import Deployment, Route

ID_SHOWN = 8  # characters of a request id that name it, as `glowplug logs` shows them


def app(world: World, name: str, now_ns: int) -> Json:
    """Return an app: its deployment, endpoints, versions, replicas, policy and demand."""
    live = world.catalog.live[name]
    replicas = world.fleet.replicas(now_ns)
    demand = {one.key: one for one in world.demand.total()}
    return {
        "app": name,
        "generation": live.generation,
        "stopped": live.stopped,
        "message": live.message,
        "git_sha": live.git_sha,
        "created_wall_ns": live.created_wall_ns,
        "endpoints": [
            _endpoint(world, live, route, replicas, demand, now_ns) for route in live.routes
        ],
    }


def _endpoint(
    world: World,
    live: Deployment,
    route: Route,
    replicas: Iterable[Replica],
    demand: dict[str, Demand],
    now_ns: int,
) -> Json:
    name = f"{live.app}/{route.endpoint}"
    shares = {f"{name}@{share.version}": share.permille for share in route.shares}
    present = {one.version for one in replicas if one.version.rpartition("@")[0] == name}
    stable = world.catalog.versions[
        f"{name}@{max(route.shares, key=lambda share: share.permille).version}"
    ]
    spec = stable.spec
    return {
        "endpoint": route.endpoint,
        "path": f"/{name}",
        "description": spec.description,
        "stable": stable.number,
        "policy": msgspec.to_builtins(world.catalog.policy(stable)),
        "wishes": _wishes(world, live.app, route.endpoint),
        "schema": msgspec.to_builtins(spec.schema),
        "examples": list(spec.examples),
        "device": spec.needs.device,
        "gpu_count": spec.needs.gpu_count,
        "concurrency": spec.concurrency,
        "batch": msgspec.to_builtins(spec.batch),
        "tags": dict(spec.tags),
        "versions": [
            {
                "version": key,
                "number": int(key.rpartition("@")[2]),
                "permille": shares.get(key, 0),
                "candidate": key in world.trials,
                "digest": world.catalog.versions[key].digest
                if key in world.catalog.versions
                else "",
                "demand": msgspec.to_builtins(demand.get(key, Demand(key=key))),
                "replicas": [
                    _replica(world, one, now_ns) for one in replicas if one.version == key
                ],
                "failed": _failure(world, key),
            }
            for key in sorted({*shares, *present})
        ],
    }


def _wishes(world: World, app: str, endpoint: str) -> list[Json]:
    wishes = world.catalog.wishes.values()
    return [
        msgspec.to_builtins(one) for one in wishes if (one.app, one.endpoint) == (app, endpoint)
    ]


def _replica(world: World, replica: Replica, now_ns: int) -> Json:
    residency = world.fleet.residency(replica.id)
    shown: dict[str, Json] = {
        "id": replica.id,
        "node": replica.node,
        "state": replica.state,
        "since_s": max(0, now_ns - replica.since_ns) // 1_000_000_000,
        "permits": replica.permits,
        "code": replica.code,
        "detail": replica.detail,
    }
    if residency is not None:
        shown |= {
            "doing": residency.state,
            "pid": residency.pid,
            "device": residency.device,
            "gpus": residency.gpus,
            "adopted": residency.adopted,
            "memory_enforced": residency.memory_enforced,
            "cpu_enforced": residency.cpu_enforced,
            "calls_done": residency.calls_done,
            "started_wall_ns": residency.started_wall_ns,
            "phases": [{"name": phase.name, "ns": phase.ns} for phase in residency.phases],
        }
    return shown


def _failure(world: World, key: str) -> Json:
    error = world.fleet.errors.get(key)
    return (
        None if error is None else {"code": error.code, "detail": error.detail, "replica": error.id}
    )


def cold_calls(world: World, subject: str, request_id: str) -> list[ColdCall]:
    """Return the calls of a subject that met no replica, newest first; or the one of that id (8 characters do)."""
    if request_id:
        known = [one for one in world.cold if one.request_id == request_id]
        is_part = len(request_id) >= ID_SHOWN
        near = [one for one in world.cold if is_part and one.request_id.startswith(request_id)]
        return (known or near)[-1:]
    return [one for one in reversed(world.cold) if _is_about(one.version, subject)]


def _is_about(version: str, subject: str) -> bool:
    return subject in {"", version} or version.startswith((f"{subject}/", f"{subject}@"))


def nodes(world: World, connected: Collection[str], now_ns: int) -> Json:
    """Return the nodes: what they have, what runs there, how long ago they last reported."""
    return [
        {
            "node": name,
            "connected": name in connected,
            "seen_s": max(0, now_ns - book.seen_ns) // 1_000_000_000,
            "inventory": msgspec.to_builtins(book.report.inventory),
            "environments": len(book.report.envs),
            "replicas": [
                {"id": one.replica, "version": one.version, "state": one.state, "pid": one.pid}
                for one in book.report.residencies
            ],
        }
        for name, book in sorted(world.fleet.nodes.items())
    ]
