"""How does what may go leave the disk, while replicas start beside it?

Deciding and renaming happen in one turn of the event loop, so no replica can begin to use what is on its way out; a
replica counts as a user before it asks for anything. Deleting takes its time afterwards, in a thread. When something
was last used is the folder's time of modification: it outlives the agent.
"""

import logging
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync

from glowplug.node.adoption import recorded
from glowplug.node.folders import Folders
from glowplug.node.garbage import ENVIRONMENTS, LAYERS, LOGS, Allowance, may_go
from glowplug.node.node_log import prune

_LOG = logging.getLogger("glowplug.node")
_WHOLE = re.compile(
    r"[0-9a-f]{64}"
)  # what is not whole has another name: `bundles`, `environments`
_GONE = ".gone-"


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """What must stay, by the names of its folders."""

    layers: Collection[str]
    environments: Collection[str]


def set_aside_leftovers(folders: Folders) -> None:
    """Take out of the way what an agent that died had not finished; before anything is begun here."""
    for folder in (folders.bundles, folders.envs):
        for path in list(folder.iterdir()):
            half = path.name.startswith(".") or path.suffix == ".building"
            if half and not path.name.startswith(_GONE):
                path.replace(folder / f"{_GONE}{path.name}")


async def sweep(folders: Folders, in_use: InUse, now_wall_ns: int) -> None:
    """Remove what may go: layers, environments, logs. A disk that refuses is left alone until the next time."""
    try:
        set_aside(folders.bundles, in_use.layers, LAYERS, now_wall_ns)
        set_aside(folders.envs, in_use.environments, ENVIRONMENTS, now_wall_ns)
        await run_sync(_delete, folders, now_wall_ns)
    except OSError as error:
        _LOG.warning("some of what is not used any more stays: %s", error)


def set_aside(
    folder: Path, in_use: Collection[str], stays: Allowance, now_wall_ns: int
) -> tuple[str, ...]:
    """Note what is in use now, and rename what may go."""
    used_ns: dict[str, int] = {}
    for path in folder.iterdir():
        if not _WHOLE.fullmatch(path.name):
            continue
        if path.name in in_use:
            os.utime(path)
        else:
            used_ns[path.name] = path.stat().st_mtime_ns
    names = may_go(used_ns, in_use, stays, now_wall_ns)
    for name in names:
        _LOG.info("%s/%s is not used any more", folder.name, name)
        (folder / name).replace(folder / f"{_GONE}{name}")
    return names


def _delete(folders: Folders, now_wall_ns: int) -> None:
    for folder in (folders.bundles, folders.envs):
        for path in list(folder.glob(f"{_GONE}*")):
            shutil.rmtree(path, ignore_errors=True)
    running = recorded(folders)
    for folder in folders.logs.glob("*/*/"):
        prune(folder, running, now_wall_ns)
    outs = {path.name: path.stat().st_mtime_ns for path in folders.system_logs.glob("zygote-*.out")}
    for name in may_go(outs, (), LOGS, now_wall_ns):
        (folders.system_logs / name).unlink(missing_ok=True)
