"""How does a test stand at both ends of a socket of any kind?"""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel

from certificates import Certificate
from glowplug.wire.frames import Frame, Kind
from glowplug.wire.messages import Hello, pack, unpack_hello
from glowplug.wire.tls import serving, trusting
from glowplug.wire.transport import FrameProtocol, dial, listen

PATIENCE_S = 10.0
TOKEN = "a long secret"
HELLO = Hello("gateway", "gw", token=TOKEN)


class Peer(FrameProtocol):
    """One end: greets, keeps frames."""

    def __init__(self, hello: Hello = HELLO) -> None:
        super().__init__()
        self.hello = hello
        self.frames: list[Frame] = []
        self.greetings = 0
        self.is_lost = False

    def connected(self) -> None:
        self.greet()

    def greet(self) -> None:
        hello = Hello(self.hello.role, token=self.hello.token, ring=self.ring_offer())
        self.send(Kind.HELLO, 0, pack(hello))

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if kind == Kind.HELLO:
            self.greetings += 1
            self.hear_offer(unpack_hello(meta).ring)
        else:
            self.frames.append(Frame(kind, flags, rid, meta, body))

    def lost(self, error: Exception | None) -> None:
        assert not self.is_lost
        self.is_lost = True

    @property
    def carried(self) -> int:
        """Say how many of the bodies that it sent went through shared memory."""
        return 0 if self._lane is None else self._lane._extents.generation


class Alone(Peer):
    """One that shares no memory."""

    ring_bytes = 0


@dataclass
class Stage:
    """Both ends of a connection, and the door for more."""

    address: str
    trust: ssl.SSLContext | None
    dialled: Peer
    accepted: list[Peer] = field(default_factory=list)

    async def stranger(self, hello: Hello) -> Peer:
        return await dial(self.address, lambda: Peer(hello), tls=self.trust)


@asynccontextmanager
async def standing(way: str, tmp_path: Path, certificate: Certificate) -> AsyncIterator[Stage]:
    accepted: list[Peer] = []
    kind = Alone if way == "unix-alone" else Peer

    def accept() -> Peer:
        accepted.append(kind(Hello("replica")))
        return accepted[-1]

    serve, trust = None, None
    if way == "tls":
        serve = serving(certificate.certificate, certificate.key)
        trust = trusting(certificate.certificate)
    near = way.startswith("unix")
    where: str | Path = tmp_path / "s" if near else f"{way}:127.0.0.1:0"
    server = await listen(where, accept, token="" if near else TOKEN, tls=serve)
    port = 0 if near else server.sockets[0].getsockname()[1]
    address = f"unix:{where}" if near else f"{way}:127.0.0.1:{port}"
    dialled = await dial(address, kind, tls=trust)
    await settled(lambda: bool(accepted) and accepted[0].greetings > 0 and dialled.greetings > 0)
    made = Stage(address, trust, dialled, accepted)
    yield made
    server.close()
    for one in (dialled, *accepted):
        one.abort()
    # Whoever failed its TLS handshake never became a connection.
    await settled(lambda: all(one.closed or one.transport is None for one in accepted))


async def settled(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():
            await anyio.lowlevel.checkpoint()


def body_of(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(size % 251)
