"""How does a gateway process run? Assembled here, served by uvicorn on inherited sockets, until told to stop."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import anyio
from anyio.abc import TaskGroup
from uvicorn import Config, Server

from glowplug.clock import SECOND, Clock
from glowplug.errors import ConfigError
from glowplug.files import replace_file
from glowplug.node.stopping import told_to_stop
from glowplug.settings import Home
from glowplug.wire.messages import Hello, to_json
from glowplug_router.collecting import collect_seldom
from glowplug_router.gateway.control_link import ControlLink
from glowplug_router.gateway.dialer import Dialer
from glowplug_router.gateway.engine import Engine
from glowplug_router.gateway.forward import Forward
from glowplug_router.gateway.front import Front
from glowplug_router.gateway.guard import Guard
from glowplug_router.gateway.links import DataLink
from glowplug_router.gateway.metrics import Metrics
from glowplug_router.gateway.nested import NestedCalls
from glowplug_router.gateway.payloads import PayloadRelay
from glowplug_router.gateway.recording import RecordingEngine, Traffic
from glowplug_router.gateway.reporter import Reporter
from glowplug_router.gateway.routes import Table
from glowplug_router.gateway.settings import GatewaySettings
from glowplug_router.gateway.site import make_site
from glowplug_router.gateway.snapshot import changes, is_newer, load, losses, replicas
from glowplug_router.gateway.tally import Tallies
from glowplug_router.gateway.tls import Certificate, TlsDoor
from glowplug_router.recording import CALLS
from glowplug_router.records.published import Snapshot
from glowplug_router.settings import BACKLOG
from glowplug_router.signatures import Signer

_LOG = logging.getLogger("glowplug.gateway")


class GatewayServer(Server):
    """uvicorn's server, told to stop by us: signals and the leash are handled where the process is assembled."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    async def main_loop(self) -> None:
        """Wait for the stop, without waking ten times a second."""
        await self.stop.wait()


class Gateway:
    """One gateway: parts wired together, snapshots applied."""

    def __init__(
        self, home: Home, settings: GatewaySettings, clock: Clock, tasks: TaskGroup
    ) -> None:
        self.snapshot: Snapshot | None = None
        self._file = home.router / "snapshot.json"
        self._tasks = tasks
        self._saving = anyio.Event()
        chance = Random(os.urandom(16))
        hello = Hello("gateway", settings.name)
        self.tallies = Tallies()
        self.metrics = Metrics(self.tallies)
        self.reporter = Reporter(settings.name, self.tallies)
        self.traffic = _traffic(settings, clock)
        self.engine = (
            Engine(clock, self.tallies, self.reporter)
            if self.traffic is None
            else RecordingEngine(clock, self.tallies, self.reporter, self.traffic)
        )
        self.front = Front(settings, clock, chance, self.engine, self.metrics)
        relay = PayloadRelay(tasks.start_soon, lambda: self.control.current())
        inbox = NestedCalls(self.front, relay)
        self.dialer = Dialer(
            partial(DataLink, self.engine, inbox, hello),
            clock,
            tasks,
        )
        self.control = ControlLink(
            f"unix:{home.run / 'controller.sock'}", hello, self.apply, self.reporter, clock
        )
        forward = Forward()
        forward.channel = self.control.current
        self.site = make_site(self.front, forward, lambda: self.snapshot)
        self._clock = clock
        self._pulse: asyncio.TimerHandle | None = None
        self._pulse_due_s = 0.0

    # -- snapshots -------------------------------------------------------------------------------------

    def load(self) -> None:
        """Take the last snapshot from disk, so that calls are served before the controller is there."""
        kept = load(self._file)
        if kept is not None:
            _LOG.info("loaded snapshot %d of epoch %d from disk", kept.number, kept.epoch)
            self._use(kept)

    def apply(self, snapshot: Snapshot) -> None:
        """Take a snapshot from the controller and keep it."""
        if is_newer(self.snapshot, snapshot):
            self._use(snapshot)
            self._saving.set()

    def _use(self, snapshot: Snapshot) -> None:
        old, self.snapshot = self.snapshot, snapshot
        front, now_ns = self.front, self._clock.now_ns()
        front.keys.load(snapshot.keys, snapshot.pepper)
        front.signer = Signer(snapshot.token_secret) if snapshot.token_secret else None
        front.table = Table(snapshot, self.tallies.of)
        self.reporter.snapshot = snapshot.number
        for event in changes(old, snapshot):
            self.engine.feed(event, now_ns)
        self._forget(old, snapshot)
        self.dialer.want(replicas(snapshot))
        self.engine.mourning.learn(losses(snapshot))
        front.holding.learn(snapshot, now_ns)
        front.holding.tick(self.engine.calls.values(), now_ns)

    def _forget(self, old: Snapshot | None, new: Snapshot) -> None:
        for key in _keys(old) - _keys(new):
            self.tallies.forget(key)

    async def keep_saved(self) -> None:
        """Write each new snapshot to disk; when several come in a row, the last one."""
        while True:
            await self._saving.wait()
            self._saving = anyio.Event()
            assert self.snapshot is not None, "saved before there was one"
            try:
                await anyio.to_thread.run_sync(replace_file, self._file, to_json(self.snapshot))
            except OSError as error:
                _LOG.error(
                    "cannot keep the snapshot in %s: %s; calls go on", self._file, error
                )  # expected when the disk is full

    # -- time ------------------------------------------------------------------------------------------

    def start_pulse(self, server: GatewayServer) -> None:
        """Look at all deadlines now and then, from one timer; its own lateness is the loop's lag."""
        loop = asyncio.get_running_loop()
        every_s = self.front.settings.pulse_ns / SECOND

        def beat() -> None:
            now_s = loop.time()
            late_ns = max(0, int((now_s - self._pulse_due_s) * SECOND))
            self._pulse_due_s = now_s + every_s
            # First of all: whatever goes wrong below, there is a next time.
            self._pulse = loop.call_at(self._pulse_due_s, beat)
            self.metrics.lag(late_ns)
            self.front.pulse()
            self._sweep(server)

        self._pulse_due_s = loop.time()
        beat()

    def _sweep(self, server: GatewayServer) -> None:
        server.server_state.default_headers = [
            (b"date", self.front.date[6:-2])
        ]  # for the site's answers
        now_ns = self.front.coarse_ns
        for connection in list(server.server_state.connections):
            if isinstance(connection, Guard):
                try:
                    connection.sweep(now_ns)
                except Exception:  # the others' limits hold all the same
                    _LOG.exception("a connection broke in a way nobody foresaw")
                    connection.transport.abort()
        self.engine.sweep(now_ns)
        self.front.holding.tick(self.engine.calls.values(), now_ns)

    # -- the end ---------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take no new calls and answer those that wait; those that run may finish."""
        self.front.stopping = True
        self.engine.stop()

    def close(self) -> None:
        """Let go of everything."""
        self.engine.abandon()
        self.reporter.send()
        self.reporter.close()
        self.dialer.close()
        if self._pulse is not None:
            self._pulse.cancel()


def _traffic(settings: GatewaySettings, clock: Clock) -> Traffic | None:
    """Return the recording of calls that was asked for.

    Raises:
        ConfigError: It cannot be written.
    """
    if not settings.record:
        return None
    try:
        return Traffic(Path(settings.record) / CALLS, clock)
    except OSError as error:
        raise ConfigError(
            f"cannot record into {settings.record}: {error.strerror}",
            hint="name a folder that you may write after --record",
        ) from error


def _keys(snapshot: Snapshot | None) -> set[str]:
    routes = snapshot.endpoints if snapshot is not None else ()
    return {
        f"{route.app}/{route.endpoint}@{version.number}"
        for route in routes
        for version in route.versions
    }


def make_server(gateway: Gateway) -> GatewayServer:
    """Return uvicorn's server with our protocol; it keeps neither logs nor headers of its own."""
    config = Config(
        gateway.site,
        http=partial(Guard, gateway.front),  # type: ignore[arg-type]  # uvicorn calls it and never asks for its class
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=None,
    )
    return GatewayServer(config)


async def run_gateway(
    home: Home,
    sockets: list[socket.socket],
    settings: GatewaySettings,
    clock: Clock,
    *,
    leash_fd: int | None = None,
) -> None:
    """Serve on `sockets` until SIGTERM, SIGINT or the end of the leash; then finish what runs, within `drain_ns`.

    The process is the gateway's alone: its collector is told that what is loaded by now stays.
    """
    collect_seldom()
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_when_told, leash_fd, stop)
        await serve(home, sockets, settings, clock, stop)
        tasks.cancel_scope.cancel()


async def serve(
    home: Home,
    sockets: list[socket.socket],
    settings: GatewaySettings,
    clock: Clock,
    stop: anyio.Event,
) -> None:
    """Serve on `sockets` until `stop` is set."""
    async with anyio.create_task_group() as tasks:
        gateway = Gateway(home, settings, clock, tasks)
        server = make_server(gateway)
        gateway.load()
        tasks.start_soon(gateway.keep_saved)
        if gateway.traffic is not None:
            tasks.start_soon(gateway.traffic.run, clock)
        tasks.start_soon(gateway.control.run, tasks)
        gateway.start_pulse(server)
        async with anyio.create_task_group() as serving:
            door = await _open(serving, server, sockets, settings, clock)
            await stop.wait()
            door.cancel()
            gateway.stop()
            server.stop.set()
            serving.start_soon(_end_of_drain, gateway, server, settings, clock, serving)
        gateway.close()
        tasks.cancel_scope.cancel()
    if gateway.traffic is not None:
        gateway.traffic.close()


async def _open(
    serving: TaskGroup,
    server: GatewayServer,
    sockets: list[socket.socket],
    settings: GatewaySettings,
    clock: Clock,
) -> anyio.CancelScope:
    """Take connections from now on; cancelling what is returned stops that for those that come with TLS."""
    scope = anyio.CancelScope()
    if not settings.tls_cert:
        serving.start_soon(server.serve, sockets)
        return scope
    certificate = Certificate(settings.tls_cert, settings.tls_key)

    def make() -> asyncio.Protocol:
        make_guard = server.config.http_protocol_class
        return make_guard(config=server.config, server_state=server.server_state, app_state={})  # type: ignore[call-arg]  # as uvicorn calls it

    async def take() -> None:
        with scope:
            door = TlsDoor(certificate, settings, make)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(certificate.follow, clock, settings.tls_look_ns)
                for sock in sockets:
                    tasks.start_soon(door.serve, sock)
        for sock in sockets:
            sock.close()

    serving.start_soon(server.serve, [])
    serving.start_soon(take)
    return scope


async def _end_of_drain(
    gateway: Gateway,
    server: GatewayServer,
    settings: GatewaySettings,
    clock: Clock,
    serving: TaskGroup,
) -> None:
    """Wait until every connection is closed; cut off those that are not in time."""
    deadline_ns = clock.now_ns() + settings.drain_ns
    while server.server_state.connections and clock.now_ns() < deadline_ns:
        await clock.sleep(0.05)
    gateway.engine.abandon()
    server.force_exit = True
    for connection in list(server.server_state.connections):
        if isinstance(connection, Guard):
            connection.transport.close()


async def _stop_when_told(leash_fd: int | None, stop: anyio.Event) -> None:
    await told_to_stop(leash_fd)
    stop.set()
