"""What does overload do? Fairness and isolation in virtual time, a step's cost, and one herd for real."""

# The modules that run the dispatcher or the wire themselves are imported by the rows that need them: measuring one
# row must not wait for the others.

import threading
import time
from typing import Any

from report import beside, figure

from dataplane.answers import Question
from dataplane.loads import Sample, at_rate, program
from dataplane.rounds import BENCH, Bench, Deployed

WARM = 20  # endpoints, as in peers/herd_app.py
WARM_RATE = 200.0  # calls a second, over all of them
WARM_S = 6.0  # the herd connects first, which takes a second or two
HERD = 10_000
HERD_CONNECTIONS = 5_000  # so many are there at once; each asks again when it was answered
HERD_AFTER_S = 1.0
HERD_WAIT_S = 60.0
ZERO_WAIT_S = 60.0
CALL = Question(b'{"id": "a"}', "a")


def hop(_: Bench) -> None:
    """CPU of 1 MiB there and back between two processes."""
    from dataplane import hop as measured

    cost = measured.measure()
    figure(
        BENCH,
        "tensor_1mib_hop_cpu_ms",
        cost["echo_ms"],
        unit="ms",
        n=measured.ROUNDS,
        how="CPU of both processes for 1 MiB there and back, best round",
        ways={name: round(value, 4) for name, value in cost.items()},
    )


def overload(_: Bench) -> None:
    """Four classes of eight tenants at twice the capacity, in virtual time."""
    from dataplane import virtual

    found = virtual.overload()
    more = {"how": "virtual time", "found": _rounded(found)}
    figure(
        BENCH,
        "overload_critical_p99_ratio",
        found["critical_p99_ratio"],
        unit="ratio",
        n=1,
        **more,
    )
    figure(BENCH, "overload_jain", found["jain"], unit="index", n=1, how="virtual time")
    figure(
        BENCH, "overload_batch_share", found["batch_share"], unit="share", n=1, how="virtual time"
    )


def dispatch(_: Bench) -> None:
    """CPU of one step with 1,000 endpoints and 5,000 replicas, and the memory of a waiting call."""
    from dataplane import virtual

    found = virtual.dispatch_steps()
    figure(
        BENCH,
        "dispatch_p99_us",
        found["p99_us"],
        unit="us",
        n=found["steps"],
        found=_rounded(found),
    )
    from dataplane import in_process  # the gateway itself: only this row needs it

    inside = in_process.figures()
    beside(BENCH, "queued_bytes", inside["queued_bytes"], unit="bytes", n=64, bound=2048)
    beside(BENCH, "gateway_python_us", inside["cpu_us"], unit="us", n=60)


def herd(bench: Bench) -> None:
    """10,000 calls at a cold endpoint beside warm ones: in virtual time, and once for real."""
    from dataplane import virtual

    found = virtual.cold_herd()
    with bench.deployed("herd_app.py", pinned=False) as ours:
        real = _real_herd(ours)
    figure(
        BENCH,
        "cold_herd_warm_p99_ratio",
        found["warm_p99_ratio"],
        unit="ratio",
        n=1,
        how="virtual time",
        found=_rounded(found),
        real=real,
    )


def _real_herd(ours: Deployed) -> dict[str, Any]:
    cold = ours.server("cold")
    paths = [ours.server(f"warm-{number}").path for number in range(WARM)]
    at_rate(cold, CALL, WARM_RATE, 1.0, paths=paths)
    quiet = at_rate(cold, CALL, WARM_RATE, WARM_S, paths=paths)
    _until_cold_is_gone(ours)
    spec = {
        "port": cold.port,
        "path": cold.path,
        "headers": cold.headers | {"content-type": "application/json"},
        "body": CALL.body.decode(),
        "calls": HERD,
        "connections": HERD_CONNECTIONS,
        "seconds": HERD_WAIT_S,
    }
    seen: list[dict[str, Any]] = []

    def stampede() -> None:
        time.sleep(HERD_AFTER_S)
        seen.append(program("herd", spec, HERD_WAIT_S))

    thread = threading.Thread(target=stampede)
    thread.start()
    loud = at_rate(cold, CALL, WARM_RATE, WARM_S, paths=paths)
    thread.join()
    return {
        "warm_quiet": _warm(quiet),
        "warm_beside_herd": _warm(loud),
        "p99_ratio": round((loud.p99_ms or 0) / (quiet.p99_ms or 1), 3),
        "herd": seen[0] if seen else "it failed",
        "foreign": round(quiet.foreign, 3),
    }


def _warm(sample: Sample) -> dict[str, Any]:
    return {
        "n": sample.n,
        "bad": sample.bad,
        "p50_ms": round(sample.p50_ms or 0, 2),
        "p99_ms": round(sample.p99_ms or 0, 2),
    }


def _until_cold_is_gone(ours: Deployed) -> None:
    """Wait until the cold endpoint has no replica left."""
    end = time.monotonic() + ZERO_WAIT_S
    while time.monotonic() < end:
        record = ours.here.run("status", ours.app)
        if not any(one["replicas"] for one in record["endpoints"] if one["endpoint"] == "cold"):
            return
        time.sleep(0.2)
    raise SystemExit("the cold endpoint never reached zero")


def _rounded(found: dict[str, Any]) -> dict[str, Any]:
    return {name: round(one, 4) if isinstance(one, float) else one for name, one in found.items()}
