"""What has to be there before a rank can run, and how does its process start?

fetch → env → fork or exec: each a phase, timed. What fails raises a `NodeError` that names the fix.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from glowplug.artifact import Layer
from glowplug.clock import MILLISECOND
from glowplug.errors import CallError, NodeError
from glowplug.node import gpus, surroundings
from glowplug.node.environments import belongs_to
from glowplug.node.launchers import Launched, Order
from glowplug.node.messages import Phase, RankLaunch, RankState, Want
from glowplug.node.processes import Process
from glowplug.node.site import Site
from glowplug.settings import environment
from glowplug.wire.messages import to_json

_LOG = logging.getLogger("glowplug.node")

Say = Callable[[RankState, tuple[Phase, ...]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that is on disk for a version."""

    code: Path
    interpreter: Path
    python_path: tuple[str, ...]
    secrets: tuple[tuple[str, str], ...] = field(repr=False)
    phases: tuple[Phase, ...]


async def prepare(site: Site, want: Want, say: Say) -> Prepared:
    """Fetch, unpack and build what a version needs; most of it is there already, usually.

    Raises:
        NodeError: Something cannot be had.
    """
    began_ns = site.clock.now_ns()
    say("fetching", ())
    code, python_path = await _layers(site, want)
    secrets = await _secrets(site, want)
    fetched_ns = site.clock.now_ns()
    phases: tuple[Phase, ...] = (Phase(name="fetch", ns=fetched_ns - began_ns),)
    if site.environments.interpreter(want.bundle.env_digest) is None:
        say("building", phases)
    interpreter = await _interpreter(site, want)
    phases += (Phase(name="env", ns=site.clock.now_ns() - fetched_ns),)
    return Prepared(
        code=code, interpreter=interpreter, python_path=python_path, secrets=secrets, phases=phases
    )


async def start(site: Site, order: Order) -> tuple[Phase, ...]:
    """Fork it if a zygote can, else exec it; a fork that was refused is told as a phase of its own."""
    phases: tuple[Phase, ...] = ()
    reason = "no launcher"
    for launcher in (site.zygotes, site.execs):
        began_ns = site.clock.now_ns()
        made = await launcher.launch(order)
        took_ns = site.clock.now_ns() - began_ns
        if isinstance(made, Launched):
            return (*phases, Phase(name=made.how, ns=took_ns))
        reason = made.reason
        if reason:  # else there is no zygote at all: nothing was tried
            _LOG.info("%s is not forked: %s", order.name, reason)
            phases += (Phase(name="refused", ns=took_ns),)
    raise NodeError(f"{order.name}: no process can be started here: {reason}")


def devices(site: Site, want: Want) -> gpus.Granted:
    """Return the devices this replica gets.

    Raises:
        NodeError: It cannot have what it asks for.
    """
    granted = gpus.grant(want.spec.needs, site.inventory.gpus, site.taken())
    if isinstance(granted, gpus.Refused):
        raise NodeError(
            f"{want.version}: {granted.reason}", hint="`glowplug status` shows what runs here"
        )
    return granted


def launch_record(site: Site, want: Want, prepared: Prepared, granted: gpus.Granted) -> RankLaunch:
    """Return what the rank is told."""
    folders = site.folders
    return RankLaunch(
        replica=want.replica,
        version=want.version,
        spec=want.spec,
        code_path=str(prepared.code),
        data_socket=str(folders.data_socket(want.replica)),
        control_socket=str(folders.control_socket(want.replica)),
        log_path=str(folders.log(want.spec.app, want.spec.name, want.replica)),
        epoch=site.epoch,
        lease_ns=site.patience.lease_ns,
        device=granted.device,
        gpus=granted.gpus,
        volumes=surroundings.volumes(folders, want.spec.volumes),
        env=surroundings.variables(want, folders, granted.gpus, environment()),
        secrets=prepared.secrets,
        dev=want.dev,
    )


def order_for(
    want: Want, prepared: Prepared, launch: RankLaunch, started: Callable[[Process], None]
) -> Order:
    """Return the order for the process that takes this launch record."""
    return Order(
        name=want.replica,
        interpreter=prepared.interpreter,
        env_digest=want.bundle.env_digest,
        python_path=prepared.python_path,
        payload=to_json(launch),
        error_path=raw_log(Path(launch.log_path)),
        control_socket=Path(launch.control_socket),
        started=started,
    )


def raw_log(log: Path) -> Path:
    """Return the file beside a rank's log that takes what descriptors 1 and 2 get."""
    return Path(f"{log}.out")


def timed(phases: tuple[Phase, ...]) -> str:
    """Return phases for people: "fetch 3 ms, fork 12 ms"."""
    return ", ".join(f"{phase.name} {phase.ns / MILLISECOND:.0f} ms" for phase in phases)


async def _layers(site: Site, want: Want) -> tuple[Path, tuple[str, ...]]:
    """Return the code's folder, and where another environment finds glowplug."""
    bundle = want.bundle
    found: dict[str, Path] = {}

    async def bring(layer: Layer) -> None:
        found[layer.kind] = await site.bundles.folder(layer)

    needed = [] if bundle.source_path else [bundle.layer("code")]
    if bundle.env_digest:
        needed.append(bundle.layer("runtime"))
    try:
        async with anyio.create_task_group() as group:
            for layer in needed:
                if layer is not None:
                    group.start_soon(bring, layer)
    except ExceptionGroup as errors:
        raise _first(errors, want) from errors
    code = Path(bundle.source_path) if bundle.source_path else found.get("code")
    if code is None or not code.is_dir():
        raise NodeError(
            f"{want.version}: its code is not here ({code or 'the bundle has no code layer'})",
            hint="deploy it again",
        )
    runtime = found.get("runtime")
    return code, (str(runtime),) if runtime else ()


async def _secrets(site: Site, want: Want) -> tuple[tuple[str, str], ...]:
    names = want.spec.secrets
    if not names:
        return ()
    try:
        values = await site.secrets(names)
    except CallError as error:
        raise NodeError(f"{want.version}: its secrets cannot be had: {error.message}") from error
    missing = [name for name in names if name not in values]
    if missing:
        raise NodeError(
            f"{want.version} needs the secret {', '.join(missing)}, and it is not set",
            hint="\n  ".join(f"`glowplug secrets set {name}`" for name in missing),
        )
    return tuple((name, values[name]) for name in names)


async def _interpreter(site: Site, want: Want) -> Path:
    bundle = want.bundle
    lock = bundle.layer("lock")
    lock_digest = lock.digest if lock is not None else ""
    if bundle.env_digest and not belongs_to(bundle.env_digest, lock_digest, bundle.python):
        raise NodeError(
            f"{want.version}: its environment {bundle.env_digest} is not that of its lock {lock_digest or '(none)'}",
            hint="deploy it again",
        )

    async def read_lock() -> str:
        if lock is None:
            raise NodeError(
                f"{want.version}: its bundle has an environment and no lock", hint="deploy it again"
            )
        try:
            return await site.bundles.text(lock)
        except CallError as error:
            raise NodeError(
                f"{want.version}: its lock cannot be fetched: {error.message}",
                hint="deploy it again",
            ) from error

    return await site.environments.ensure(bundle.env_digest, bundle.python, read_lock)


def _first(errors: ExceptionGroup[Exception], want: Want) -> NodeError:
    first = errors.exceptions[0]
    if isinstance(first, NodeError):
        return first
    if isinstance(first, CallError):
        return NodeError(
            f"{want.version}: a layer cannot be fetched: {first.message}", hint="deploy it again"
        )
    if isinstance(first, ExceptionGroup):
        return _first(first, want)
    raise first
