"""What do Alibaba's traces say? GenTD26 (calls of diffusion models) and openb (pods on a GPU cluster).

alibaba/clusterdata `cluster-trace-v2026-GenAI/lora_request_trace.csv` and `cluster-trace-gpu-v2023/csv/openb_*.csv`:
for research and study only, so neither is kept in this repository.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glowplug.clock import SECOND
from glowplug_router.simulation.replay.scene import Request
from glowplug_router.simulation.traces.models import Reading
from glowplug_router.simulation.traces.reading import slug, table

GENTD26 = (
    "gmt_create",
    "predict_status",
    "exec_time_seconds",
    "groupId",
    "checkpoint_model_version_id",
)
PODS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "creation_time", "deletion_time")
MACHINES = ("sn", "cpu_milli", "memory_mib", "gpu", "model")


def gentd26(path: Path, reading: Reading) -> Iterator[Request]:
    """Return the calls of GenTD26 that succeeded, an endpoint a base model, a tenant a group."""
    for row in table(path, GENTD26):
        if row.text("predict_status") != "SUCCEED" or not row.text("checkpoint_model_version_id"):
            continue
        service_ns = reading.service_ns
        if row.text("exec_time_seconds"):
            service_ns = row.seconds_ns("exec_time_seconds")
        name = f"gentd26/{slug(row.text('checkpoint_model_version_id'))}"
        yield Request(row.moment_ns("gmt_create"), name, service_ns, tenant=row.text("groupId"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of openb: what it needs, and from when to when it was there."""

    name: str
    at_ns: int
    until_ns: int
    cpu_milli: int
    memory_bytes: int
    gpus: int
    gpu_milli: int  # of one GPU, where it shares one
    models: tuple[str, ...] = ()  # GPUs that will do; empty = any


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine of openb."""

    name: str
    cpu_milli: int
    memory_bytes: int
    gpus: int
    model: str


def pods(path: Path) -> Iterator[Pod]:
    """Return the pods of an openb list."""
    for row in table(path, PODS):
        at_ns = row.number("creation_time") * SECOND
        models = row.text("gpu_spec").split("|") if "gpu_spec" in row else ()
        yield Pod(
            name=row.text("name"),
            at_ns=int(at_ns),
            until_ns=int(max(at_ns, row.number("deletion_time") * SECOND)),
            cpu_milli=int(row.number("cpu_milli")),
            memory_bytes=int(row.number("memory_mib")) << 20,
            gpus=int(row.number("num_gpu")),
            gpu_milli=int(row.number("gpu_milli")),
            models=tuple(model for model in models if model),
        )


def hosts(path: Path) -> Iterator[Host]:
    """Return the machines of an openb list."""
    for row in table(path, MACHINES):
        yield Host(
            name=row.text("sn"),
            cpu_milli=int(row.number("cpu_milli")),
            memory_bytes=int(row.number("memory_mib")) << 20,
            gpus=int(row.number("gpu")),
            model=row.text("model"),
        )
