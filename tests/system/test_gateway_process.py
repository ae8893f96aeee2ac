"""How does a gateway process end: by a signal, and when its supervisor is gone?"""

import os
import signal
import socket
import sys
from pathlib import Path
from subprocess import DEVNULL

import anyio
import pytest

from glowplug.settings import environment
from glowplug.wire.messages import to_json
from glowplug_router.records.published import Snapshot
from system.gateway_fakes import FakeRank
from system.gateway_rig import PEPPER, TOKEN_SECRET, endpoint, key, request, version

PROGRAM = """
import socket, sys
from pathlib import Path
import anyio
from glowplug.clock import SystemClock
from glowplug.settings import Home
from glowplug_router.gateway.main import run_gateway
from glowplug_router.gateway.settings import GatewaySettings
from glowplug_router.telemetry.logging import configure

async def main():
    sock = socket.socket(fileno=int(sys.argv[2]))
    await run_gateway(Home(Path(sys.argv[1])), [sock], GatewaySettings(), SystemClock(), leash_fd=int(sys.argv[3]))

configure(Path(sys.argv[1]), "gateway")
anyio.run(main, backend_options={"use_uvloop": True})
"""


@pytest.mark.parametrize("way", ["signal", "leash"])
async def test_a_gateway_ends_in_order_and_the_socket_stays_open_for_the_next(
    tmp_path: Path, way: str
) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    read_fd, write_fd = os.pipe()
    route, token = key("invoke:*")
    rank = FakeRank("r1", "app/echo@1", tmp_path / "r1.d")
    routes = (endpoint("app/echo", version(replicas=(rank.route,))),)
    snapshot = Snapshot(
        number=1, epoch=1, endpoints=routes, keys=(route,), pepper=PEPPER, token_secret=TOKEN_SECRET
    )
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "snapshot.json").write_bytes(to_json(snapshot))
    server = await rank.start()
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(sock.fileno()), str(read_fd)]
    process = await anyio.open_process(
        command,
        pass_fds=(sock.fileno(), read_fd),
        stdout=DEVNULL,
        stderr=None,
        env={**environment(), "PYTHONPATH": ":".join(sys.path)},
    )
    os.close(read_fd)
    async with process:
        assert b"HTTP/1.1 200 OK" in await _ask(sock, token)
        if way == "signal":
            process.send_signal(signal.SIGTERM)
        else:
            os.close(write_fd)
        with anyio.fail_after(10):
            assert await process.wait() == 0

    # Nobody accepts, and yet nobody is refused: the connection waits for the next gateway.
    async with await anyio.connect_tcp("127.0.0.1", sock.getsockname()[1]):
        pass
    log = (tmp_path / "gateway.jsonl").read_text()
    assert "loaded snapshot 1" in log
    assert token not in log
    for link in rank.links:
        link.abort()
    server.close()
    sock.close()
    if way == "signal":
        os.close(write_fd)


async def _ask(sock: socket.socket, token: str) -> bytes:
    with anyio.fail_after(20):
        async with await anyio.connect_tcp("127.0.0.1", sock.getsockname()[1]) as stream:
            await stream.send(request("POST", "/app/echo", b"{}", token=token))
            return await stream.receive()
