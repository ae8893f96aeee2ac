"""What does this machine have?"""

import os
import platform
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from glowplug.node.cgroups import Groups
from glowplug.node.messages import Gpu, Inventory
from glowplug.node.processes import boot_id

CAPABILITIES = ("pidfd", "cgroup", "zygote")


def capabilities(without: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return what the operating system offers, less what is switched off (to try the fallbacks)."""
    there = {
        "pidfd": hasattr(os, "pidfd_open"),
        "cgroup": sys.platform == "linux",
        "zygote": sys.platform == "linux" and hasattr(socket, "SOCK_SEQPACKET"),
    }
    return frozenset(name for name in CAPABILITIES if there[name]) - without


def take(node: str, can: frozenset[str], groups: Groups) -> Inventory:
    """Look around once; GPUs do not come and go while an agent runs. Blocks: NVML may take a second."""
    named = [name for name in CAPABILITIES if name in can and name != "cgroup"]
    if groups.version:
        named.append(f"cgroup{groups.version}")
    return Inventory(
        node=node,
        boot_id=boot_id(),
        cpu_milli=cpu_count() * 1000,
        memory_bytes=_memory_bytes(),
        gpus=gpus(),
        python=platform.python_version(),
        platform=f"{platform.system().lower()}-{platform.machine()}",
        enforces_memory=groups.memory is not None,
        enforces_cpu=groups.cpu is not None,
        capabilities=tuple(named),
    )


def cpu_count() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that NVML shows; none without its library or a driver.

    NVML is opened here, in the agent, and nowhere else: a process that has it open must not fork.
    """
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()  # the library is there, the driver is not
    try:
        return listed(pynvml)
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def listed(nvml: Any) -> tuple[Gpu, ...]:
    """Return each GPU that an open NVML shows, followed by the slices that it is cut in (MIG)."""
    found: list[Gpu] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        whole = _gpu(nvml, handle)
        found += [whole, *_slices(nvml, handle, whole)]
    return tuple(found)


def _gpu(nvml: Any, handle: Any) -> Gpu:
    return Gpu(
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        name=_text(nvml.nvmlDeviceGetName(handle)),
        memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
    )


def _slices(nvml: Any, handle: Any, whole: Gpu) -> Iterator[Gpu]:
    try:
        is_cut, _ = nvml.nvmlDeviceGetMigMode(handle)
        places = nvml.nvmlDeviceGetMaxMigDeviceCount(handle) if is_cut else 0
    except nvml.NVMLError:
        return  # a model, or a driver, that has no slices
    for place in range(places):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
        except nvml.NVMLError:
            continue  # nothing is there
        yield _slice(nvml, part, whole)


def _slice(nvml: Any, handle: Any, whole: Gpu) -> Gpu:
    known = _gpu(nvml, handle)
    # "NVIDIA H100 80GB HBM3 MIG 1g.10gb"; a seventh of the multiprocessors is a slice (NVIDIA MIG user guide).
    model, _, profile = known.name.rpartition("MIG ")
    sevenths = int(nvml.nvmlDeviceGetAttributes_v2(handle).gpuInstanceSliceCount)
    return replace(
        known,
        name=model.strip() or whole.name,
        parent=whole.uuid,
        profile=profile,
        share_permille=sevenths * 1000 // 7,
    )


def _text(value: Any) -> str:
    """Return a string: old releases of the library gave bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _memory_bytes() -> int:
    """Return the memory of the machine, or of the container around us when that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            total = min(total, int((Path("/sys/fs/cgroup") / name).read_text()))
        except (OSError, ValueError):
            continue  # not this version of cgroups, or "max"
    return total
