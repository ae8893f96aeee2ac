"""Which ranks did the agent before us leave running?

The agent writes a record, `<replica>.json`, before the process is told what to run: so every rank that runs has one,
and a process that has none ended by itself. What the record says of the process is held against the machine; what does
not fit is removed, with its sockets.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from glowplug.files import replace_file
from glowplug.node.folders import Folders
from glowplug.node.messages import Phase, Want
from glowplug.node.processes import Identity, identity, kill_session

_LOG = logging.getLogger("glowplug.node")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRecord:
    """All an agent must know of a rank to take it over. No secret is in it."""

    want: Want
    process: Identity
    device: str
    gpus: tuple[str, ...] = ()
    note: str = ""  # what people should know about how it runs
    memory_enforced: bool = False
    cpu_enforced: bool = False
    started_wall_ns: int = 0
    phases: tuple[Phase, ...] = ()
    python_path: tuple[str, ...] = ()


def path(folders: Folders, replica: str) -> Path:
    """Return where the record of a replica lies."""
    return folders.ranks / f"{replica}.json"


def write(folders: Folders, record: LaunchRecord) -> None:
    """Keep a record."""
    replace_file(path(folders, record.want.replica), msgspec.json.encode(record))


def forget(folders: Folders, replica: str) -> None:
    """Remove all that a rank leaves behind when it has gone, its logs excepted."""
    for one in (
        path(folders, replica),
        folders.data_socket(replica),
        folders.control_socket(replica),
    ):
        one.unlink(missing_ok=True)


def recorded(folders: Folders) -> frozenset[str]:
    """Return the replicas that have a record: those that run, or ran when this machine went down."""
    return frozenset(file.stem for file in folders.ranks.glob("*.json"))


def survivors(folders: Folders) -> tuple[LaunchRecord, ...]:
    """Return the ranks that still run, and clean up after those that do not."""
    found = tuple(_records(folders))
    alive = tuple(record for record in found if identity(record.process.pid) == record.process)
    for record in found:
        if record not in alive:
            _LOG.info("replica %s has ended while no agent was here", record.want.replica)
            forget(folders, record.want.replica)
    _sweep(folders, {record.want.replica for record in alive})
    return alive


def end_all(folders: Folders) -> int:
    """Kill the ranks that still run when there is no agent any more; return how many there were."""
    if not folders.sockets.is_dir():
        return 0  # no agent was ever here
    alive = survivors(folders)
    for record in alive:
        kill_session(record.process.pid)
        forget(folders, record.want.replica)
    return len(alive)


def _records(folders: Folders) -> Iterator[LaunchRecord]:
    for file in sorted(folders.ranks.glob("*.json")):
        try:
            yield msgspec.json.decode(file.read_bytes(), type=LaunchRecord)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            # Of another release, or torn: its rank ends by its lease.
            _LOG.warning("%s cannot be read and is dropped: %s", file, error)
            file.unlink(missing_ok=True)


def _sweep(folders: Folders, alive: set[str]) -> None:
    """Remove sockets that belong to nobody."""
    keep = {folders.data_socket(one) for one in alive} | {
        folders.control_socket(one) for one in alive
    }
    for place in folders.sockets.iterdir():
        if place not in keep:
            place.unlink(missing_ok=True)
