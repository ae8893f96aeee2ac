"""Does a real rank serve gateways of other hosts, share memory with those of its own, and keep streams apart?"""

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import anyio
import pytest

from certificates import certificate_for
from glowplug.clock import SystemClock
from glowplug.errors import WireError
from glowplug.node.messages import RankLaunch, RemoteSocket
from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.memfd import has_memfd
from glowplug.wire.messages import Hello, Response, pack, unpack_hello
from glowplug.wire.ring import RING_MIN
from glowplug.wire.tls import trusting
from glowplug.wire.transport import FrameProtocol, dial
from glowplug_router.gateway.calls import Call, Caller
from glowplug_router.gateway.dialer import Dialer
from glowplug_router.gateway.engine import Engine
from glowplug_router.gateway.links import DataLink, Inbox
from glowplug_router.gateway.routes import Lane
from glowplug_router.records.published import RouteReplica
from system.rank_process import PATIENCE_S, Gateway, Rank, call, launch_of, ready, running

TOKEN = "what members know"
ECHO = """
from glowplug import endpoint

@endpoint
def echo(raw: bytes) -> bytes:
    return raw
"""
STREAM = """
from collections.abc import Iterator
from glowplug import endpoint

@endpoint
def echo(count: int, size: int) -> Iterator[str]:
    for _ in range(count):
        yield "x" * size
"""
WINDOW_BYTES = 256 * 1024  # docs/architecture.md: what may be on its way to a reader
OCTETS = (("content-type", "application/octet-stream"),)
needs_memfd = pytest.mark.skipif(
    not has_memfd(), reason="this machine has no memfd, or is to do without"
)


# -- other hosts -----------------------------------------------------------------------------------


@dataclass
class Desk:
    """What a link asks of the gateway's engine, kept."""

    ready: list[tuple[str, int]] = field(default_factory=list)
    answers: list[tuple[Response, bytes]] = field(default_factory=list)
    lost: int = 0

    def replica_ready(self, link: DataLink, version: str, permits: int, ahead: int = 0) -> None:
        self.ready.append((version, permits))

    def replica_lost(self, replica: str) -> None:
        self.lost += 1

    def replica_leaving(self, replica: str) -> None:
        pass

    def whole(self, call: Call, response: Response, body: bytes) -> None:
        self.answers.append((response, body))


class NoInbox(Inbox):
    """Code in these ranks calls nothing."""

    def drop(self, link: DataLink) -> None:
        pass


@dataclass
class ALane:
    """As much of a lane as a link looks at."""

    name: str = "demo/echo"
    key: str = "demo/echo@1"
    dev: bool = False


def far_call(body: bytes) -> Call:
    return Call(
        cast(Caller, None), cast(Lane, ALane()), "/echo",
        request_id="r1", body=body, deadline_ns=0, tenant="ten", klass="standard", headers=OCTETS,
    )  # fmt: skip


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event of its own
            await anyio.sleep(0.005)


def far_launch(tmp_path: Path, scheme: str) -> tuple[RankLaunch, str, ssl.SSLContext | None]:
    """Return the launch of a rank that other hosts can reach, where they reach it and whom they trust."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"{scheme}:127.0.0.1:{free.getsockname()[1]}"
    launch = launch_of(tmp_path, ECHO)
    if scheme == "tcp":
        return (
            replace(launch, remote_socket=RemoteSocket(address=address, token=TOKEN)),
            address,
            None,
        )
    made = certificate_for(tmp_path)
    remote = RemoteSocket(
        address=address, token=TOKEN, certificate=str(made.certificate), key=str(made.key)
    )
    return replace(launch, remote_socket=remote), address, trusting(made.certificate)


@asynccontextmanager
async def dialled(
    address: str, token: str, trust: ssl.SSLContext | None
) -> AsyncIterator[tuple[Dialer, Desk]]:
    """Have a gateway's dialer keep a link to the rank."""
    desk = Desk()
    hello = Hello("gateway", "gw-far", token=token)

    def link(replica: str) -> DataLink:
        return DataLink(cast(Engine, desk), NoInbox(), hello, replica)

    async with anyio.create_task_group() as tasks:
        dialer = Dialer(link, SystemClock(), tasks, trust)
        dialer.want(
            {"rep-1": ("demo/echo@1", RouteReplica(id="rep-1", address=address, permits=1))}
        )
        yield dialer, desk
        dialer.close()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
async def test_a_gateway_of_another_host_calls_with_its_token(tmp_path: Path, scheme: str) -> None:
    launch, address, trust = far_launch(tmp_path, scheme)
    async with ready(launch), dialled(address, TOKEN, trust) as (dialer, desk):
        await until(lambda: bool(desk.ready))
        assert desk.ready[0] == ("demo/echo@1", 1)

        for body in (b"small", os.urandom(3_000_000)):
            desk.answers.clear()
            dialer.links["rep-1"].carry(far_call(body), 0)
            await until(lambda: bool(desk.answers))
            ((response, answer),) = desk.answers
            assert (response.status, answer == body) == (200, True)


async def test_a_gateway_with_the_wrong_token_is_not_heard(tmp_path: Path) -> None:
    launch, address, trust = far_launch(tmp_path, "tls")
    async with ready(launch) as rank, dialled(address, "guessed", trust) as (_, desk):
        await until(lambda: desk.lost >= 3)  # it tries again and again
        assert (desk.ready, desk.answers) == ([], [])

        answer = await rank.gateway.ask(b"here", call(headers=OCTETS))
        assert answer[1] == b"here"  # the other socket knows nothing of it


async def test_who_does_not_speak_tls_or_trusts_another_host_gets_nowhere(tmp_path: Path) -> None:
    launch, address, _ = far_launch(tmp_path, "tls")
    (tmp_path / "other").mkdir()
    stranger = certificate_for(tmp_path / "other")
    async with ready(launch):
        plain = await dial(address.replace("tls:", "tcp:"), Gateway)
        plain.send(Kind.HELLO, 0, pack(Hello("gateway", token=TOKEN)))
        with pytest.raises(WireError, match="closed the connection"):
            await plain.until(lambda: bool(plain.hellos))
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(address, Gateway, tls=trusting(stranger.certificate))


async def test_a_rank_that_cannot_serve_where_it_should_fails_and_says_why(tmp_path: Path) -> None:
    launch, _, _ = far_launch(tmp_path, "tls")
    assert launch.remote_socket is not None
    Path(launch.remote_socket.key).unlink()

    async with running(launch) as rank:
        stats = await rank.stats()
        assert stats.state == "failed"
        assert "cannot serve TLS with" in stats.detail


# -- shared memory ---------------------------------------------------------------------------------


class Sharing(Gateway):
    """A gateway's end that shares memory, as real ones do."""

    def connected(self) -> None:
        self.greet()

    def greet(self) -> None:
        self.send(Kind.HELLO, 0, pack(Hello("gateway", "gw", ring=self.ring_offer())))

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if kind == Kind.HELLO:
            self.hear_offer(unpack_hello(meta).ring)
        super().frame(kind, flags, rid, meta, body)

    @property
    def carried(self) -> tuple[int, int]:
        """Return how many bodies went out and came in through shared memory."""
        assert self._lane is not None
        return self._lane._extents.generation, self._lane._arrivals._generation


@asynccontextmanager
async def sharing(rank: Rank) -> AsyncIterator[Sharing]:
    gateway = await dial(f"unix:{rank.launch.data_socket}", Sharing)
    await gateway.until(lambda: bool(gateway.hellos))
    try:
        yield gateway
    finally:
        gateway.abort()


@needs_memfd
async def test_large_bodies_reach_user_code_and_come_back_through_shared_memory(
    tmp_path: Path,
) -> None:
    async with ready(launch_of(tmp_path, ECHO)) as rank, sharing(rank) as gateway:
        for number, size in enumerate((RING_MIN, 1_000_000, RING_MIN - 1, 8_000_000)):
            body = os.urandom(size)
            assert (await gateway.ask(body, call(headers=OCTETS)))[1] == body
            assert gateway.carried == ((0, 0), (1, 1), (1, 1), (2, 2))[number]


@needs_memfd
async def test_the_gateway_s_own_link_shares_memory_with_a_rank(tmp_path: Path) -> None:
    launch = launch_of(tmp_path, ECHO)
    async with ready(launch), dialled(f"unix:{launch.data_socket}", "", None) as (dialer, desk):
        await until(lambda: bool(desk.ready))
        lane = dialer.links["rep-1"]._lane
        assert lane is not None
        for count in (1, 2, 3):
            body = os.urandom(1_000_000)
            dialer.links["rep-1"].carry(far_call(body), 0)
            await until(lambda count=count: len(desk.answers) == count)  # type: ignore[misc]  # a default binds the loop's value
            assert desk.answers[-1][1] == body
        assert (lane._extents.generation, lane._arrivals._generation) == (2, 2)


@needs_memfd
async def test_the_memory_of_a_rank_that_was_killed_is_let_go(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, ECHO)) as rank, sharing(rank) as gateway:
        for _ in range(2):
            await gateway.ask(bytes(RING_MIN), call(headers=OCTETS))
        assert mappings() == 2

        rank.process.send_signal(signal.SIGKILL)
        await until(lambda: gateway.closed)
        assert mappings() == 0


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("/memfd:glowplug")


def test_a_machine_without_memfds_shares_none() -> None:
    for without, expected in (("pidfd,memfd", "0"), ("pidfd", str(FrameProtocol.ring_bytes))):
        said = subprocess.run(
            [sys.executable, "-c", "from glowplug.wire.transport import FrameProtocol as F; print(F.ring_bytes)"],
            env={"GLOWPLUG_WITHOUT": without, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        )  # fmt: skip
        assert said.stdout.strip() == expected


# -- credit ----------------------------------------------------------------------------------------


async def test_a_reader_that_never_credits_stops_its_own_stream_alone(tmp_path: Path) -> None:
    launch = launch_of(tmp_path, STREAM, concurrency=2)
    lines = call(headers=(("accept", "application/x-ndjson"),))
    body = b'{"count": 200, "size": 40000}'
    async with ready(launch) as rank:
        gateway = rank.gateway
        stalled, flowing = gateway.open(body, lines), gateway.open(body, lines)
        await taken_whole(gateway, flowing)

        assert received(gateway, flowing) > 200 * 40_000
        assert received(gateway, stalled) == WINDOW_BYTES
        await taken_whole(gateway, stalled)
        assert received(gateway, stalled) == received(gateway, flowing)


async def taken_whole(gateway: Gateway, rid: int) -> None:
    """Credit whatever arrives until the stream has ended."""
    credited = 0

    def has_more() -> bool:
        return received(gateway, rid) > credited or ended(gateway, rid)

    while not ended(gateway, rid):
        await gateway.until(has_more)
        gateway.credit(rid, received(gateway, rid) - credited)
        credited = received(gateway, rid)


def received(gateway: Gateway, rid: int) -> int:
    return sum(len(one.body) for one in gateway.frames.get(rid, ()) if one.kind == Kind.CHUNK)


def ended(gateway: Gateway, rid: int) -> bool:
    return any(one.flags & FLAG_END for one in gateway.frames.get(rid, ()))
