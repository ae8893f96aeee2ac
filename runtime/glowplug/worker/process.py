"""What makes this process a rank: its session, signals, environment and paths?"""

import os
import signal
import sys

from glowplug.node.messages import RankLaunch
from glowplug.settings import set_environment

NO_DEVICES = ""  # CUDA sees no device at all, rather than one that another replica was given


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
