"""Does the fence around the tests hold?"""

import socket

import anyio
import pytest


def test_a_connection_beyond_this_machine_is_refused() -> None:
    with socket.socket() as client, pytest.raises(PermissionError, match=r"192\.0\.2\.1"):
        client.connect(("192.0.2.1", 80))


def test_a_name_is_not_looked_up() -> None:
    with pytest.raises(PermissionError, match=r"example\.com"):
        socket.getaddrinfo("example.com", 443)


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()):
            peer, _ = server.accept()
        peer.close()


async def test_an_async_test_needs_no_mark() -> None:
    await anyio.lowlevel.checkpoint()
