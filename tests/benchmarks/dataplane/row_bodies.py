"""What do large bodies and streams cost? 1 MiB over the hop and over HTTP, and a hundred chunks to 32 readers."""

from collections.abc import Mapping
from functools import partial

from dataplane.answers import blob as blob_call
from dataplane.loads import hammer, read_streams
from dataplane.rounds import Bench, Load, Samples
from dataplane.servers import Server

BODY_CONNECTIONS = 4
READERS = 32
PLAIN, ASYNC = "glowplug", "glowplug, async def"


def http(bench: Bench) -> None:
    """A body of 1 MiB there and back over HTTP, beside one process that needs no hop."""
    call = blob_call()
    peers = ("starlette", "prototype", "mosec")
    with bench.side_by_side("payload_app.py", "blob", call, peers) as (ours, servers, missing):
        here = {PLAIN: ours.server("blob")} | servers
        loads = {
            name: partial(hammer, server, call, BODY_CONNECTIONS) for name, server in here.items()
        }
        samples = bench.alternate(loads, missing)
    free = _on_both_cores(bench)
    bench.ratio("http_1mib_ratio_starlette", samples, "starlette", "rate", both_cores=free)


def _on_both_cores(bench: Bench) -> dict[str, object]:
    """Return the same with nothing pinned: two processes can then work at once."""
    call = blob_call()
    with bench.side_by_side("payload_app.py", "blob", call, ("starlette",), pinned=False) as (
        ours,
        servers,
        missing,
    ):
        here = {PLAIN: ours.server("blob")} | servers
        loads = {
            name: partial(hammer, server, call, BODY_CONNECTIONS) for name, server in here.items()
        }
        samples = bench.shorter(3).alternate(loads, missing)
    return _told(samples, "starlette")


def stream(bench: Bench) -> None:
    """Chunks a second over 32 connections, each a stream of a hundred after another."""
    with bench.side_by_side(
        "payload_app.py", "stream", None, ("mosec", "starlette", "prototype")
    ) as (
        ours,
        servers,
        missing,
    ):
        here = {PLAIN: ours.server("stream"), ASYNC: ours.server("stream-async")} | servers
        samples = bench.alternate(_readers(here), missing)
    with bench.side_by_side("payload_app.py", "stream", None, ("starlette",), pinned=False) as (
        ours,
        servers,
        missing,
    ):
        here = {PLAIN: ours.server("stream"), ASYNC: ours.server("stream-async")} | servers
        free = _told(bench.shorter(3).alternate(_readers(here), missing), "starlette")
    for peer in ("mosec", "starlette"):
        other = _told(samples, peer, ASYNC)["ratio"]
        first = samples.told("p50_ms")["peers"]
        more = {"async_def": other, "first_chunk_p50_ms": first, "both_cores": free}
        bench.ratio(f"stream_ratio_{peer}", samples, peer, "rate", PLAIN, **more)


def _readers(servers: Mapping[str, Server]) -> dict[str, Load]:
    return {name: partial(read_streams, server, READERS) for name, server in servers.items()}


def _told(samples: Samples, peer: str, ours: str = PLAIN) -> dict[str, object]:
    flaw = samples.flaw(ours) or samples.flaw(peer)
    if flaw:
        return {"ratio": None, "reason": flaw}
    ratio = samples.typical(ours, "rate") / samples.typical(peer, "rate")
    return {"ratio": round(ratio, 3), "peers": samples.told("rate")["peers"]}
