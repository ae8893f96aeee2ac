"""Which adapter plays which part? The only place that names them: assembled here, everything else knows ports."""

import os
import platform
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import anyio

from glowplug.clock import SECOND, Clock
from glowplug.errors import ConfigError
from glowplug.node.stopping import STOP_SIGNALS, told_to_stop
from glowplug.settings import Home
from glowplug.wire.messages import Hello
from glowplug_router.advising import Advisor
from glowplug_router.collecting import collect_seldom
from glowplug_router.control.api import control_api
from glowplug_router.control.catalog import Catalog
from glowplug_router.control.first_key import ensure_local_key
from glowplug_router.control.fleet import Fleet
from glowplug_router.control.gateways import Gateways
from glowplug_router.control.listener import Listener, Role
from glowplug_router.control.parts import Parts
from glowplug_router.control.payloads import Payloads
from glowplug_router.control.secrets import FileSecrets
from glowplug_router.control.world import World
from glowplug_router.controller import Controller
from glowplug_router.objects.directory import DirectoryObjects
from glowplug_router.plan import plan
from glowplug_router.ports import ObjectStore, SecretStore, Store
from glowplug_router.providers.local import LocalProvider
from glowplug_router.recording import FILE, Planner, Recorder
from glowplug_router.settings import ControllerSettings
from glowplug_router.signatures import Signer
from glowplug_router.store.sqlite import SqliteStore

CLOSE_MAX_S = 5.0  # for the last commits, when the process ends
DRAIN_ALL_NS = 20 * SECOND  # for replicas, when everything stops; gateways have drained before
DRAIN_SIGNAL = signal.SIGUSR1  # end all replicas, then stop; SIGTERM stops and leaves them


async def run_controller(
    home: Home, settings: ControllerSettings, clock: Clock, *, leash_fd: int | None = None
) -> None:
    """Be the controller of this home until SIGTERM, DRAIN_SIGNAL, or the end of the leash.

    The process is the controller's alone: its collector is told so.

    Raises:
        StoreError: The database cannot be used.
        ConfigError: The socket or a folder cannot.
    """
    collect_seldom()
    store = await SqliteStore.open(home.router / "router.db", clock)
    try:
        signer = Signer(await store.setting("token_secret", token_hex()))
        objects = DirectoryObjects(home.router / "objects", signer=signer)
        secrets = FileSecrets(home.router / "secrets.json")
        provider = LocalProvider(objects, secrets)
        async with serving(home, settings, clock, store, objects, secrets, provider) as controller:
            if await told_to_stop(leash_fd, (*STOP_SIGNALS, DRAIN_SIGNAL)) == DRAIN_SIGNAL:
                await controller.drain_all(DRAIN_ALL_NS)
    finally:
        with anyio.move_on_after(CLOSE_MAX_S, shield=True):
            await store.close()


@asynccontextmanager
async def serving(
    home: Home,
    settings: ControllerSettings,
    clock: Clock,
    store: Store,
    objects: ObjectStore,
    secrets: SecretStore,
    provider: LocalProvider,
) -> AsyncIterator[Controller]:
    """Run a controller on these adapters: its loop, its socket, and the control API behind it."""
    world = await load_world(store)
    await ensure_local_key(world.catalog, home, settings.url, clock, settings.ca)
    gateways = Gateways(world)
    parts = Parts(
        world=world, store=store, objects=objects, secrets=secrets, provider=provider, clock=clock
    )
    payloads = Payloads(parts)
    gateways.app = control_api(parts, payloads)
    gateways.payloads = payloads
    planner = planner_of(settings)
    controller = Controller(world, store, provider, gateways, clock, planner)
    roles = {
        "agent": Role(serve=provider.serve, answer=provider.answer),
        "gateway": Role(serve=gateways.serve, answer=gateways.answer),
    }
    async with anyio.create_task_group() as tasks:
        hello = Hello("controller", platform.node(), epoch=world.epoch)
        await tasks.start(Listener(home.run / "controller.sock", hello, roles, tasks).run)
        tasks.start_soon(controller.run)
        tasks.start_soon(payloads.sweep_forever)
        yield controller
        tasks.cancel_scope.cancel()


def planner_of(settings: ControllerSettings) -> Planner:
    """Return the planner, recorded and under advice where that was asked for.

    Raises:
        ConfigError: The recording cannot be written.
    """
    planner: Planner = plan
    if settings.record:
        try:
            planner = Recorder(plan, Path(settings.record) / FILE)
        except OSError as error:
            raise ConfigError(
                f"cannot record into {settings.record}: {error.strerror}",
                hint="name a folder that you may write after --record",
            ) from error
    return Advisor(planner, settings.advised) if settings.advised else planner


async def load_world(store: Store) -> World:
    """Take an epoch and return the controller's memory as the store has it."""
    epoch = await store.take_epoch(f"{platform.node()}:{os.getpid()}")
    catalog = Catalog(store, epoch)
    await catalog.load()
    return World(catalog, Fleet(catalog))
