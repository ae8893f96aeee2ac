"""What does the planner get to see? The deployed, the tried-out and the leaving, with all there is of each."""

from collections.abc import Iterable
from dataclasses import replace

from glowplug.artifact import Bundle
from glowplug.clock import MINUTE
from glowplug_router.control.wishes import wishes_of
from glowplug_router.control.world import World
from glowplug_router.records.observed import Observed, Replica, Served
from glowplug_router.records.stored import Version

DRAIN_MAX_NS = 5 * MINUTE  # a call that runs longer than this is cut off by a deploy


def observe(world: World, now_ns: int, wall_ns: int) -> Observed:
    """Return the world at this moment; only what people declared for a while needs to know the wall time."""
    replicas = world.fleet.replicas(now_ns)
    return Observed(
        epoch=world.epoch,
        served=tuple(_wished(world, one, now_ns, wall_ns) for one in _served(world, replicas)),
        nodes=world.machines.nodes(world.fleet.observed_nodes(), now_ns),
        replicas=replicas,
        offers=world.machines.said.offers,
        tallies=world.machines.said.tallies,
        limits=world.machines.said.limits,
    )


def _wished(world: World, one: Served, now_ns: int, wall_ns: int) -> Served:
    if one.leaving or one.candidate:
        return one
    app, _, endpoint = one.key.partition("@")[0].partition("/")
    return replace(one, wishes=wishes_of(world.catalog, app, endpoint, now_ns, wall_ns))


def _served(world: World, replicas: Iterable[Replica]) -> Iterable[Served]:
    shares = world.catalog.permille()
    present = {replica.version for replica in replicas}
    for key in sorted({*shares, *world.trials, *present}):
        version = world.catalog.versions.get(key)
        if version is not None:
            yield served(world, version, shares.get(key, 0))


def served(world: World, version: Version, permille: int) -> Served:
    """Return what decides how many replicas a version gets."""
    trial = world.trials.get(version.key)
    needs = version.spec.needs
    return Served(
        key=version.key,
        policy=world.catalog.policy(version),
        permits=version.spec.concurrency,
        permille=permille,
        candidate=trial is not None,
        leaving=trial is None and permille == 0,
        gpu_count=needs.gpu_count,
        gpu_names=needs.gpu_names,
        memory_bytes=needs.memory_bytes,
        cpu_milli=needs.cpu_milli,
        device=needs.device,
        drain_ns=drain_ns(version),
        artefacts=artefacts(world.catalog.bundle_of(version)),
        swap_from=trial.swap_from if trial is not None else "",
    )


def artefacts(bundle: Bundle) -> tuple[str, ...]:
    """Return what a start fetches or builds where the node does not hold it: code, and an environment of its own."""
    code = None if bundle.source_path else bundle.layer("code")
    runtime = bundle.layer("runtime") if bundle.env_digest else None
    layers = tuple(layer.digest for layer in (code, runtime) if layer is not None)
    return (bundle.env_digest, *layers) if bundle.env_digest else layers


def drain_ns(version: Version) -> int:
    """Return how long a replica of a version may take to finish."""
    return min(version.spec.timeouts.run_ns, DRAIN_MAX_NS)
