"""What nobody foresaw, of one connection or one body: does it end that one, and nothing else?"""

import asyncio
import socket
import ssl
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import cast

import anyio
import pytest

from glowplug.clock import MILLISECOND, SystemClock
from glowplug.payloads import LINK_PATH
from glowplug.settings import Home
from glowplug.wire.channel import Channel
from glowplug.wire.frames import Kind
from glowplug.wire.messages import Infer, unpack_failure
from glowplug_router.gateway.calls import Call
from glowplug_router.gateway.guard import Guard
from glowplug_router.gateway.links import DataLink
from glowplug_router.gateway.main import Gateway, make_server
from glowplug_router.gateway.payloads import PayloadRelay
from glowplug_router.gateway.settings import GatewaySettings
from glowplug_router.gateway.tls import Certificate, TlsDoor
from system.gateway_rig import until
from system.test_gateway_tls import certificate

FORESEEN_BY_NOBODY = "nobody foresaw this"


class OddChannel:
    """A way to the controller that breaks."""

    closed = False

    async def open(self, path: str, *, infer: Infer) -> None:
        raise LookupError(FORESEEN_BY_NOBODY)


@dataclass
class Replica:
    """A link that keeps what is sent."""

    replica: str = "r1"
    closed: bool = False
    sent: list[tuple[Kind, bytes]] = field(default_factory=list)

    def send(self, kind: Kind, rid: int, meta: bytes, body: bytes, flags: int) -> None:
        self.sent.append((kind, meta))


@dataclass
class Named:
    """A call that names a payload."""

    payload: str = "sha256:0 7"
    offload: bool = False
    tenant: str = "ten"
    request_id: str = "job"


async def test_a_payload_that_breaks_is_told_to_its_replica_and_ends_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    replica, ended = Replica(), asyncio.Event()
    async with anyio.create_task_group() as tasks:
        relay = PayloadRelay(tasks.start_soon, lambda: cast(Channel, OddChannel()))
        asked = Infer(LINK_PATH, "GET", parent="job")
        relay.open(cast(DataLink, replica), 2, asked, cast(Call, Named()), ended.set)

    ((kind, meta),) = replica.sent
    assert (kind, unpack_failure(meta).code) == (Kind.ERROR, "internal")
    assert ended.is_set()
    assert FORESEEN_BY_NOBODY in caplog.text


async def test_a_connection_that_breaks_at_the_door_leaves_it_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tls = certificate(tmp_path)
    made = 0

    def make() -> asyncio.Protocol:
        nonlocal made
        made += 1
        if made == 1:
            raise LookupError(FORESEEN_BY_NOBODY)
        return asyncio.Protocol()

    context = ssl.create_default_context(cafile=tls.ca)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        door = TlsDoor(Certificate(tls.cert, tls.key), GatewaySettings(), make)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(door.serve, sock)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection("127.0.0.1", port, ssl=context)
            with anyio.fail_after(5):
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=context, server_hostname="localhost"
                )
            writer.close()
            tasks.cancel_scope.cancel()

    assert FORESEEN_BY_NOBODY in caplog.text


class Breaks(Guard):
    """A connection whose time cannot be looked at."""

    looked = 0

    def sweep(self, now_ns: int) -> None:
        self.looked += 1
        raise LookupError(FORESEEN_BY_NOBODY)


class Looks(Guard):
    """One whose time can."""

    looked = 0

    def sweep(self, now_ns: int) -> None:
        self.looked += 1


async def test_a_connection_that_breaks_the_pulse_is_cut_off_and_the_others_are_looked_at(
    tmp_path: Path,
) -> None:
    settings = replace(GatewaySettings(), pulse_ns=5 * MILLISECOND)
    async with anyio.create_task_group() as tasks:
        gateway = Gateway(Home(tmp_path), settings, SystemClock(), tasks)
        server = make_server(gateway)
        server.config.load()
        state = server.server_state
        ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        kinds = (Breaks, Looks, Looks)
        made = [kind(gateway.front, server.config, state, {}) for kind in kinds]
        for guard, end in zip(made, ours, strict=True):
            await asyncio.get_running_loop().connect_accepted_socket(partial(_same, guard), end)
        gateway.start_pulse(server)
        await until(lambda: made[0] not in state.connections)
        seen = made[1].looked
        await until(lambda: all(one.looked > seen + 3 for one in made[1:]))

        gateway.close()
        for guard in made[1:]:
            guard.transport.abort()
        for end in theirs:
            end.close()
        tasks.cancel_scope.cancel()

    assert made[0].looked == 1


def _same(guard: Guard) -> Guard:
    return guard
