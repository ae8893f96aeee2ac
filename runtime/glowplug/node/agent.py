"""What does the agent do all day? It keeps this node's replicas as the controller wants them, and says how they are.

It dials the controller and keeps the replicas whether or not anybody answers. Its own end leaves the ranks running: the
next agent adopts them, and if none comes they end when their lease does.
"""

import fcntl
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from glowplug.clock import SECOND, Clock
from glowplug.errors import NodeError
from glowplug.node import cgroups, inventory, logs
from glowplug.node.bundles import Bundles
from glowplug.node.environments import Environments
from glowplug.node.fleet import Epochs, Fleet, begin_life
from glowplug.node.folders import Folders
from glowplug.node.launchers import ExecLauncher
from glowplug.node.messages import Desired, LogQuery, Report
from glowplug.node.processes import adopt_orphans
from glowplug.node.site import Patience, Site
from glowplug.node.stopping import let_go
from glowplug.node.sweeping import set_aside_leftovers, sweep
from glowplug.node.uplink import Uplink
from glowplug.node.zygotes import Zygotes
from glowplug.settings import Home, variable
from glowplug.wire.channel import Spawn
from glowplug.wire.messages import Hello

_LOG = logging.getLogger("glowplug.node")
REPORT_EVERY_S = 1.0
END_ALL_S = 8.0  # for the ranks to heed SIGTERM, and to be killed and buried if they do not
WITHOUT = "GLOWPLUG_WITHOUT"  # "pidfd,cgroup,zygote": go on as if this machine had none


async def run_agent(
    home: Home,
    controller_address: str,
    node_id: str,
    clock: Clock,
    *,
    leash_fd: int | None = None,
    patience: Patience | None = None,
    end_all_on: signal.Signals | None = None,
) -> None:
    """Be the agent of this home until cancelled, or until the leash is let go.

    Args:
        home: Whose `node` folder it owns; a second agent for the same one is refused.
        controller_address: "unix:/path" or "tcp:host:port".
        node_id: Its name towards the controller.
        clock: The time.
        leash_fd: The read end of a pipe; when the other end closes, the agent ends.
        patience: How long it waits for ranks.
        end_all_on: A signal upon which it ends every rank, and then itself: no controller need be there for that.

    Raises:
        NodeError: Another agent runs in this home, or its folders cannot be written.
    """
    folders = Folders(home)
    try:
        folders.make()
    except OSError as error:
        raise NodeError(
            f"{home.node} cannot be used: {error}",
            hint="set GLOWPLUG_HOME to a folder of yours",
            code="config",
        ) from error
    with _alone(home.node / "agent.lock"):
        async with anyio.create_task_group() as group:
            if leash_fd is not None:
                group.start_soon(_end_with, leash_fd, group.cancel_scope)
            agent = await _build(
                folders,
                controller_address,
                node_id,
                clock,
                group.start_soon,
                patience or Patience(),
            )
            if end_all_on is not None:
                group.start_soon(_end_all, end_all_on, agent, group.cancel_scope)
            try:
                await agent.run()
            finally:
                agent.close()


class Agent:
    """The parts, wired."""

    def __init__(self, site: Site, uplink: Uplink, epochs: Epochs) -> None:
        self.fleet = Fleet(site, epochs, self._changed)
        self._site = site
        self._uplink = uplink
        self._number = 0
        self._news = anyio.Event()

    async def run(self) -> None:
        """Adopt, connect, and report for ever."""
        set_aside_leftovers(self._site.folders)
        await self.fleet.adopt()
        self._site.spawn(self._sweep)
        self._site.spawn(self._uplink.run, self._take, self._logs, self._changed)
        while True:
            with anyio.move_on_after(REPORT_EVERY_S):
                await self._news.wait()
            self._news = anyio.Event()
            self.fleet.act()  # what has ended makes room; what waited for its grace is due
            self._uplink.report(self._report())

    def close(self) -> None:
        """Let the zygotes go; ranks stay."""
        self._site.zygotes.close()
        if not self.fleet.residencies:
            self._site.groups.leave()

    async def _sweep(self) -> None:
        """Keep the disk from filling with what nobody uses, once it is known what is wanted."""
        while True:
            await self._site.clock.sleep(self._site.patience.sweep_every_ns / SECOND)
            if not self.fleet.is_asked:
                continue
            try:
                wall_ns = self._site.clock.wall_ns()
                await sweep(self._site.folders, self.fleet.in_use(), wall_ns)
            except Exception:  # a full disk is bad, an agent that ends over it is worse; recorded
                _LOG.exception("what is not used any more stays")

    def _take(self, desired: Desired) -> None:
        if self.fleet.take(desired):
            self._changed()

    def _logs(self, query: LogQuery) -> AsyncIterator[bytes]:
        return logs.read(self._site.folders, query, self._site.clock)

    def _report(self) -> Report:
        self._number += 1
        return Report(
            node=self._site.inventory.node,
            number=self._number,
            desired_number=self.fleet.number,
            inventory=self._site.inventory,
            residencies=self.fleet.residencies,
            envs=self._site.environments.built(),
            layers=self._site.bundles.held(),
        )

    def _changed(self) -> None:
        self._news.set()


async def _build(
    folders: Folders,
    address: str,
    node_id: str,
    clock: Clock,
    spawn: Spawn,
    patience: Patience,
) -> Agent:
    can = inventory.capabilities(frozenset(variable(WITHOUT).split(",")))
    adopt_orphans()
    groups = cgroups.detect(folders.home.root) if "cgroup" in can else cgroups.Groups(0)
    has = await run_sync(inventory.take, node_id, can, groups)
    epochs = begin_life(folders)
    uplink = Uplink(address, Hello(role="agent", name=node_id, epoch=epochs.agent), clock, spawn)
    fleets: list[Fleet] = []
    site = Site(
        folders=folders,
        clock=clock,
        inventory=has,
        groups=groups,
        bundles=Bundles(folders.bundles, uplink.blob),
        environments=Environments(folders.envs, clock),
        secrets=uplink.secrets,
        execs=ExecLauncher(clock, pidfds="pidfd" in can),
        zygotes=Zygotes(folders, clock, spawn, enabled="zygote" in can),
        spawn=spawn,
        epoch=epochs.agent,
        taken=lambda: fleets[0].taken(),
        pidfds="pidfd" in can,
        patience=patience,
    )
    agent = Agent(site, uplink, epochs)
    fleets.append(agent.fleet)
    return agent


async def _end_with(leash_fd: int, scope: anyio.CancelScope) -> None:
    await let_go(leash_fd)
    _LOG.info("the supervisor has gone; ranks stay for one lease")
    scope.cancel()


async def _end_all(number: signal.Signals, agent: Agent, scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(number) as told:
        await anext(aiter(told))
        if agent.fleet.residencies:
            _LOG.info("the router stops: ending what the controller has not ended")
        await agent.fleet.end_all("the router stops", END_ALL_S)
    scope.cancel()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the home; the kernel lets go of it however this process ends."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 32, 0).decode() or "?"
            raise NodeError(
                f"another agent (pid {holder}) runs in {path.parent}",
                hint="`glowplug status` shows it; `glowplug down` ends it",
                code="conflict",
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)
