"""What do the supervisor's children do? One function a role; importing this module loads all that they share."""

import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.util import find_spec

import anyio

from glowplug.clock import SystemClock
from glowplug.node.agent import run_agent
from glowplug.node.folders import Folders
from glowplug.node.stopping import until_told
from glowplug_router.app import run_controller
from glowplug_router.gateway.main import run_gateway
from glowplug_router.gateway.settings import GatewaySettings
from glowplug_router.settings import ControllerSettings, UpSettings
from glowplug_router.telemetry.logging import configure

END_RANKS_SIGNAL = signal.SIGUSR1  # to the agent

Main = Callable[[int], None]
Run = Callable[[int], Awaitable[None]]  # given the leash


def roles_of(settings: UpSettings, sock: socket.socket, url: str) -> dict[str, Main]:
    """Return what each child does, in the order in which they start."""
    home = settings.home
    logs = Folders(home).system_logs

    async def agent(leash_fd: int) -> None:
        address = f"unix:{home.run / 'controller.sock'}"
        await until_told(
            partial(
                run_agent,
                home,
                address,
                settings.node,
                SystemClock(),
                leash_fd=leash_fd,
                end_all_on=END_RANKS_SIGNAL,
            )
        )

    async def controller(leash_fd: int) -> None:
        asked = ControllerSettings(
            url=url,
            ca=settings.tls.ca if settings.tls else "",
            record=settings.record,
            advised=settings.advised,
        )
        await run_controller(home, asked, SystemClock(), leash_fd=leash_fd)

    async def gateway(leash_fd: int) -> None:
        await run_gateway(
            home, [sock], gateway_settings(settings), SystemClock(), leash_fd=leash_fd
        )

    def run(role: str, main: Run, *, fast: bool) -> Main:
        def process(leash_fd: int) -> None:
            configure(logs, role)
            fast_here = fast and find_spec("uvloop") is not None
            anyio.run(main, leash_fd, backend_options={"use_uvloop": fast_here})

        return process

    return {
        "controller": run("controller", controller, fast=True),
        "agent": run(
            "agent", agent, fast=False
        ),  # it starts processes: asyncio's own loop knows them best
        "gateway": run("gateway", gateway, fast=True),
    }


def gateway_settings(settings: UpSettings) -> GatewaySettings:
    """Return what of a router's settings the gateway is told."""
    return GatewaySettings(
        hosts=settings.hosts,
        origins=settings.origins,
        body_max_bytes=settings.body_max_bytes,
        drain_ns=settings.drain_ns,
        record=settings.record,
        tls_cert=settings.tls.cert if settings.tls else "",
        tls_key=settings.tls.key if settings.tls else "",
    )
