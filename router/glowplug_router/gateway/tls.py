"""How does HTTPS reach the guard? Connections are looked at before the handshake, and certificates renewed under way.

The first byte of a connection tells TLS from plain HTTP. Whoever comes with plain HTTP is told so in plain HTTP, which
no TLS library does; all others shake hands, in bounded time and number, and are then a connection like any other.
"""

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import anyio

from glowplug.clock import SECOND, Clock
from glowplug_router.gateway.answers import trouble_answer
from glowplug_router.gateway.problems import bad_request
from glowplug_router.gateway.settings import GatewaySettings

_LOG = logging.getLogger("glowplug.gateway")
_HANDSHAKE = (
    b"\x16"  # the first byte of every TLS connection: a record of type handshake (RFC 8446, 5.1)
)
_NO_PASSWORD = ""  # an encrypted key must fail at once, not ask at a terminal
_PAUSE_S = 0.1  # after an accept that failed: descriptors may have run out

MakeProtocol = Callable[[], asyncio.Protocol]


class Certificate:
    """The pair of files that the router shows, and the context that has them loaded."""

    def __init__(self, cert: str, key: str) -> None:
        self._files = (cert, key)
        self._seen = _marks(self._files)
        self.context = _context(self._files)

    def refresh(self) -> bool:
        """Use the files from the next handshake on if they have changed; one that cannot be used changes nothing."""
        try:
            marks = _marks(self._files)
            if marks == self._seen:
                return False
            self.context = _context(
                self._files
            )  # a new one: half a pair must not get into the one in use
        except (OSError, ssl.SSLError) as error:
            _LOG.error(
                "the certificate %s cannot be used, the old one stays: %s", self._files[0], error
            )
            return False
        self._seen = marks
        _LOG.info("loaded the certificate %s anew", self._files[0])
        return True

    async def follow(self, clock: Clock, look_ns: int) -> None:
        """Look at the files now and then, and when told by SIGHUP."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow_signals)
            while True:
                await clock.sleep(look_ns / SECOND)
                self.refresh()

    async def _follow_signals(self) -> None:
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            async for _ in signals:
                self.refresh()


def _marks(files: tuple[str, str]) -> tuple[tuple[int, int, int], ...]:
    found = (Path(file).stat() for file in files)
    return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)


def _context(files: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996 forbids what is older
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(*files, password=_NO_PASSWORD)
    return context


class TlsDoor:
    """Takes connections from a listening socket."""

    def __init__(
        self, certificate: Certificate, settings: GatewaySettings, make_protocol: MakeProtocol
    ) -> None:
        self._certificate = certificate
        self._settings = settings
        self._make_protocol = make_protocol
        self._waiting = 0  # connections that have not shaken hands yet

    async def serve(self, sock: socket.socket) -> None:
        """Take connections until cancelled."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as tasks:
            while True:
                try:
                    connection, _ = await loop.sock_accept(sock)
                except OSError as error:
                    _LOG.error("cannot take a connection: %s", error)
                    await anyio.sleep(_PAUSE_S)
                    continue
                if self._waiting < self._settings.connections_max:
                    self._waiting += 1
                    tasks.start_soon(self._admit, connection)
                else:
                    connection.close()

    async def _admit(self, connection: socket.socket) -> None:
        """Let a connection in if it shakes hands in the time that a head may take."""
        is_in = False
        try:
            with anyio.move_on_after(self._settings.head_ns / SECOND):
                first = await _first_byte(connection)
                if first == _HANDSHAKE:
                    await self._shake_hands(connection)
                    is_in = True
                elif first:
                    await _turn_away(connection)
        except (OSError, ssl.SSLError):
            pass  # it went away, or speaks a TLS that we do not
        except Exception:  # it would end the calls of all the others
            _LOG.exception("a connection broke in a way nobody foresaw")
        finally:
            self._waiting -= 1
            if not is_in:
                connection.close()

    async def _shake_hands(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit_s = self._settings.head_ns / SECOND
        await loop.connect_accepted_socket(
            self._make_protocol,
            connection,
            ssl=self._certificate.context,
            ssl_handshake_timeout=limit_s,
        )


async def _first_byte(connection: socket.socket) -> bytes:
    """Return the first byte that came, and leave it where it is; nothing when the other side has closed."""
    connection.setblocking(False)
    await anyio.wait_readable(connection)
    return connection.recv(1, socket.MSG_PEEK)


async def _turn_away(connection: socket.socket) -> None:
    trouble = bad_request(
        "this port speaks HTTPS, and the request came in plain HTTP", "write https:// in the URL"
    )
    answer = trouble_answer(trouble, "-", date=b"", close=True)
    await asyncio.get_running_loop().sock_sendall(connection, answer)
    connection.recv(65536)  # what lies unread would reset the connection, and the answer with it
