"""Who dials the controller? One socket for agents and gateways; the peer's HELLO says which it is.

The socket is private to one user: its file has mode 0600, and the kernel says who is at the other end (SO_PEERCRED).
"""

import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import TaskGroup, TaskStatus

from glowplug.errors import ConfigError, UnavailableError
from glowplug.wire.channel import Channel, Exchange, Spawn
from glowplug.wire.messages import Hello
from glowplug.wire.transport import listen
from glowplug_router.telemetry.logging import logger

_LOG = logger("glowplug.controller.listener")
GREETING_MAX_S = 5.0  # a peer that says nothing for so long is no daemon of ours
_PEERCRED = struct.Struct("3i")  # pid, uid, gid


class Peer(Channel):
    """A connection somebody dialled; greets only those of the same user."""

    def __init__(self, hello: Hello, listener: "Listener") -> None:
        super().__init__(hello, self._dispatch, listener.spawn, dialling=False)
        self._listener = listener

    def connected(self) -> None:
        """Check who it is, greet, and wait for the peer's own greeting in a task."""
        assert self.transport is not None
        if not is_own_user(self.transport.get_extra_info("socket")):
            _LOG.warning("a connection of another user was refused")
            self.abort()
            return
        super().connected()
        self._listener.spawn(self._listener.welcome, self)

    async def _dispatch(self, exchange: Exchange) -> None:
        role = self._listener.roles.get((await self.ready()).role)
        if role is None:
            exchange.fail("forbidden", f"nobody of role {self.peer} may ask here")
            return
        await role.answer(self, exchange)


@dataclass(frozen=True, slots=True)
class Role:
    """What a listener does with the peers of one role."""

    serve: Callable[[Channel], Awaitable[None]]  # runs as long as the connection stands
    answer: Callable[[Channel, Exchange], Awaitable[None]]  # one request of the peer


class Listener:
    """Accepts peers and hands each to what serves its role."""

    def __init__(
        self, path: Path, hello: Hello, roles: Mapping[str, Role], tasks: TaskGroup
    ) -> None:
        self.roles = roles
        self.spawn: Spawn = tasks.start_soon
        self._path = path
        self._peers: set[Peer] = set()
        self._hello = hello

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            server = await listen(self._path, lambda: Peer(self._hello, self))
        except OSError as error:
            hint = "set GLOWPLUG_HOME to a folder of yours"
            raise ConfigError(
                f"cannot listen on {self._path}: {error.strerror}", hint=hint
            ) from error
        task_status.started()
        try:
            await anyio.sleep_forever()
        finally:
            server.close()
            for peer in self._peers:
                peer.close()

    async def welcome(self, peer: Peer) -> None:
        """Wait for the peer's HELLO, then serve it as long as it is there."""
        self._peers.add(peer)
        try:
            await self._serve(peer)
        finally:
            if peer.closed:
                self._peers.discard(peer)

    async def _serve(self, peer: Peer) -> None:
        hello = await _greeting(peer)
        role = self.roles.get(hello.role)
        if role is None:
            peer.abort()
            await peer.gone()
            return
        _LOG.info("connected", role=hello.role, name=hello.name)
        await role.serve(peer)
        _LOG.info("disconnected", role=hello.role, name=hello.name)


async def _greeting(peer: Peer) -> Hello:
    """Return the peer's HELLO, or an empty one when none came in time."""
    with anyio.move_on_after(GREETING_MAX_S), suppress(UnavailableError):
        return await peer.ready()
    return Hello("")


def is_own_user(sock: socket.socket) -> bool:
    """Say whether the other end belongs to this user, or to root."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # macOS: the mode of the socket's file is all there is
    _, uid, _ = _PEERCRED.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
    )
    return uid in {os.getuid(), 0}
