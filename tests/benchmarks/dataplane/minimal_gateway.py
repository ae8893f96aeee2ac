"""Which gateway is measured? The real one, told of one rank by a snapshot on disk, without controller or agent.

`python minimal_gateway.py HOME PORT [asyncio] [profile]`
"""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

from glowplug.clock import SECOND, SystemClock
from glowplug.settings import Home
from glowplug.wire.messages import to_json
from glowplug_router.gateway.main import run_gateway
from glowplug_router.gateway.settings import GatewaySettings
from glowplug_router.keys import make_key
from glowplug_router.records.published import (
    RouteEndpoint,
    RouteKey,
    RouteReplica,
    RouteVersion,
    Snapshot,
)

PEPPER, TOKEN_SECRET = "11" * 32, "22" * 32
PERMITS = 256
VERSION = "bench/echo@1"


def write_home(folder: Path, permits: int = PERMITS) -> str:
    """Write a home whose last snapshot has bench/echo and bench/sse; return a key that may call them."""
    home = Home(folder)
    home.run.mkdir(parents=True, exist_ok=True)
    home.router.mkdir(parents=True, exist_ok=True)
    record, token = make_key(
        pepper_hex=PEPPER, tenant="ten", scopes=("invoke:*",), wall_ns=0, expires_wall_ns=0
    )
    key = RouteKey(id=record.id, mac=record.mac, tenant=record.tenant, scopes=record.scopes)
    endpoints = tuple(_route(home, name, permits) for name in ("echo", "sse"))
    snapshot = Snapshot(
        number=1,
        epoch=1,
        endpoints=endpoints,
        keys=(key,),
        pepper=PEPPER,
        token_secret=TOKEN_SECRET,
    )
    (home.router / "snapshot.json").write_bytes(to_json(snapshot))
    (folder / "bench.json").write_text(json.dumps({"key": token}))
    return token


def data_socket(folder: Path, name: str) -> Path:
    """Return where the rank of an endpoint listens."""
    return Home(folder).run / f"{name}.d"


def _route(home: Home, name: str, permits: int) -> RouteEndpoint:
    replica = RouteReplica(
        id="r1" if name == "echo" else f"r-{name}",
        address=f"unix:{home.run / name}.d",
        permits=permits,
    )
    version = RouteVersion(
        number=1,
        permille=1000,
        replicas=(replica,),
        permits=permits,
        max_replicas=1,
        hold=256,
        queue_ns=60 * SECOND,
        start_ns=60 * SECOND,
        run_ns=300 * SECOND,
    )
    return RouteEndpoint(app="bench", endpoint=name, auth="key", versions=(version,), stable=1)


async def main(folder: str, port: str) -> None:
    """Serve until SIGTERM."""
    sock = socket.create_server(("127.0.0.1", int(port)), backlog=1024)
    await run_gateway(Home(Path(folder)), [sock], GatewaySettings(), SystemClock())


def run(folder: str, port: str, *flags: str) -> None:
    """Run on uvloop, or on asyncio's own loop; under a profiler when asked."""
    if "asyncio" in flags:
        runner = asyncio.run
    else:
        import uvloop

        runner = uvloop.run
    if "profile" not in flags:
        runner(main(folder, port))
        return
    import cProfile
    import pstats

    profile = cProfile.Profile()
    profile.runcall(runner, main(folder, port))
    pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    run(*sys.argv[1:])
