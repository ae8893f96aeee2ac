"""How do the lines of a run read in the documents? One Markdown row a figure, with how it was measured."""

import json
from pathlib import Path
from typing import Any

HOW = {
    "echo_cpu_ratio_mosec": "CPU of a 200 B echo, whole process trees, plain `def`, 64 connections, beside mosec",
    "echo_cpu_ratio_prototype": "the same beside the bare prototype: no queue, keys, limits or metrics",
    "open_200_p50_ratio_mosec": "median latency at 200 calls/s from the moment each was due, plain `def`",
    "open_200_p99_ratio_mosec": "99th percentile of the same",
    "throughput_ratio_mosec": "echo calls/s, 64 connections, nothing pinned: servers and load share both cores",
    "throughput_ratio_litserve": "the same beside LitServe, one worker",
    "throughput_ratio_bentoml": "the same beside BentoML, one worker",
    "throughput_ratio_ray": "the same beside Ray Serve, one replica (no target)",
    "tensor_1mib_hop_cpu_ms": "CPU of both processes for 1 MiB there and back over the frames, best round",
    "http_1mib_ratio_starlette": "1 MiB echoes/s, 4 connections, beside uvicorn+starlette, which has no hop",
    "stream_ratio_mosec": "chunks/s, 32 readers of streams of 100, plain generator",
    "stream_ratio_starlette": "the same beside uvicorn+starlette, which has no hop",
    "batch_throughput_ratio_mosec": "a numpy model in batches of up to 32, 64 clients, beside mosec (waits 5 ms)",
    "batch_p99_ratio_mosec": "99th percentile of the same",
    "goodput_at_1_5x": "answers within 50 ms at 1.5 × the capacity, virtual time",
    "p50_over_bare_at_5pct_ms": "median at 5 % of that model's throughput, less one prediction in process",
    "mixed_length_load_ratio_fifo": "load of mixed lengths at the same p99, over padding as they come; virtual time",
    "overload_critical_p99_ratio": "4 classes × 8 tenants at 2 × the capacity, over critical calls alone; virtual time",
    "overload_jain": "the same: Jain's index of the tenants inside a class, the lowest",
    "overload_batch_share": "the same: what class batch gets of the device time",
    "cold_herd_warm_p99_ratio": "20 warm endpoints while 10,000 calls come to a cold one, over without; virtual time",
    "dispatch_p99_us": "CPU of one step of the dispatcher, 1,000 endpoints, 5,000 replicas",
    "queued_bytes": "the gateway's memory for one waiting call, without its body (bound: 2,048)",
}  # fmt: skip
SIGN = {"lower": "≤", "higher": "≥"}
# The loads behind the ratios: which figure tells of it, what was loaded, in which unit.
LOADS = {
    "echo_cpu_ratio_mosec": "echo, pinned: CPU µs a call",
    "open_200_p50_ratio_mosec": "200 echoes/s, pinned: median ms",
    "open_200_p99_ratio_mosec": "200 echoes/s, pinned: p99 ms",
    "throughput_ratio_mosec": "echo, both cores: calls/s",
    "throughput_ratio_ray": "the same beside Ray's daemons: calls/s",
    "http_1mib_ratio_starlette": "1 MiB echo, pinned: calls/s",
    "stream_ratio_mosec": "streams, pinned: chunks/s",
    "batch_throughput_ratio_mosec": "batched model, pinned: calls/s",
    "batch_p99_ratio_mosec": "batched model, pinned: p99 ms",
}
SERVERS = (
    "glowplug",
    "glowplug, async def",
    "mosec",
    "starlette",
    "prototype",
    "litserve",
    "bentoml",
    "ray",
)


def table(lines: Path) -> str:
    """Return the figures of a run, and below them the medians they were made of."""
    printed = [json.loads(one) for one in lines.read_text().splitlines() if one.startswith("{")]
    figures = ["| figure | value | target | how |", "|---|---|---|---|", *map(_figure, printed)]
    head = (
        f"| load, median of {max((one['n'] for one in printed if 'of' in one), default=0)} rounds |"
    )
    loads = [
        f"{head} {' | '.join(SERVERS)} | foreign |",
        "|---" + "|--:" * (len(SERVERS) + 1) + "|",
        *(_load(one) for one in printed if one["figure"] in LOADS and "peers" in one),
    ]
    return "\n".join([*figures, "", *loads])


def _figure(record: dict[str, Any]) -> str:
    name, value, target = record["figure"], record["value"], record["target"]
    unit = record["unit"] if record["unit"] in ("ms", "us", "bytes") else ""
    told = "–" if value is None else f"{_number(value)} {unit}".strip()
    if value is not None and target is not None and not record["met"]:
        told = f"**{told}**"
    bound = "–" if target is None else f"{SIGN[record['better']]} {target:g}"
    return f"| `{name}` | {told} | {bound} | {HOW[name]}{_beside(record)} |"


def _beside(record: dict[str, Any]) -> str:
    """Return what qualifies the figure."""
    parts = []
    if record["value"] is None:
        parts.append(f"not measured: {record['reason'][:120]}")
    if record.get("async_def") is not None:
        parts.append(f"`async def`: {_number(record['async_def'])}")
    both = record.get("both_cores", {}).get("ratio")
    if both is not None and record["figure"].endswith("starlette"):
        parts.append(f"both cores: {_number(both)}")
    real = record.get("real", {})
    if "goodput" in real:
        parts.append(f"on a real rank {_number(real['goodput'])}")
    if "p99_ratio" in real:
        quiet, loud = real["warm_quiet"]["p99_ms"], real["warm_beside_herd"]["p99_ms"]
        statuses = ", ".join(f"{n:,} × {code}" for code, n in real["herd"]["statuses"].items())
        parts.append(f"for real {quiet:.1f} → {loud:.1f} ms, the herd got {statuses}")
    return "".join(f"; {part}" for part in parts)


def _load(record: dict[str, Any]) -> str:
    cells = [_number(record["peers"][name]) if name in record["peers"] else "" for name in SERVERS]
    return f"| {LOADS[record['figure']]} | {' | '.join(cells)} | {_number(record['foreign'])} |"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
