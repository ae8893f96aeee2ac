"""What does a small call cost? CPU of the whole tree, latency at a fixed rate, and throughput, beside the peers."""

from dataclasses import replace
from functools import partial

from dataplane.answers import echo as echo_call
from dataplane.loads import at_rate, hammer
from dataplane.rounds import Bench, Samples

CONNECTIONS = 64
RATE = 200.0
OPEN_S = 1.5  # times as long: a 99th percentile wants 600 calls
SLOW_ROUNDS = 2  # of Ray, whose daemons keep the machine busy while it is up
PLAIN, ASYNC = "glowplug", "glowplug, async def"


def echo(bench: Bench) -> None:
    """CPU of a call over the whole tree; the figure is the plain `def`."""
    call = echo_call()
    with bench.side_by_side("echo_app.py", "echo", call, ("mosec", "prototype", "starlette")) as (
        ours,
        servers,
        missing,
    ):
        here = {PLAIN: ours.server("echo"), ASYNC: ours.server("echo-async")} | servers
        loads = {name: partial(hammer, server, call, CONNECTIONS) for name, server in here.items()}
        samples = bench.alternate(loads, missing)
        # What the same check says when another answer is expected.
        control = hammer(here[ASYNC], replace(call, expect="another"), CONNECTIONS, 1.0).bad
    for peer in ("mosec", "prototype"):
        other = _other(samples, peer, "cpu_us")
        name = f"echo_cpu_ratio_{peer}"
        bench.ratio(name, samples, peer, "cpu_us", async_def=other, control=control)


def open_rate(bench: Bench) -> None:
    """Latency at 200 calls a second, from the moment each was due."""
    call = echo_call()
    with bench.side_by_side("echo_app.py", "echo", call, ("mosec", "starlette")) as (
        ours,
        servers,
        missing,
    ):
        here = {PLAIN: ours.server("echo"), ASYNC: ours.server("echo-async")} | servers
        loads = {name: partial(at_rate, server, call, RATE) for name, server in here.items()}
        samples = bench.longer(OPEN_S).alternate(loads, missing)
    for what in ("p50_ms", "p99_ms"):
        name = f"open_200_{what[:3]}_ratio_mosec"
        bench.ratio(name, samples, "mosec", what, async_def=_other(samples, "mosec", what))


def throughput(bench: Bench) -> None:
    """Calls a second with both cores free for servers and load."""
    call = echo_call()
    peers = ("mosec", "litserve", "bentoml", "starlette")
    with bench.side_by_side("echo_app.py", "echo", call, peers, pinned=False) as (
        ours,
        servers,
        missing,
    ):
        here = {PLAIN: ours.server("echo"), ASYNC: ours.server("echo-async")} | servers
        loads = {name: partial(hammer, server, call, CONNECTIONS) for name, server in here.items()}
        samples = bench.alternate(loads, missing)
    for peer in ("mosec", "litserve", "bentoml"):
        name = f"throughput_ratio_{peer}"
        bench.ratio(name, samples, peer, "rate", async_def=_other(samples, peer, "rate"))
    _beside_ray(bench.shorter(SLOW_ROUNDS))


def _beside_ray(bench: Bench) -> None:
    call = echo_call()
    with bench.side_by_side("echo_app.py", "echo", call, ("ray",), pinned=False) as (
        ours,
        servers,
        missing,
    ):
        here = {PLAIN: ours.server("echo")} | servers
        loads = {name: partial(hammer, server, call, CONNECTIONS) for name, server in here.items()}
        samples = bench.alternate(loads, missing)
    bench.ratio("throughput_ratio_ray", samples, "ray", "rate")


def _other(samples: Samples, peer: str, what: str) -> float | None:
    """Return the same ratio for the `async def`."""
    if samples.flaw(ASYNC) or samples.flaw(peer):
        return None
    return round(samples.typical(ASYNC, what) / samples.typical(peer, what), 4)
