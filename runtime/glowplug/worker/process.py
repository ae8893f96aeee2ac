"""What makes this process a rank: its session, signals, environment, paths, and the record it leaves for an agent?"""

import os
import signal
import sys
from pathlib import Path

import msgspec

from glowplug.node.messages import RankLaunch
from glowplug.node.processes import identity
from glowplug.settings import set_environment

NO_DEVICES = ""  # CUDA sees no device at all, rather than one that another replica was given


class RankRecord(msgspec.Struct, kw_only=True):
    """What a rank writes down about itself; secrets are not in it."""

    replica: str
    version: str
    pid: int
    start_time: int  # field 22 of /proc/self/stat: clock ticks since boot
    boot_id: str
    epoch: int
    data_socket: str
    control_socket: str
    log_path: str


def become(launch: RankLaunch) -> None:
    """Turn a fresh or a forked process into this rank's. Before any of the user's code."""
    try:
        os.setsid()
    except PermissionError:
        pass  # the launcher did it
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python has it: a closed socket is an OSError
    sys.dont_write_bytecode = (
        sys.dont_write_bytecode or launch.dev
    )  # an edit within one second must not meet a stale file
    surroundings(launch)


def surroundings(launch: RankLaunch) -> None:
    """Set variables, import path and folder; also when new code is swapped in."""
    spec = launch.spec
    devices = {
        "CUDA_VISIBLE_DEVICES": ",".join(launch.gpus) or NO_DEVICES,
        "GLOWPLUG_APP": spec.app,
    }
    set_environment(
        devices | dict(spec.image.env) | dict(spec.env) | dict(launch.env) | dict(launch.secrets)
    )
    sys.path[:] = [
        launch.code_path,
        *(one for one in sys.path if one not in ("", launch.code_path)),
    ]
    os.chdir(launch.code_path)


def write_record(launch: RankLaunch) -> None:
    """Write the record in one step: a reader sees the old one or the new one, never half."""
    me = identity(os.getpid())
    record = RankRecord(
        replica=launch.replica,
        version=launch.version,
        pid=os.getpid(),
        start_time=me.start_ticks if me is not None else 0,
        boot_id=me.boot_id if me is not None else "",
        epoch=launch.epoch,
        data_socket=launch.data_socket,
        control_socket=launch.control_socket,
        log_path=launch.log_path,
    )
    path = Path(launch.record_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_bytes(msgspec.json.encode(record))
    new.replace(path)
