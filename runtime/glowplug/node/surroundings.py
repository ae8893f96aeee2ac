"""Which environment variables and folders does a rank find around it?"""

from collections.abc import Mapping
from math import ceil

from glowplug.node.folders import Folders
from glowplug.node.messages import Want

HUB_CACHE = "hub-cache"  # the volume every replica has: model hubs download into it once per node
MARK = "GLOWPLUG_REPLICA"  # whose process it is, wherever a session of its own has taken it


def mark(folders: Folders, replica: str) -> str:
    """Return what MARK is for a replica: two homes on one machine may have replicas of one name."""
    return str(folders.ranks / replica)


def volumes(folders: Folders, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return name and folder of each volume, made if need be."""
    out = []
    for name in dict.fromkeys((HUB_CACHE, *names)):
        place = folders.volume(name)
        place.mkdir(parents=True, exist_ok=True)
        out.append((name, str(place)))
    return tuple(out)


def variables(
    want: Want, folders: Folders, gpus: tuple[str, ...], inherited: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Return what the rank adds to its environment. What the endpoint asks for wins over what we offer."""
    cache = folders.volume(HUB_CACHE)
    offered = {
        "HF_HOME": str(cache / "huggingface"),
        "TORCH_HOME": str(cache / "torch"),
        "XDG_CACHE_HOME": str(cache / "xdg"),
    }
    # A person who keeps models elsewhere has said so.
    out = {name: value for name, value in offered.items() if name not in inherited}
    if want.spec.needs.cpu_milli:
        # More threads than processors only take turns.
        out["OMP_NUM_THREADS"] = str(ceil(want.spec.needs.cpu_milli / 1000))
    out |= dict(want.bundle.env) | dict(want.spec.image.env) | dict(want.spec.env)
    # Last: a replica sees the GPUs it was given and no others, whatever it asks for.
    out["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    out[MARK] = mark(folders, want.replica)
    return tuple(out.items())
