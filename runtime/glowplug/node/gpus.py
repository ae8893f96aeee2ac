"""Which whole GPUs does a replica get, and on which device does it run?

Pure. A GPU belongs to one replica at a time and is named by its UUID: indexes change with CUDA_VISIBLE_DEVICES.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from glowplug.node.messages import Gpu
from glowplug.spec import Needs


@dataclass(frozen=True, slots=True)
class Granted:
    """Run on this device; `note` says so when it is not what was asked for."""

    device: str
    gpus: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """It cannot run here now; the reason names the fix."""

    reason: str


def whole(gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Return those that can be handed out whole: neither slices, nor what was cut in slices and runs nothing itself."""
    parents = {gpu.parent for gpu in gpus}
    return tuple(gpu for gpu in gpus if not gpu.parent and gpu.uuid not in parents)


def grant(needs: Needs, gpus: Sequence[Gpu], taken: Collection[str]) -> Granted | Refused:
    """Return the devices for one replica, given those that others have."""
    gpus = whole(gpus)
    count = max(1, needs.gpu_count) if needs.device == "cuda" else needs.gpu_count
    if needs.device == "cpu" or count == 0:
        return Granted("cpu")
    suitable = [gpu for gpu in _preferred(needs.gpu_names, gpus) if gpu.uuid not in taken]
    if len(suitable) >= count:
        return Granted("cuda", tuple(gpu.uuid for gpu in suitable[:count]))
    if needs.device == "auto" and not gpus:
        return Granted(
            "cpu",
            note=f"asked for {_ask(needs, count)}; this machine has no GPU: it runs on the CPU",
        )
    return Refused(_why(needs, count, gpus, taken))


def matches(wanted: str, model: str) -> bool:
    """Say whether a GPU's full model name is what people call `wanted`: "A100-80GB", "L4" (which is not an L40S)."""
    return _tokens(wanted) <= _tokens(model)


def _preferred(names: Sequence[str], gpus: Sequence[Gpu]) -> list[Gpu]:
    """Return the acceptable ones, those of the first name first."""
    if not names:
        return list(gpus)
    ordered = [gpu for name in names for gpu in gpus if matches(name, gpu.name)]
    return list(dict.fromkeys(ordered))


def _why(needs: Needs, count: int, gpus: Sequence[Gpu], taken: Collection[str]) -> str:
    asked = _ask(needs, count)
    if not gpus:
        return f'asked for {asked}, and this machine has no GPU; use device="auto" to run on the CPU here'
    fitting = _preferred(needs.gpu_names, gpus)
    if len(fitting) < count:
        there = ", ".join(sorted({gpu.name for gpu in gpus}))
        return (
            f"asked for {asked}; this machine has {len(gpus)} × {there}; name one of these in gpu="
        )
    used = sum(gpu.uuid in taken for gpu in fitting)
    return f"asked for {asked}; {used} of {len(fitting)} are taken by other replicas; lower their scale.min or max"


def _ask(needs: Needs, count: int) -> str:
    return f"{count} × {' or '.join(needs.gpu_names) or 'GPU'}"


def _tokens(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))
