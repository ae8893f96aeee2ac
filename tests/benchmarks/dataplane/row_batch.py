"""What does batching bring? Throughput and tail beside mosec, what a lone call pays, goodput beyond the capacity."""

import subprocess
from functools import partial

from report import figure, median

from dataplane.answers import PEERS, Question
from dataplane.answers import predict as predict_call
from dataplane.loads import Sample, at_rate, hammer
from dataplane.machine import server_prefix
from dataplane.rounds import BENCH, Bench, Deployed
from dataplane.servers import BARE, MissingPeerError, installed

CLIENTS = 64
LOW_LOAD = 0.05
OVERLOAD = 1.5
SLO_S = 0.050
# As in peers/model_app.py: what one run of the sleeping device costs, what each call in it, and its largest batch.
FIXED_S, ITEM_S, BATCH_MAX = 0.005, 0.0002, 32


def batch(bench: Bench) -> None:
    """The model under 64 clients beside mosec; then alone at a twentieth of what it carried."""
    call = predict_call()
    with bench.side_by_side("model_app.py", "predict", call, ("mosec",)) as (
        ours,
        servers,
        missing,
    ):
        here = {"glowplug": ours.server("predict")} | servers
        loads = {name: partial(hammer, server, call, CLIENTS) for name, server in here.items()}
        samples = bench.alternate(loads, missing)
        more = {
            "p99_ms": samples.told("p99_ms")["peers"],
            "cpu_us": samples.told("cpu_us")["peers"],
        }
        bench.ratio("batch_throughput_ratio_mosec", samples, "mosec", "rate", **more)
        bench.ratio("batch_p99_ratio_mosec", samples, "mosec", "p99_ms")
        _low_load(bench, ours, call, samples.typical("glowplug", "rate"))


def _low_load(bench: Bench, ours: Deployed, call: Question, capacity: float) -> None:
    name = "p50_over_bare_at_5pct_ms"
    try:
        bare_ms = _bare_predict_ms()
    except MissingPeerError as error:
        figure(BENCH, name, None, unit="ms", n=0, reason=f"no numpy to run it bare: {error}")
        return
    loads = {"glowplug": partial(at_rate, ours.server("predict"), call, LOW_LOAD * capacity)}
    samples = bench.alternate(loads, {})
    flaw = samples.flaw("glowplug")
    value = None if flaw else samples.typical("glowplug", "p50_ms") - bare_ms
    more = samples.told("p50_ms") | {"bare_ms": round(bare_ms, 3), "rate": LOW_LOAD * capacity}
    if flaw:
        more["reason"] = flaw
    figure(BENCH, name, value, unit="ms", n=bench.rounds, **more)


def _bare_predict_ms() -> float:
    python = installed("starlette", BARE)
    command = [*server_prefix(True), str(python), str(PEERS / "bare_predict.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout) / 1000


def goodput(bench: Bench) -> None:
    """Answers within 50 ms at 1.5 times the capacity: in virtual time, and once on a device that sleeps."""
    from dataplane import batch_sim  # the batcher itself: only these two rows need it

    simulated = batch_sim.goodput(OVERLOAD)
    capacity = BATCH_MAX / (FIXED_S + BATCH_MAX * ITEM_S)
    seconds = 2 * bench.seconds
    call = Question(b'{"x": 1}', 1, headers={"glowplug-deadline": str(SLO_S)})
    rate = OVERLOAD * capacity
    with bench.side_by_side("model_app.py", "predict", None, ()) as (ours, _, _):
        server = ours.server("device")
        load = partial(at_rate, server, call, rate, slo_s=SLO_S)
        load(1.0)
        samples = [load(seconds) for _ in range(min(3, bench.rounds))]
    figure(
        BENCH,
        "goodput_at_1_5x",
        simulated,
        unit="share",
        n=1,
        how="virtual time",
        real=_real(samples, rate, capacity),
    )


def _real(samples: list[Sample], rate: float, capacity: float) -> dict[str, object]:
    within = median([one.more["within"] / one.more["sent"] for one in samples])
    last = samples[-1]
    return {
        "goodput": round(within, 4),
        "offered_s": round(rate),
        "capacity_s": round(capacity),
        "statuses": last.more["statuses"],
        "lost": last.more["lost"],
        "wrong": last.more["wrong"],
        "p50_ms": round(last.p50_ms or 0, 2),
        "p99_ms": round(last.p99_ms or 0, 2),
        "foreign": round(median([one.foreign for one in samples]), 3),
        "n": len(samples),
    }


def mixed(_: Bench) -> None:
    """How much more load of mixed lengths at the same tail, in virtual time."""
    from dataplane import batch_sim

    value = batch_sim.mixed_length_load_ratio()
    figure(BENCH, "mixed_length_load_ratio_fifo", value, unit="ratio", n=1, how="virtual time")
